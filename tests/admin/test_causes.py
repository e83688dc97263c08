"""Each kind of finding on a real store: the first evaluation after its cause has it, and the first one after its end does not."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from sidelane.admin.findings.evaluation import RULES
from sidelane.admin.findings.monitor import INTERVAL, JITTER
from sidelane.admin.findings.reading import FactReader
from sidelane.model.limit import Limit
from sidelane.model.settings import Settings
from sidelane.stores.clock import ManualClock
from sidelane.stores.factory import open_store
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE
from tests.admin.causes import CASES, SQLITE, VALKEY, Case
from tests.admin.service import Service
from tests.contract.servers import RunningServer

MAX_DELAY = 10.0
"""Seconds within which a finding appears after its cause and goes after its end."""


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
async def test_user_who_floods_a_queue_raises_no_finding(service: Service, limited: bool) -> None:
    """Four slots run jobs of eight seconds, of a user with thousands of jobs and of three others."""
    limit = Limit(name="answer-per-user", key="flood", max=2, on_limit="wait")
    await service.declare(chat=10.0)
    await service.submit(3000, user="flood", limits=(limit,) if limited else ())
    running: list[Any] = []
    for second in range(0, 120, 2):
        if second % 8 == 2:
            for user in ("anna", "ben", "carl"):
                await service.submit(user=user)
        ended = [lease for start, lease in running if second - start >= 8]
        await service.finish(ended)
        running = [(start, lease) for start, lease in running if second - start < 8]
        running += [(second, lease) for lease in await service.claim(4 - len(running))] if len(running) < 4 else []
        assert await service.found() == set()
        service.clock.advance(2.0)
        await service.store.sweep(lease=10.0)
