"""Event buffer of one attempt. The buffer numbers the events, and holds them until the worker has written them to the log."""

import asyncio
from collections.abc import Callable

from sidelane.model.errors import SidelaneError
from sidelane.model.event import NewEvent
from sidelane.model.job import Lease
from sidelane.model.outcome import EventAppend

MAX_BUFFERED = 1000
MAX_BYTES_BUFFERED = 1_048_576
"""Maximum number and bytes of buffered events before an attempt has to wait, which bound its memory if the store is slow."""

MAX_EVENTS_PER_APPEND = 200
MAX_BYTES_PER_APPEND = 262_144
"""Limits of one append of one attempt, so that no attempt fills a transaction (rule 16)."""

MAX_BYTES_PER_RESULT = 1_048_576
"""Maximum bytes of the events that are written with the result of an attempt."""


class LeaseLost(SidelaneError):
    """The attempt has lost its lease: nothing it emits counts any more."""


class EventBuffer:
    """Events of one attempt that are not written yet, in order and numbered by the attempt's own ordinal (rule 3).

    `on_pending` is called when there are events to write. `closed` is true if the lease was lost or the attempt has ended.
    """

    def __init__(self, lease: Lease, on_pending: Callable[["EventBuffer"], None]) -> None:
        self.lease = lease
        self.closed = False
        self._on_pending = on_pending
        self._events: list[NewEvent] = []
        self._bytes = 0  # of the data of the events
        self._ordinal = 1  # of the first event
        self._in_flight = 0  # how many of the events are being written
        self._waiters: list[asyncio.Future[None]] = []

    def add(self, event: NewEvent) -> None:
        """Add an event. Raises `LeaseLost` if the buffer is closed."""
        if self.closed:
            raise LeaseLost
        self._events.append(event)
        self._bytes += len(event.data)
        self._on_pending(self)

    @property
    def is_full(self) -> bool:
        return len(self._events) > MAX_BUFFERED or self._bytes > MAX_BYTES_BUFFERED

    async def wait_for_space(self) -> None:
        """Wait until the buffer is not full, or closed."""
        while self.is_full and not self.closed:
            await self._wait_for_write()

    def next_append(self) -> EventAppend | None:
        """Return the next events to write, or None if there are none, or if other events are being written."""
        if self._in_flight or not self._events:
            return None
        self._in_flight = count = self._append_size()
        return EventAppend(lease=self.lease, ordinal=self._ordinal, entries=tuple(self._events[:count]))

    def on_written(self, accepted: bool) -> None:
        """Drop the events of the last append. If it was not `accepted`, because the lease is lost, close the buffer."""
        self._bytes -= sum(len(event.data) for event in self._events[: self._in_flight])
        del self._events[: self._in_flight]
        self._ordinal += self._in_flight
        self._in_flight = 0
        if not accepted:
            self.closed = True
            self._events.clear()
            self._bytes = 0
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._events:
            self._on_pending(self)

    async def drain(self) -> tuple[int, tuple[NewEvent, ...]]:
        """Return the remaining events and the ordinal of the first, to be written with the result.

        Wait while the events are too large for that. Events that are being written are included, because a full store accepts
        results but no appends. A store ignores events that it already has (rules 3 and 22).
        """
        while self._bytes > MAX_BYTES_PER_RESULT:
            await self._wait_for_write()
        events, self._events, self._bytes = tuple(self._events), [], 0
        return self._ordinal, events

    def _append_size(self) -> int:
        size = 0
        for count, event in enumerate(self._events[:MAX_EVENTS_PER_APPEND]):
            size += len(event.data)
            if count and size > MAX_BYTES_PER_APPEND:
                return count
        return min(len(self._events), MAX_EVENTS_PER_APPEND)

    async def _wait_for_write(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
