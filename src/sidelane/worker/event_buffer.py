"""What one attempt emits, on its way to the log: numbered here, sent by the worker's reporting."""

import asyncio
from collections.abc import Callable

from sidelane.model.errors import SidelaneError
from sidelane.model.event import NewEvent
from sidelane.model.job import Lease
from sidelane.model.outcome import EventAppend

MAX_BUFFERED = 1000
"""Entries an attempt may have waiting before it is made to wait itself: this bounds its memory when the store is slow."""

MAX_EVENTS_PER_APPEND = 200
MAX_BYTES_PER_APPEND = 262_144
"""What one append takes of one attempt at most, so that nobody fills a transaction (rules 16)."""

MAX_BYTES_PER_RESULT = 1_048_576
"""What one report takes with it, beside the number of entries that may wait."""


class LeaseLost(SidelaneError):
    """The attempt has lost its lease: nothing it emits counts any more."""


class EventBuffer:
    """The entries of one attempt that wait to be written, in order and numbered by its own ordinal (rules 3)."""

    def __init__(self, lease: Lease, dirty: Callable[["EventBuffer"], None]) -> None:
        self.lease = lease
        self.lost = False
        self._dirty = dirty
        self._waiting: list[NewEvent] = []
        self._ordinal = 1  # of the first waiting entry
        self._in_flight = 0  # how many of the waiting entries are being written
        self._settled: list[asyncio.Future[None]] = []

    def add(self, entry: NewEvent) -> None:
        """Take an entry. Raises `LeaseLost` when nobody would hear it."""
        if self.lost:
            raise LeaseLost
        self._waiting.append(entry)
        self._dirty(self)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) > MAX_BUFFERED

    async def wait_for_space(self) -> None:
        """Wait until there is room for more."""
        while self.is_full and not self.lost:
            await self._settle()

    def take(self) -> EventAppend | None:
        """Give what waits as one append, or None when there is nothing or it is under way already."""
        if self._in_flight or not self._waiting:
            return None
        self._in_flight = count = self._portion()
        return EventAppend(lease=self.lease, ordinal=self._ordinal, entries=tuple(self._waiting[:count]))

    def written(self, held: bool) -> None:
        """Hear that the last taken append was written, or that the lease is lost."""
        del self._waiting[: self._in_flight]
        self._ordinal += self._in_flight
        self._in_flight = 0
        if not held:
            self.lost = True
            self._waiting.clear()
        settled, self._settled = self._settled, []
        for future in settled:
            if not future.done():
                future.set_result(None)
        if self._waiting:
            self._dirty(self)

    async def drain(self) -> tuple[int, tuple[NewEvent, ...]]:
        """Give the last entries and the ordinal of the first, to go with the report; wait while they are too much for one.

        What is under way goes with it again: a store that is full takes ends and no appends, and ignores what it has seen
        (rules 3, 22).
        """
        while sum(len(entry.data) for entry in self._waiting) > MAX_BYTES_PER_RESULT:
            await self._settle()
        waiting, self._waiting = tuple(self._waiting), []
        return self._ordinal, waiting

    def _portion(self) -> int:
        size = 0
        for count, entry in enumerate(self._waiting[:MAX_EVENTS_PER_APPEND]):
            size += len(entry.data)
            if count and size > MAX_BYTES_PER_APPEND:
                return count
        return min(len(self._waiting), MAX_EVENTS_PER_APPEND)

    async def _settle(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled.append(future)
        await future
