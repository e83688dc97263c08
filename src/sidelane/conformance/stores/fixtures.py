"""Where a store under test keeps its jobs, and the fixtures every subject of the suite shares."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store


class StoreFactory(Protocol):
    """One storage, empty at first. Several stores opened at one place see the same jobs."""

    @property
    def url(self) -> str:
        """What another process opens it with, through `sidelane.stores.factory.open_store`."""
        ...

    async def open(self, clock: Callable[[], float]) -> Store:
        """Open one more connection, whose time is told by `clock`."""
        ...


@dataclass(frozen=True, slots=True)
class UrlStoreFactory:
    """The place a store's URL names; it must be empty."""

    url: str

    async def open(self, clock: Callable[[], float]) -> Store:
        return await open_store(self.url, clock=clock)


class StoreSuite:
    """One subject of the suite. The class that tests a store brings the fixture `place`."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def store(self, place: StoreFactory, clock: ManualClock) -> AsyncIterator[Store]:
        store = await place.open(clock)
        yield store
        await store.close()
