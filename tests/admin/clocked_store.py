"""Fixtures: a store in memory, whose clock a test moves."""

from collections.abc import AsyncIterator

import pytest

from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.sqlite.store import SqliteStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(":memory:", clock)
    yield opened
    await opened.close()
