"""Missing workers: whether a live worker would run a job, and a warning while none does."""

import logging
import math
import time

from sidelane.model.job import JobSpec
from sidelane.model.worker import WorkerInfo
from sidelane.stores.contract import Store

CACHED_FOR = 1.0
"""Seconds for which the list of live workers is cached."""

WARNING_INTERVAL = 60.0
"""Seconds between two warnings that a task has no live worker."""

logger = logging.getLogger(__name__)


class MissingWorkerCheck:
    """Checks jobs against the live workers of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._workers: list[WorkerInfo] = []
        self._read_at = -math.inf
        self._warned_at: dict[tuple[str, str], float] = {}  # by queue and task

    async def has_worker(self, spec: JobSpec) -> bool:
        """Return whether a live worker would run this job."""
        if time.monotonic() - self._read_at > CACHED_FOR or not self._workers:
            self._workers = await self._store.workers()
            self._read_at = time.monotonic()
        if any(worker.can_run(spec) for worker in self._workers):
            return True
        self._warn(spec)
        return False

    def _warn(self, spec: JobSpec) -> None:
        now = time.monotonic()
        if now - self._warned_at.get((spec.queue, spec.task), -math.inf) >= WARNING_INTERVAL:
            self._warned_at[spec.queue, spec.task] = now
            logger.warning(
                "no live worker runs task %r (version %d) of queue %r: its jobs wait until one does",
                spec.task, spec.version, spec.queue,
            )  # fmt: skip
