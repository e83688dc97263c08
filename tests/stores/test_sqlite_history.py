"""History on SQLite, whose processes count by their own clocks."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidelane.admin.figures import read_history
from sidelane.conformance.stores.counting import tally
from sidelane.model.history import HOUR, MINUTE, STEPS, Count, HistoryQuery
from sidelane.model.job import JobSpec
from sidelane.stores.clock import NEW_YEAR_2027, ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

LEASE = 10.0
FAST = 5 * MINUTE + 1


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[list[Store]]:
    """The same store, as processes see it whose clocks are right, two minutes slow and five minutes fast."""
    async with AsyncExitStack() as stack:
        opened = []
        for difference in (0, -2 * MINUTE, FAST):
            clock = ManualClock(NEW_YEAR_2027 + difference)
            opened.append(await open_store(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock))
            stack.push_async_callback(opened[-1].close)
        yield opened


async def test_clocks_that_differ_between_processes_lose_and_double_nothing(stores: list[Store]) -> None:
    for number in range(30):
        await stores[number % 3].submit([JobSpec(id=f"j{number}", task="t", user="u")])
        await stores[number % 2].sweep(lease=LEASE)
    assert await tally(stores[0]) == {"SUBMITTED": 30}
    for step in STEPS:
        query = HistoryQuery(since=NEW_YEAR_2027 - HOUR, until=NEW_YEAR_2027 + HOUR, step=step)
        assert sum(cell.counts.get(Count.SUBMITTED, 0) for cell in await stores[0].history(query)) == 30
    users = await stores[0].top_users(NEW_YEAR_2027 - HOUR, NEW_YEAR_2027 + HOUR)
    assert sum(user.submitted for user in users) == 30


async def test_a_period_ends_now_by_the_clock_of_the_store(stores: list[Store]) -> None:
    await stores[2].submit([JobSpec(id="a", task="t")])
    history = await read_history(stores[2], HOUR)
    assert history.period.until == NEW_YEAR_2027 + FAST
    assert sum(history.by_task()["t"].values(Count.SUBMITTED)) == 1
