"""How a worker speaks to the store: events as they come, ends as they come, each kind in one call at a time."""

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
    """Writes what attempts emit and how they end. A store that cannot be reached is tried again until it can (rules 3)."""

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
        self._dirty: dict[EventBuffer, None] = {}
        self._reports: list[AttemptResult] = []
        self._emitted = asyncio.Event()
        self._ended = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._trying = RetryUntilAvailable("report")

    @property
    def error(self) -> str | None:
        """Why the store takes nothing, while it does not."""
        return self._trying.error

    def dirty(self, emission: EventBuffer) -> None:
        """Hear that an attempt has something to write."""
        self._dirty[emission] = None
        self._emitted.set()

    def report(self, report: AttemptResult) -> None:
        """Take the end of an attempt."""
        self._reports.append(report)
        self._idle.clear()
        self._ended.set()

    async def settled(self) -> None:
        """Wait until every report is written."""
        await self._idle.wait()

    async def run_appends(self) -> None:
        """Write events, for ever."""
        while True:
            await self._emitted.wait()
            taken = self._take()
            if taken:
                held = await self._write(self._source.append, [append for _, append in taken])
                for (emission, append), answer in zip(taken, held, strict=True):
                    emission.written(answer)
                    (self._on_appended if answer else self._on_lost)(append)

    async def run_reports(self) -> None:
        """Write ends, for ever."""
        while True:
            await self._ended.wait()
            reports, self._reports = self._reports[:MAX_PER_CALL], self._reports[MAX_PER_CALL:]
            answers = await self._write(self._source.finish, reports)
            for report, answer in zip(reports, answers, strict=True):
                self._on_reported(report, answer)
            if not self._reports:
                self._ended.clear()
                self._idle.set()

    def _take(self) -> list[tuple[EventBuffer, EventAppend]]:
        taken: list[tuple[EventBuffer, EventAppend]] = []
        count = size = 0
        for emission in list(self._dirty):
            del self._dirty[emission]
            append = emission.take()
            if append is not None:
                taken.append((emission, append))
                count += len(append.entries)
                size += sum(len(entry.data) for entry in append.entries)
                if count >= MAX_PER_CALL or size >= MAX_BYTES_PER_APPEND:
                    return taken
        self._emitted.clear()
        return taken

    async def _write(self, call: Callable[[Sequence[R]], Awaitable[list[bool]]], items: Sequence[R]) -> list[bool]:
        return await self._trying.call(lambda: call(items)) or []
