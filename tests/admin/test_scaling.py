"""The load of a real store whose clock the test moves, and the journal of changes."""

from collections.abc import AsyncIterator

import pytest

from sidelane.admin.scaling import LoadReader, Scaling, read_scalings, record_scaling
from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit
from sidelane.model.outcome import Dispatched
from sidelane.sizing.scaling import DEFAULT_RUN_TIME, Bounds
from sidelane.stores.clock import ManualClock
from sidelane.stores.factory import open_store
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from tests.admin.conftest import BOTH_STORES
from tests.admin.service import Service

BOUNDS = Bounds(1, 20)
OWN = {("box", 7)}


@pytest.fixture
async def service(url: str) -> AsyncIterator[Service]:
    clock = ManualClock()
    store = await open_store(url, clock=clock)
    yield Service(store, clock)
    await store.close()


async def run_for(service: Service, seconds: int, *, rate: int, run_time: float) -> None:
    """Submit and run `rate` jobs in each second."""
    for _ in range(seconds):
        await service.submit(rate)
        leases = await service.claim(rate)
        service.clock.advance(run_time)
        await service.finish(leases)
        service.clock.advance(1.0 - run_time)


@BOTH_STORES
async def test_rates_and_run_times_are_those_of_the_last_seconds(service: Service) -> None:
    await service.declare(chat=10.0)
    reader = LoadReader(service.store)
    await run_for(service, 3, rate=1, run_time=0.5)
    await reader.read()
    await run_for(service, 20, rate=4, run_time=0.25)
    load = (await reader.read()).of("chat")
    assert load.arrivals == pytest.approx(4, rel=0.2)
    assert load.run_time == pytest.approx(0.26, rel=0.1)
    assert load.target_wait == 10.0


async def test_a_first_read_knows_the_rate_of_the_last_minute(service: Service) -> None:
    await run_for(service, 90, rate=2, run_time=0.5)
    load = (await LoadReader(service.store).read()).of("chat")
    assert load.arrivals == pytest.approx(2, rel=0.2)
    assert load.run_time == pytest.approx(0.5)


async def test_jobs_that_wait_to_start_count_as_arrivals_and_delayed_ones_do_not(service: Service) -> None:
    reader = LoadReader(service.store)
    await service.submit()
    await reader.read()
    service.clock.advance(20.0)
    await service.submit(40)
    await service.submit(1000, delay=3600.0)
    load = (await reader.read()).of("chat")
    assert (load.ready, load.arrivals) == (41, 2.0)


async def test_the_age_of_running_jobs_shows_that_they_are_long(service: Service) -> None:
    reader = LoadReader(service.store)
    await service.submit(3)
    assert (await reader.read()).of("chat").run_time == DEFAULT_RUN_TIME
    await service.claim(3)
    service.clock.advance(30.0)
    assert (await reader.read()).of("chat").run_time == pytest.approx(60.0)


async def test_a_group_is_decided_about_by_what_its_workers_say(service: Service) -> None:
    reader = LoadReader(service.store)
    assert (await reader.read()).decide(OWN, BOUNDS) is None, "no process of it is a worker yet"
    await service.beat(id="w1", host="box", pid=7, slots=5, queues={"chat": 5}, running=5)
    await service.submit(100)
    decision = (await reader.read()).decide(OWN, BOUNDS)
    assert decision is not None
    assert (decision.wanted, decision.busy) == (1, 1)
    assert decision.reason == "chat: 100 ready, to start within 10 min, need 1 slot"
    await service.declare(chat=5.0)
    declared = (await reader.read()).decide(OWN, BOUNDS)
    assert declared is not None
    assert (declared.wanted, declared.predicted_wait) == (4, 20.0)


async def test_workers_of_other_hosts_take_their_share(service: Service) -> None:
    await service.declare(chat=5.0)
    await service.beat(id="w1", host="box", pid=7, slots=5, queues={"chat": 5})
    await service.beat(id="w2", host="other", pid=7, slots=5, queues={"chat": 5})
    await service.beat(id="w3", host="box", pid=8, slots=5, queues={"chat": 5}, health="draining: it takes no more")
    await service.submit(100)
    decision = (await LoadReader(service.store).read()).decide(OWN, BOUNDS)
    assert decision is not None
    assert decision.wanted == 2


async def test_a_limit_that_holds_jobs_is_named(service: Service) -> None:
    limit = Limit(name="openai", key="openai", max=2, on_limit="wait")
    await service.beat(id="w1", host="box", pid=7, slots=1, queues={"chat": 1}, running=2)
    await service.submit(30, limits=(limit,))
    await service.claim(30)
    load = await LoadReader(service.store).read()
    assert load.of("chat").held
    decision = load.decide(OWN, BOUNDS)
    assert decision is not None
    assert (decision.wanted, decision.capped_by) == (2, "openai/openai")


async def test_several_limits_that_may_hold_jobs_are_all_named(service: Service) -> None:
    openai, search = (Limit(name=name, key="all", max=1, on_limit="wait") for name in ("openai", "search"))
    await service.submit(3, limits=(search,))
    await service.submit(3, limits=(openai,))
    await service.claim(6)
    assert (await LoadReader(service.store).read()).of("chat").limit == "openai or search"


async def test_jobs_that_end_within_a_millisecond_are_short(service: Service) -> None:
    reader = LoadReader(service.store)
    await reader.read()
    await run_for(service, 20, rate=4, run_time=0.0)
    assert (await reader.read()).of("chat").run_time == 0.001


async def test_jobs_at_external_workers_take_no_slots(service: Service) -> None:
    reader = LoadReader(service.store)
    await reader.read()
    await service.submit()
    sending = JobSpec(id="sending", task="sidelane.send", queue=DISPATCH_QUEUE)
    await service.finish(await service.claim(), Dispatched(3600.0, sending))
    service.clock.advance(200.0)
    load = (await reader.read()).of("chat")
    assert (load.running, load.arrivals, load.run_time) == (1, 0, DEFAULT_RUN_TIME)


@BOTH_STORES
async def test_the_journal_has_changes_newest_first(service: Service) -> None:
    for number in range(3):
        await record_scaling(service.store, Scaling(0.0, "box", "chat", number, number + 1, "chat: why", "openai/ann"))
    newest, older = await read_scalings(service.store, 2)
    assert (newest.before, newest.after, newest.capped_by) == (2, 3, "openai/ann")
    assert older.after == 2
    assert newest.at == pytest.approx(service.clock())
