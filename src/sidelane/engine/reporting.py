"""How a worker speaks to the store: events as they come, ends as they come, each kind in one call at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sidelane.engine.emission import MOST_BYTES, Emission
from sidelane.engine.trying import Trying
from sidelane.model.outcome import Append, Report
from sidelane.stores.contract import Source

R = TypeVar("R")

BATCH = 200


class Reporter:
    """Writes what attempts emit and how they end. A store that cannot be reached is tried again until it can (rules 3)."""

    def __init__(
        self,
        source: Source,
        *,
        on_lost: Callable[[Append], None],
        on_reported: Callable[[Report, bool], None],
        on_appended: Callable[[Append], None] = lambda append: None,
    ) -> None:
        self._source = source
        self._on_appended = on_appended
        self._on_lost = on_lost
        self._on_reported = on_reported
        self._dirty: dict[Emission, None] = {}
        self._reports: list[Report] = []
        self._emitted = asyncio.Event()
        self._ended = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._trying = Trying("report")

    @property
    def trouble(self) -> str | None:
        """Why the store takes nothing, while it does not."""
        return self._trying.trouble

    def dirty(self, emission: Emission) -> None:
        """Hear that an attempt has something to write."""
        self._dirty[emission] = None
        self._emitted.set()

    def report(self, report: Report) -> None:
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
            reports, self._reports = self._reports[:BATCH], self._reports[BATCH:]
            answers = await self._write(self._source.finish, reports)
            for report, answer in zip(reports, answers, strict=True):
                self._on_reported(report, answer)
            if not self._reports:
                self._ended.clear()
                self._idle.set()

    def _take(self) -> list[tuple[Emission, Append]]:
        taken: list[tuple[Emission, Append]] = []
        count = size = 0
        for emission in list(self._dirty):
            del self._dirty[emission]
            append = emission.take()
            if append is not None:
                taken.append((emission, append))
                count += len(append.entries)
                size += sum(len(entry.data) for entry in append.entries)
                if count >= BATCH or size >= MOST_BYTES:
                    return taken
        self._emitted.clear()
        return taken

    async def _write(self, call: Callable[[Sequence[R]], Awaitable[list[bool]]], items: Sequence[R]) -> list[bool]:
        return await self._trying.until_answered(lambda: call(items)) or []
