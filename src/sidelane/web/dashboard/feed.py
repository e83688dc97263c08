"""Feed: tells all open pages of a process what has changed. One loop reads the store for all of them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from sidelane.admin.findings.finding import Finding
from sidelane.admin.shared_reads import SharedReads
from sidelane.model.errors import StoreError
from sidelane.model.job import JobRecord, Query
from sidelane.model.sentence import Sentence
from sidelane.tasks.internal_queues import BULK_QUEUE

INTERVAL: Final = 0.5
"""Seconds between two looks at the store while a page is open."""

SLOW_EVERY: Final = 10
"""Looks after which also findings are read."""

JOBS, QUEUES, WORKERS, FINDINGS, BULK, STORE = "jobs", "queues", "workers", "findings", "bulk", "store"
"""What may change. `BULK` changes at each look while a bulk action runs, and `STORE` when the store goes away and is back."""


class Feed:
    """Compares what the store says with what it said before, as long as somebody listens."""

    def __init__(self, reads: SharedReads) -> None:
        self._reads = reads
        self._listeners: set[asyncio.Queue[frozenset[str]]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._seen: dict[str, Any] = {}
        self._looks = 0

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Yield the names of what has changed, each time something has."""
        listener: asyncio.Queue[frozenset[str]] = asyncio.Queue()
        self._listeners.add(listener)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        try:
            while True:
                changed = await listener.get()
                while not listener.empty():  # a page that is slow to read learns of all changes at once
                    changed |= listener.get_nowait()
                yield changed
        finally:
            self._listeners.discard(listener)

    async def _run(self) -> None:
        while self._listeners:
            changed = await self._look()
            if changed:
                for listener in self._listeners:
                    listener.put_nowait(changed)
            await asyncio.sleep(INTERVAL)
        self._seen.clear()

    async def _look(self) -> frozenset[str]:
        """Return what has changed since the last look. The first look of a name finds no change."""
        found: dict[str, Any] = {STORE: "away"}
        try:
            stats, workers = await self._reads.stats(), await self._reads.workers()
            found[QUEUES] = [(each.name, each.paused, each.queued, each.running) for each in stats]
            found[WORKERS] = [(each.id, each.running, each.health, each.request) for each in workers]
            found[JOBS] = found[QUEUES], await self._newest_job()
            found[BULK] = self._looks if any(each.name == BULK_QUEUE and each.running for each in stats) else None
            if self._looks % SLOW_EVERY == 0:
                found[FINDINGS] = _essentials(await self._reads.findings())
            found[STORE] = "here"
            self._looks += 1
        except StoreError:
            self._reads.forget()  # pages must not show what was read before
        changed = {name for name, value in found.items() if name in self._seen and self._seen[name] != value}
        self._seen |= found
        return frozenset(changed)

    async def _newest_job(self) -> tuple[str, str] | None:
        newest: list[JobRecord] = await self._reads.store.list_jobs(Query(limit=1))
        return (newest[0].id, newest[0].state) if newest else None


def _essentials(findings: Sequence[Finding]) -> list[tuple[str, Sentence, float | None]]:
    return [(each.key, each.sentence, each.muted_until) for each in findings]
