"""Fixtures that all classes of the suite share."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store


class StoreFactory(Protocol):
    """An initially empty database. All stores that it opens share their jobs."""

    @property
    def url(self) -> str:
        """The URL by which another process opens it, with `sidelane.stores.factory.open_store`."""
        ...

    async def open(self, clock: Callable[[], float]) -> Store:
        """Open one more store. `clock` returns seconds since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class UrlStoreFactory:
    """The database at a store's URL, which must be empty."""

    url: str

    async def open(self, clock: Callable[[], float]) -> Store:
        return await open_store(self.url, clock=clock)


class StoreSuite:
    """Base of the suite's classes. The class that tests a store defines the fixture `factory`."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def store(self, factory: StoreFactory, clock: ManualClock) -> AsyncIterator[Store]:
        store = await factory.open(clock)
        yield store
        await store.close()
