"""Advice from a real store: by the busiest time, with what was measured, and what it says if too little was."""

from collections.abc import AsyncIterator

import pytest

from sidelane import ConcurrencyLimit, Queue, RateLimit, Sidelane
from sidelane.admin.advice import Advice, read_advice
from sidelane.admin.queue_limits import QueueLimits, queue_limits
from sidelane.model.process_load import PROCESS_LOADS, ProcessLoad
from sidelane.model.shared_state import JournalAppend
from sidelane.model.worker import API
from sidelane.sizing.machines import Machine
from sidelane.sizing.services import QueueDemand
from sidelane.stores.clock import ManualClock
from sidelane.stores.factory import open_store
from tests.admin.conftest import BOTH_STORES
from tests.admin.service import Service

MACHINE = Machine(name="box", cores=2, memory=4_000_000_000)
DAY = 86_400.0


@pytest.fixture
async def service(url: str) -> AsyncIterator[Service]:
    clock = ManualClock(1_700_000_400.0)
    store = await open_store(url, clock=clock)
    yield Service(store, clock)
    await store.close()


async def advice(service: Service, seconds: float = DAY, limits: dict[str, QueueLimits] | None = None) -> Advice:
    return await read_advice(service.store, seconds, MACHINE, limits or {})


async def note(service: Service, name: str = "chat-1@box", **fields: object) -> None:
    """Write the line of a process for the last ten minutes."""
    load = ProcessLoad(**{"process": f"{name}:box:7:a", "name": name, "host": "box", "seconds": 600.0, **fields})  # type: ignore[arg-type]
    await service.store.append_entries(JournalAppend(journal=PROCESS_LOADS, texts=[load.text()], cap=100))


async def ten_minutes(service: Service, jobs: int, run_time: float) -> None:
    """Run so many jobs, one after another, and let ten minutes pass."""
    for _ in range(jobs):
        await service.submit()
        leases = await service.claim()
        service.clock.advance(run_time)
        await service.finish(leases)
    await service.sweep(600.0 - jobs * run_time)


@BOTH_STORES
async def test_workers_are_sized_by_their_busiest_ten_minutes(service: Service) -> None:
    await service.declare(chat=1.0)
    await service.beat(name="chat-1@box", slots=20, queues={"chat": 20}, host="box")
    for jobs in (10, 60, 15):
        await ten_minutes(service, jobs, 6.0)
        await note(service, slots=20, queues=("chat",), jobs=jobs, cpu=jobs * 0.02 / 600, memory=100_000_000)
    found = await advice(service)
    (chat,) = found.services
    assert (chat.processes, chat.slots, chat.size.name) == (1, 20, "chat")
    assert str(chat.size.steps[0].calculation) == "0.10 jobs/s x 6.0 s"
    assert chat.size.slots == 2  # half of the jobs would wait up to 3 s for one
    assert chat.size.memory == 120_000_000
    assert found.fit.fits
    assert found.notes == []


async def test_api_is_sized_by_its_cpu_and_knows_what_a_request_costs(service: Service) -> None:
    for pid in (8, 9):
        await note(service, "api", process=f"api:box:{pid}:a", kind=API, cpu=0.9, requests=60_000, memory=200_000_000)
    (api,) = (await advice(service)).services
    assert api.size.processes == 3
    assert str(api.size.steps[0].calculation) == "200 requests/s x 9.0 ms CPU"
    assert api.size.capacity == pytest.approx(83.3, abs=0.1)


async def test_too_few_jobs_leave_a_service_as_it_is(service: Service) -> None:
    await service.beat(name="chat-1@box", slots=20, queues={"chat": 20})
    await ten_minutes(service, 5, 1.0)
    found = await advice(service)
    (chat,) = found.services
    assert (chat.busiest, chat.size.processes, chat.size.slots) == (None, 1, 20)
    assert chat.size.capacity is None
    assert [*map(str, found.notes)] == ["Too few jobs of chat have ended to size by: 5 of at least 30."]


