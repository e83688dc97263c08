"""Listener presence: reports open streams to the store, so that jobs with `on_disconnect` are cancelled without listeners."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.model.errors import StoreError
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store

RENEWALS_PER_GRACE = 3
"""Number of reports about listeners within the shortest grace period of their jobs."""

MIN_INTERVAL = 0.05
"""Minimum seconds between two reports."""

logger = logging.getLogger(__name__)


class ListenerPresence:
    """Reports to the store which jobs have listeners in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: Counter[str] = Counter()
        self._graces: dict[str, float] = {}
        self._shortest = math.inf
        self._renewal: asyncio.Task[None] | None = None
        self._final_touches: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def track(self, record: JobRecord) -> AsyncIterator[None]:
        """Count as a listener of the job inside the block. Does nothing if the job does not depend on listeners."""
        grace = record.spec.abandon_after
        if grace is None:
            yield
            return
        self._add(record.id, grace)
        try:
            await self._touch([record.id])
            yield
        finally:
            self._remove(record.id)

    def _add(self, job_id: str, grace: float) -> None:
        self._listeners[job_id] += 1
        self._graces[job_id] = grace
        if self._renewal is None or grace < self._shortest:  # else the running renewal is frequent enough
            self._stop_renewing()
            self._shortest = grace
            self._renewal = asyncio.create_task(self._renew())

    def _remove(self, job_id: str) -> None:
        self._listeners[job_id] -= 1
        if self._listeners[job_id]:
            return
        del self._listeners[job_id], self._graces[job_id]
        if not self._graces:
            self._stop_renewing()
        touch = asyncio.create_task(self._touch([job_id]))  # a separate task, because the stream's is being cancelled
        self._final_touches.add(touch)
        touch.add_done_callback(self._final_touches.discard)

    async def _renew(self) -> None:
        while True:
            self._shortest = min(self._graces.values())
            await asyncio.sleep(max(self._shortest / RENEWALS_PER_GRACE, MIN_INTERVAL))
            await self._touch(list(self._graces))

    def _stop_renewing(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = None

    async def _touch(self, ids: list[str]) -> None:
        try:
            await self._store.touch_listeners(ids)
        except StoreError as error:
            logger.warning("the listeners of %d jobs could not be reported to the store: %s", len(ids), error)
