"""Each kind of finding on a real store: it appears with its cause, and goes with its end."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sidelane.admin.findings.evaluation import Attention
from sidelane.client.declarations import DECLARATIONS
from sidelane.model.event import NewEvent
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, JobSpec, Lease
from sidelane.model.limit import Limit
from sidelane.model.outcome import AttemptResult, Failed, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.schedule import Schedule
from sidelane.model.shared_state import ValueChange
from sidelane.model.worker import STOPPED, ClaimRequest, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK

LEASE = 600.0

FAILURE = Failure(problem=Problem(status=502, title="Not delivered"), error="NotDelivered: 503")


class Service:
    """A store whose clock a test moves, acting as clients and as one worker."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self._attention = Attention(store)

    async def keys(self) -> list[str]:
        return [each.key for each in await self._attention.findings()]

    async def declare(self, **targets: float) -> None:
        text = json.dumps({"target_waits": targets, "user_limits": []})
        await self.store.set_value(ValueChange(name=DECLARATIONS, text=text, replaces=None))

    async def work(self, tasks: Mapping[str, int] | None = None, **fields: Any) -> None:
        """Send a heartbeat of the worker."""
        queues = {"chat": 100, CALLBACK_QUEUE: 100}
        info = WorkerInfo(id="w1", name="chat-1", queues=queues, tasks=tasks or {"answer": 1}, slots=100, **fields)
        await self.store.heartbeat(info, [], lease=LEASE)

    async def submit(self, count: int = 1, **fields: Any) -> list[str]:
        specs = [JobSpec(**{"id": new_nonce(), "task": "answer", "queue": "chat", **fields}) for _ in range(count)]
        await self.store.submit(specs)
        return [spec.id for spec in specs]

    async def claim(self, count: int = 1, *, isolated: bool = False, lease: float = LEASE) -> list[Lease]:
        request = ClaimRequest(
            request=new_nonce(), worker="w1", queues={"chat": count, CALLBACK_QUEUE: count}, limit=count, lease=lease,
            isolated=isolated, tasks={"answer": 1, CALLBACK_TASK: 1},
        )  # fmt: skip
        return [each.lease for each in (await self.store.claim(request)).jobs]

    async def finish(self, leases: list[Lease], outcome: Outcome, **fields: Any) -> None:
        reports = [AttemptResult(lease=lease, outcome=outcome, **fields) for lease in leases]
        assert all(await self.store.finish(reports))

    async def sweep(self, after: float = 0.0) -> None:
        """Move the clock in steps that no sweep takes for a restart, and sweep."""
        for _ in range(max(1, round(after / 4))):
            self.clock.advance(min(after, 4.0))
            await self.store.sweep(lease=10.0)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    clock = ManualClock()
    store = await open_store(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock)
    running = Service(store, clock)
    await running.work()
    yield running
    await store.close()


async def test_target_wait(service: Service) -> None:
    await service.declare(chat=10.0)
    await service.submit(3)
    service.clock.advance(8.0)
    assert await service.keys() == []
    service.clock.advance(8.0)
    assert await service.keys() == ["target-wait:chat"]
    await service.finish(await service.claim(3), Succeeded("1"))
    assert await service.keys() == []


async def test_target_wait_does_not_count_pauses_and_other_times(service: Service) -> None:
    await service.declare(chat=10.0)
    await service.submit(delay=3600.0)
    await service.store.pause("chat")
    await service.submit()
    service.clock.advance(60.0)
    assert await service.keys() == []
    await service.store.pause("chat", False)
    service.clock.advance(5.0)
    assert await service.keys() == []
    service.clock.advance(10.0)
    assert await service.keys() == ["target-wait:chat"]


async def test_queue_and_task_without_a_worker(service: Service) -> None:
    await service.submit(version=2)
    await service.submit(queue="tts")
    service.clock.advance(5.0)
    assert await service.keys() == ["unserved-queue:tts", "unserved-task:chat:answer"]
    await service.store.heartbeat(
        WorkerInfo(id="w2", name="new", queues={"chat": 1, "tts": 1}, tasks={"answer": 2}, slots=2), [], lease=LEASE
    )
    assert await service.keys() == []


async def test_limit_that_holds_many(service: Service) -> None:
    limit = Limit(name="vllm", key="vllm", max=1, on_limit="wait")
    await service.submit(12, limits=(limit,))
    (running,) = await service.claim(12)
    assert await service.keys() == ["limit:vllm/vllm"]
    await service.finish([running], Succeeded("1"))
    for _ in range(3):
        await service.finish(await service.claim(1), Succeeded("1"))
    assert await service.keys() == []


async def test_provider_that_refuses(service: Service) -> None:
    await service.submit(10)
    await service.finish(await service.claim(10), Released(60.0), throttled=True)
    assert await service.keys() == ["provider:answer"]
    await service.sweep(after=360.0)
    assert await service.keys() == []


async def test_poison_job(service: Service) -> None:
    (job,) = await service.submit()
    for _ in range(2):
        assert await service.claim(1, lease=5.0)
        await service.sweep(after=40.0)
    assert {"poison:chat", "lost-workers"} == set(await service.keys())
    assert await service.claim(1, isolated=True)
    assert "poison:chat" in await service.keys()
    await service.store.cancel([job])
    await service.sweep(after=900.0)
    await service.work()
    assert await service.keys() == []


async def test_silent_attempt(service: Service) -> None:
    for _ in range(2):
        await service.submit(20)
        leases = await service.claim(20)
        service.clock.advance(2.0)
        await service.finish(leases, Succeeded("1"), entries=(NewEvent("token", '{"text":"a"}'),))
    await service.submit()
    (lease,) = await service.claim(1)
    service.clock.advance(50.0)
    assert await service.keys() == []
    service.clock.advance(100.0)
    assert await service.keys() == ["silent:answer"]
    await service.finish([lease], Succeeded("1"))
    assert await service.keys() == []


async def test_callbacks(service: Service) -> None:
    callbacks = {"task": CALLBACK_TASK, "queue": CALLBACK_QUEUE, "user": "be.example.com:443"}
    await service.submit(4, **callbacks)
    failing = await service.claim(4)
    await service.finish(failing[:3], Retried(FAILURE, 3600.0))
    await service.finish(failing[3:], Failed(FAILURE))
    await service.submit(1, **callbacks)
    service.clock.advance(100.0)
    assert set(await service.keys()) == {
        "callbacks:failing", "callbacks:waiting", "callbacks:failed:be.example.com:443",
    }  # fmt: skip
    await service.finish(await service.claim(1), Succeeded("1"))
    await service.store.remove([failing[3].job_id])
    await service.sweep(after=360.0)
    assert await service.keys() == []


async def test_schedule_that_missed_its_time(service: Service) -> None:
    await service.store.upsert_schedule(Schedule(name="nightly", spec=JobSpec(id="t", task="answer"), every=3600.0))
    (record,) = (await service.store.list_schedules()).records
    tick = record.step(service.clock(), 1)
    assert tick is not None
    await service.store.fire(tick)
    service.clock.advance(3600.0)
    await service.work()
    assert await service.keys() == []
    service.clock.advance(70.0)
    assert await service.keys() == ["schedule:nightly"]
    await service.store.set_schedule_enabled("nightly", False)
    assert await service.keys() == []


async def test_unhealthy_worker(service: Service) -> None:
    await service.work(health="cannot open its resource llm: no GPU")
    (key,) = await service.keys()
    assert key.startswith("unhealthy:")
    await service.work(health=STOPPED)
    assert await service.keys() == []
