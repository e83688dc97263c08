"""StoreExporter: reads a store for scrapes of Prometheus, at most once a second."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

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
        self._reading: asyncio.Task[Exposition] | None = None
        self._read_at = -math.inf

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that an `Accept` field asks for, and their content type.

        Raises `StoreUnavailable` while the store does not answer.
        """
        exposition = await self._current()
        return await asyncio.to_thread(exposition.encode, accept)  # it takes long with many series

    async def _current(self) -> Exposition:
        reading = self._reading
        expired = time.monotonic() - self._read_at > CACHED_FOR
        if reading is None or reading.cancelled() or (reading.done() and expired):
            reading = self._reading = asyncio.create_task(self._exposition())
            reading.add_done_callback(_retrieve)
        return await asyncio.shield(reading)  # a scrape that gives up must not end it for the others

    async def _exposition(self) -> Exposition:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return store_exposition(await self._read())
        except TimeoutError:
            raise StoreUnavailable(f"The store did not answer within {READ_TIMEOUT:g} s.") from None
        finally:
            self._read_at = time.monotonic()


def _retrieve(reading: "asyncio.Task[Exposition]") -> None:
    """Mark the error of a read as seen, because every scrape that waited for it may have given up."""
    if not reading.cancelled():
        reading.exception()