async def test_without_processes_there_is_no_advice(service: Service) -> None:
    found = await advice(service)
    assert (found.services, found.signals) == ([], [])
    assert found.document()["services"] == []


async def test_cpu_that_no_process_has_written_is_assumed_and_said(service: Service) -> None:
    await service.beat(name="chat-1@box", slots=20, queues={"chat": 20}, memory=50_000_000)
    await ten_minutes(service, 40, 2.0)
    (chat,) = (await advice(service)).services
    assert [*map(str, chat.size.assumptions)] == ["10 ms CPU per job: no process has written what it uses"]


async def test_time_for_the_cpu_is_no_reason_for_more_slots(service: Service) -> None:
    await service.beat(name="chat-1@box", slots=20, queues={"chat": 20}, host="box")
    for jobs, run_time in ((60, 0.2), (62, 8.0)):
        await ten_minutes(service, jobs, run_time)
        await note(service, slots=20, queues=("chat",), jobs=jobs, cpu=0.02, max_cpu=1.0, memory=1)
    (chat,) = (await advice(service)).services
    assert str(chat.size.steps[0].reason) == "less the wait for the CPU, of which up to 100 % was busy"
    assert chat.size.slots == 1


async def test_api_that_runs_workers_is_one_service(service: Service) -> None:
    await note(service, "worker", pid=7, queues=("chat",), slots=10)
    await note(service, "api", kind=API, pid=7)
    assert [each.size.name for each in (await advice(service)).services] == ["worker"]


async def test_limits_of_a_queue_cap_its_slots(service: Service) -> None:
    await service.beat(name="chat-1@box", slots=20, queues={"chat": 20}, host="box")
    for _ in range(2):
        await ten_minutes(service, 59, 10.0)
    lane = Sidelane(queues=[Queue("chat", limits=[ConcurrencyLimit(1, per="queue", on_limit="wait", name="provider")])])

    @lane.task(queue="chat")
    async def answer() -> None: ...

    (chat,) = (await advice(service, limits=dict(queue_limits(lane)))).services
    assert chat.size.slots == 1
    assert any("the limit provider" in str(step.reason) for step in chat.size.steps)


def test_limits_count_only_if_every_task_of_the_queue_has_one() -> None:
    lane = Sidelane(queues=[Queue("gpu", 1), Queue("chat")])

    @lane.task(queue="chat", limits=[ConcurrencyLimit(5, per="task"), ConcurrencyLimit(1, per="user")])
    async def answer() -> None: ...

    @lane.task(queue="chat", limits=[RateLimit("60/minute", per="task", on_limit="wait")])
    async def summarise() -> None: ...

    @lane.task(queue="gpu")
    async def draw() -> None: ...

    found = queue_limits(lane)
    assert [[limit.max for limit in own] for own in found["chat"].limits] == [[5], [60]]
    assert (found["gpu"].limits, found["gpu"].per_process) == ((), 1)


@pytest.mark.parametrize(("run_time", "most"), [(2.0, 2), (120.0, 50)])
def test_the_tighter_of_a_rate_and_a_number_depends_on_the_run_time(run_time: float, most: int) -> None:
    lane = Sidelane(queues=[Queue("chat")])

    @lane.task(
        queue="chat", limits=[ConcurrencyLimit(50, per="task"), RateLimit("60/minute", per="task", on_limit="wait")]
    )
    async def answer() -> None: ...

    load = QueueDemand(queue="chat", arrivals=5.0, run_time=run_time)
    assert queue_limits(lane)["chat"].applied_to(load).most == most


async def test_jobs_that_end_within_a_millisecond_are_sized_too(service: Service) -> None:
    await ten_minutes(service, 40, 0.0)
    await service.beat(name="chat-1@box", slots=20, queues={"chat": 20})
    (chat,) = (await advice(service)).services
    assert (chat.size.processes, chat.size.slots) == (1, 1)
