"""Reporter: writes the events and results of a worker's attempts to the store in batches, one call of each kind at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sidelane.model.outcome import AttemptResult, EventAppend
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import JobSource
from sidelane.worker.event_buffer import MAX_BYTES_PER_APPEND, EventBuffer

R = TypeVar("R")

MAX_PER_CALL = 200


class Reporter:
    """Writes events and results of attempts. While the store is unavailable it retries (rule 3).

    `on_appended` is called with events that were written, `on_lost` with events whose lease was lost, and `on_reported` with each
    result and whether it was accepted.
    """

    def __init__(
        self,
        source: JobSource,
        *,
        on_lost: Callable[[EventAppend], None],
        on_reported: Callable[[AttemptResult, bool], None],
        on_appended: Callable[[EventAppend], None] = lambda append: None,
    ) -> None:
        self._source = source
        self._on_appended = on_appended
        self._on_lost = on_lost
        self._on_reported = on_reported
        self._pending: dict[EventBuffer, None] = {}
        self._results: list[AttemptResult] = []
        self._has_pending = asyncio.Event()
        self._has_results = asyncio.Event()
        self._all_reported = asyncio.Event()
        self._all_reported.set()
        self._writing = RetryUntilAvailable("report")

    @property
    def error(self) -> str | None:
        """Why events and results cannot be written at the moment, or None."""
        return self._writing.error

    def on_pending(self, events: EventBuffer) -> None:
        """Write the events of this buffer soon."""
        self._pending[events] = None
        self._has_pending.set()

    def report(self, result: AttemptResult) -> None:
        """Write the result of an attempt soon."""
        self._results.append(result)
        self._all_reported.clear()
        self._has_results.set()

    async def wait_reported(self) -> None:
        """Wait until every result is written."""
        await self._all_reported.wait()

    async def run_appends(self) -> None:
        """Write events until cancelled."""
        while True:
            await self._has_pending.wait()
            batch = self._next_appends()
            if batch:
                answers = await self._write(self._source.append, [append for _, append in batch])
                for (events, append), accepted in zip(batch, answers, strict=True):
                    events.on_written(accepted)
                    (self._on_appended if accepted else self._on_lost)(append)

    async def run_reports(self) -> None:
        """Write results until cancelled."""
        while True:
            await self._has_results.wait()
            results, self._results = self._results[:MAX_PER_CALL], self._results[MAX_PER_CALL:]
            answers = await self._write(self._source.finish, results)
            for result, accepted in zip(results, answers, strict=True):
                self._on_reported(result, accepted)
            if not self._results:
                self._has_results.clear()
                self._all_reported.set()

    def _next_appends(self) -> list[tuple[EventBuffer, EventAppend]]:
        batch: list[tuple[EventBuffer, EventAppend]] = []
        count = size = 0
        for events in list(self._pending):
            del self._pending[events]
            append = events.next_append()
            if append is not None:
                batch.append((events, append))
                count += len(append.entries)
                size += sum(len(event.data) for event in append.entries)
                if count >= MAX_PER_CALL or size >= MAX_BYTES_PER_APPEND:
                    return batch
        self._has_pending.clear()
        return batch

    async def _write(self, call: Callable[[Sequence[R]], Awaitable[list[bool]]], items: Sequence[R]) -> list[bool]:
        return await self._writing.call(lambda: call(items)) or []
