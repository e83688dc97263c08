"""Who listens: keeps jobs alive that are to be cancelled when nobody follows them any more (`on_disconnect`)."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.model.errors import StoreError
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store

SHARE = 3
"""The store hears of a listener this many times in the shortest wait."""

MIN_PAUSE = 0.05
"""Seconds between two such calls at least."""

logger = logging.getLogger(__name__)


class ListenerPresence:
    """Tells the store, while streams of this process are open, that someone listens to their jobs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: Counter[str] = Counter()
        self._waits: dict[str, float] = {}
        self._shortest = math.inf
        self._renewal: asyncio.Task[None] | None = None
        self._goodbyes: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def to(self, record: JobRecord) -> AsyncIterator[None]:
        """Listen to a job for as long as the block. Costs nothing where the job goes on without listeners."""
        wait = record.spec.abandon_after
        if wait is None:
            yield
            return
        self._enter(record.id, wait)
        try:
            await self._say([record.id])
            yield
        finally:
            self._leave(record.id)

    def _enter(self, job_id: str, wait: float) -> None:
        self._listeners[job_id] += 1
        self._waits[job_id] = wait
        if self._renewal is None or wait < self._shortest:  # else the one under way comes soon enough
            self._stop_renewing()
            self._shortest = wait
            self._renewal = asyncio.create_task(self._renew())

    def _leave(self, job_id: str) -> None:
        self._listeners[job_id] -= 1
        if self._listeners[job_id]:
            return
        del self._listeners[job_id], self._waits[job_id]
        if not self._waits:
            self._stop_renewing()
        goodbye = asyncio.create_task(self._say([job_id]))  # of its own, for the stream's task is being cancelled
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    async def _renew(self) -> None:
        while True:
            self._shortest = min(self._waits.values())
            await asyncio.sleep(max(self._shortest / SHARE, MIN_PAUSE))
            await self._say(list(self._waits))

    def _stop_renewing(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = None

    async def _say(self, ids: list[str]) -> None:
        try:
            await self._store.touch_listeners(ids)
        except StoreError as error:
            logger.warning("the store did not hear that someone listens to %d jobs: %s", len(ids), error)
