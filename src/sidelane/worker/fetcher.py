"""The loop that claims jobs whenever there is room for them."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sidelane.model.ids import new_nonce
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import JobSource, Subscription, queue_topic
from sidelane.tasks.internal_queues import INTERNAL_POLL_INTERVAL, INTERNAL_QUEUES, INTERNAL_SLOTS
from sidelane.worker.capacity import WorkerCapacity
from sidelane.worker.weighted_queues import WeightedQueues

MAX_PER_CLAIM = 100

MAX_POLL_INTERVAL = 10.0
"""Seconds after which an idle worker looks for work even without a hint. A hint that was lost costs less: sweeps hint again."""


@dataclass(frozen=True, slots=True)
class QueueShare:
    """A share of a worker: slots for some queues, and the turns in which they are filled.

    `silence` is after how many seconds it looks for work even without a hint; `isolated`: it takes isolated jobs only.
    """

    slots: WorkerCapacity
    turns: WeightedQueues
    silence: float = MAX_POLL_INTERVAL
    isolated: bool = False


def internal_share() -> QueueShare:
    """Give the share of a worker that does side work."""
    queues = {name: queue.worker_concurrency for name, queue in INTERNAL_QUEUES.items()}
    return QueueShare(
        WorkerCapacity(INTERNAL_SLOTS, queues), WeightedQueues(dict.fromkeys(queues, 1)), INTERNAL_POLL_INTERVAL
    )


class JobFetcher:
    """Claims for one share of a worker: as many jobs as there are free slots, queue by queue in their turns.

    Hints, freed slots and due times wake it. `start` is given each job, with when it was asked for (monotonic seconds).
    `heard` is told after each claim whether an isolated job waits, and says in how many seconds to ask again.
    """

    def __init__(
        self,
        source: JobSource,
        share: QueueShare,
        *,
        worker: str,
        lease: float,
        tasks: Callable[[], dict[str, int]],
        start: Callable[[Claimed, float], None],
        heard: Callable[[bool], float],
    ) -> None:
        self._source = source
        self._worker = worker
        self._slots = share.slots
        self._turns = share.turns
        self._lease = lease
        self._tasks = tasks
        self._start = start
        self._heard = heard
        self._silence = share.silence
        self._isolated = share.isolated
        self._asked = 0.0  # when the last claim was sent
        self._filled = False  # the last claim got all it asked for, so there may be more
        self._served: list[str] = []  # queues that gave all they were asked for in the last claim, so there may be more
        self._more = True  # the last claim may have left jobs behind for want of slots
        self._stopping = False
        self._freed = asyncio.Event()
        self._trying = RetryUntilAvailable("claim")

    @property
    def error(self) -> str | None:
        """Why nothing can be claimed, while it cannot."""
        return self._trying.error

    def freed(self) -> None:
        """Hear that a slot is free again."""
        if self._more:
            self._freed.set()

    def more_tasks(self) -> None:
        """Hear that jobs of more tasks can be run now."""
        self._freed.set()

    def stop(self) -> None:
        """Claim no more. A claim under way is not given up: its answer may be on its way, with jobs for this worker."""
        self._stopping = True
        self._freed.set()

    async def run(self) -> None:
        async with self._source.watch(*map(queue_topic, self._slots.queues)) as wakeups:
            claims = await self._claim()
            while True:
                asked, again = self._asked, self._heard(claims.isolated)
                for claimed in claims.jobs:
                    self._slots.take(claimed.record)
                # the next claim is under way while these jobs begin
                ahead = asyncio.create_task(self._claim()) if self._may_go_on() else None
                for claimed in claims.jobs:
                    self._start(claimed, asked)
                if ahead is None:
                    self._more = self._filled or bool(self._served) or self._held_back()
                    due = math.inf if claims.next_due is None else claims.next_due
                    await self._wait(wakeups, min(self._silence, again, due))
                    if self._stopping:
                        return
                    ahead = asyncio.create_task(self._claim())
                claims = await ahead

    def _may_go_on(self) -> bool:
        if self._stopping or self._slots.free <= 0:
            return False
        return self._filled or not self._slots.free_by_queue().keys().isdisjoint(self._served)

    async def _claim(self) -> Claims:
        queues, limit = self._slots.free_by_queue(), min(self._slots.free, MAX_PER_CLAIM)
        if not self._stopping:
            self._freed.clear()
        self._filled, self._served, self._more = False, [], True
        if limit <= 0 or not queues:
            return Claims()
        asked = self._turns.allocate(queues, limit)
        self._asked = time.monotonic()
        request = ClaimRequest(
            request=new_nonce(), worker=self._worker, queues=asked, tasks=self._tasks(), limit=limit, lease=self._lease,
            isolated=self._isolated, full=tuple(self._slots.queues.keys() - queues.keys()),
        )  # fmt: skip
        claims = await self._trying.call(lambda: self._source.claim(request), stop=lambda: self._stopping) or Claims()
        self._filled = len(claims.jobs) >= limit
        given = Counter(claimed.record.spec.queue for claimed in claims.jobs)
        self._served = self._turns.record(asked, given, full=self._filled)
        return claims

    def _held_back(self) -> bool:
        """Tell whether the slots, as they are taken now, may keep jobs of some kind from being claimed."""
        slots = self._slots
        return slots.free <= 0 or len(slots.free_by_queue()) < len(slots.queues)

    async def _wait(self, wakeups: Subscription, seconds: float) -> None:
        hint = asyncio.ensure_future(wakeups.wait(seconds))
        freed = asyncio.ensure_future(self._freed.wait())
        try:
            await asyncio.wait([hint, freed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hint.cancel()
            freed.cancel()
