"""StoreExporter: reads a store for scrapes of Prometheus, at most once a second."""

import asyncio
from collections.abc import Awaitable, Callable

from sidelane.coalescing import SharedRead
from sidelane.exporters.exposition import Exposition
from sidelane.exporters.store_metrics import StoreFacts, store_exposition
from sidelane.model.errors import StoreUnavailable

CACHED_FOR = 1.0
"""Seconds for which scrapes get the same figures, so that many of them cost the store no more than one."""

READ_TIMEOUT = 8.0
"""Seconds that the store has to answer. Prometheus waits for 10."""


class StoreExporter:
    """Answers scrapes with the metrics of a store. `read` reads it once; concurrent scrapes share one read."""

    def __init__(self, read: Callable[[], Awaitable[StoreFacts]]) -> None:
        self._read = read
        self._exposition = SharedRead(self._new_exposition)

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that an `Accept` field asks for, and their content type.

        Raises `StoreUnavailable` while the store does not answer.
        """
        exposition = await self._exposition.value(CACHED_FOR)
        return await asyncio.to_thread(exposition.encode, accept)  # it takes long with many series

    async def _new_exposition(self) -> Exposition:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return store_exposition(await self._read())
        except TimeoutError:
            raise StoreUnavailable(f"The store did not answer within {READ_TIMEOUT:g} s.") from None
