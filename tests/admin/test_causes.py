"""Each kind of finding on a real store: the first evaluation after its cause has it, and the first one after its end does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from sidelane import Queue, Sidelane
from sidelane.admin.findings.evaluation import RULES, Attention
from sidelane.admin.findings.monitor import INTERVAL, JITTER
from sidelane.admin.findings.reading import FactReader
from sidelane.model.job import Lease
from sidelane.model.limit import Limit
from sidelane.model.settings import Settings
from sidelane.stores.clock import ManualClock
from sidelane.stores.factory import open_store
from sidelane.telemetry.loop import WINDOW
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE
from tests.admin.causes import CASES, SQLITE, VALKEY, Case
from tests.admin.service import Service
from tests.contract.servers import RunningServer

MAX_DELAY = 10.0
"""Seconds within which a finding appears after its cause and goes after its end."""

SLOTS = 4


@pytest.fixture
async def service(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Service]:
    server: RunningServer | None = None if url.startswith("sqlite") else request.getfixturevalue("valkey")
    clock = ManualClock()
    store = await open_store(url, clock=clock)
    running = Service(store, clock, server)
    await running.beat()
    yield running
    await store.close()


def runs() -> Iterator[Any]:
    """Yield each case on each of its stores."""
    for case in CASES:
        for store in case.stores:
            marks = [pytest.mark.long] if store == VALKEY else []
            yield pytest.param(store, case, marks=marks, id=f"{case.steps.__name__}-{store}")


@pytest.mark.parametrize(("url", "case"), list(runs()), indirect=["url"])
async def test_finding_is_there_from_its_cause_to_its_end(service: Service, case: Case) -> None:
    by_rule = []
    async with aclosing(case.steps(service)) as steps:
        async for expected in steps:
            assert await service.found() == expected
            facts = (await FactReader(service.store).read()).facts
            by_rule.append(any(case.rule(facts)))
    assert not by_rule[0]
    assert any(by_rule)
    assert not by_rule[-1]


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == set(RULES)


def test_what_a_worker_reports_is_evaluated_in_time() -> None:
    heartbeat = Settings().lease_duration / HEARTBEATS_PER_LEASE
    assert heartbeat + INTERVAL * (1 + JITTER) < MAX_DELAY


@pytest.mark.parametrize("url", [SQLITE, pytest.param(VALKEY, marks=pytest.mark.long)], indirect=True)
@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize(("seconds", "others"), [(8, ("anna", "ben", "carl")), (30, ())])
async def test_user_who_floods_a_queue_raises_no_finding(
    service: Service, limited: bool, seconds: int, others: tuple[str, ...]
) -> None:
    """One slow worker runs jobs of some seconds in four slots, of a user with thousands of jobs and of others."""
    limit = Limit(name="answer-per-user", key="flood", max=2, on_limit="wait")
    await service.declare(chat=10.0)
    await service.submit(3000, user="flood", limits=(limit,) if limited else ())
    running: list[tuple[int, Lease]] = []
    for second in range(0, 120, 2):
        if second % 8 == 2:
            for user in others:
                await service.submit(user=user)
        await service.finish([lease for start, lease in running if second - start == seconds])
        running = [(start, lease) for start, lease in running if second - start < seconds]
        running += [(second, lease) for lease in await service.claim(SLOTS - len(running))]
        assert await service.found() == set()
        service.clock.advance(2.0)
        await service.store.sweep(lease=60.0)


@pytest.mark.long
async def test_worker_whose_event_loop_a_task_blocks_is_found_for_ten_more_seconds(url: str) -> None:
    lane = Sidelane(queues=[Queue("chat")], store=url, settings={"lease_duration": 3.0})

    @lane.task(queue="chat")
    async def answer() -> None:
        time.sleep(2.5)  # noqa: ASYNC251 - it blocks the worker's event loop, which is this one

    async with lane.open(workers=1):
        job = await answer.submit()
        watching = asyncio.create_task(asyncio.to_thread(asyncio.run, _keys_until_over(url)))
        await job.result(timeout=30)
        ended = time.monotonic()
        last_seen = {key.partition(":")[0]: at - ended for key, at in (await watching).items()}
    assert last_seen.keys() == {"unhealthy", "blocked-event-loop"}
    assert last_seen["unhealthy"] < MAX_DELAY
    assert last_seen["blocked-event-loop"] < WINDOW + MAX_DELAY  # it is about the last seconds


async def _keys_until_over(url: str) -> dict[str, float]:
    """Evaluate until a blocked event loop has been found and is over. Return when each finding was last there."""
    store = await open_store(url)
    attention = Attention(store)
    seen: dict[str, float] = {}
    async with asyncio.timeout(60):
        while (found := await attention.findings()) or "blocked-event-loop" not in seen:
            seen |= {each.key: time.monotonic() for each in found}
            await asyncio.sleep(0.1)
    await store.close()
    return seen
