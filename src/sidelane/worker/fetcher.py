"""Job fetcher: the loop that claims jobs whenever slots are free."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable

from sidelane.model.ids import new_nonce
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import JobSource, Subscription, queue_topic
from sidelane.worker.capacity import QueueShare

MAX_PER_CLAIM = 100


class JobFetcher:
    """Claims jobs for one share of a worker. A fetcher claims as many jobs as there are free slots, from its queues by their
    weights.

    Notifications, freed slots and due times cause a claim. `start` is called with each job and when its claim was sent (monotonic
    seconds). `on_isolated` is called after each claim with whether an isolated job waits, and returns in how many seconds to claim
    again.
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
        on_isolated: Callable[[bool], float],
        release: str = "",
    ) -> None:
        self._source = source
        self._worker = worker
        self._capacity = share.capacity
        self._queues = share.queues
        self._lease = lease
        self._tasks = tasks
        self._start = start
        self._on_isolated = on_isolated
        self._release = release
        self._poll_interval = share.poll_interval
        self._isolated = share.isolated
        self._claimed_at = 0.0  # when the last claim was sent
        self._filled = False  # the last claim returned all requested jobs, so there may be more
        self._backlogged: list[str] = []  # queues that returned all requested jobs, so they may have more
        self._more = True  # the last claim may have left jobs because there were no free slots
        self._stopping = False
        self._ready = asyncio.Event()  # a slot was freed, or there is another reason to claim
        self._claiming = RetryUntilAvailable("claim")
        self.claimed = False  # the store has answered a claim

    @property
    def error(self) -> str | None:
        """Why no jobs can be claimed at the moment, or None."""
        return self._claiming.error

    def on_slot_free(self) -> None:
        """Claim again if jobs may be waiting because there were no free slots."""
        if self._more:
            self._ready.set()

    def on_tasks_changed(self) -> None:
        """Claim again, because jobs of more tasks can be run now."""
        self._ready.set()

    def stop(self) -> None:
        """Claim no more jobs. A claim in flight is awaited, because its answer may contain jobs for this worker."""
        self._stopping = True
        self._ready.set()

    async def run(self) -> None:
        """Claim until stopped."""
        async with self._source.watch(*map(queue_topic, self._capacity.queues)) as subscription:
            claims = await self._claim()
            self.claimed = True
            while True:
                claimed_at, retry_after = self._claimed_at, self._on_isolated(claims.isolated)
                for claimed in claims.jobs:
                    self._capacity.acquire(claimed.record)
                # the next claim is in flight while these jobs start
                next_claim = asyncio.create_task(self._claim()) if self._may_have_more() else None
                for claimed in claims.jobs:
                    self._start(claimed, claimed_at)
                if next_claim is None:
                    self._more = self._filled or bool(self._backlogged) or self._is_full()
                    due = math.inf if claims.next_due is None else claims.next_due
                    await self._wait(subscription, min(self._poll_interval, retry_after, due))
                    if self._stopping:
                        return
                    next_claim = asyncio.create_task(self._claim())
                claims = await next_claim

    def _may_have_more(self) -> bool:
        if self._stopping or self._capacity.free <= 0:
            return False
        return self._filled or not self._capacity.free_by_queue().keys().isdisjoint(self._backlogged)

    async def _claim(self) -> Claims:
        free, limit = self._capacity.free_by_queue(), min(self._capacity.free, MAX_PER_CLAIM)
        if not self._stopping:
            self._ready.clear()
        self._filled, self._backlogged, self._more = False, [], True
        if limit <= 0 or not free:
            return Claims()
        requested = self._queues.allocate(free, limit)
        self._claimed_at = time.monotonic()
        request = ClaimRequest(
            request=new_nonce(), worker=self._worker, queues=requested, tasks=self._tasks(), limit=limit, lease=self._lease,
            isolated=self._isolated, full=tuple(self._capacity.queues.keys() - free.keys()), release=self._release,
        )  # fmt: skip
        claims = await self._claiming.call(lambda: self._source.claim(request), stop=lambda: self._stopping) or Claims()
        self._filled = len(claims.jobs) >= limit
        received = Counter(claimed.record.spec.queue for claimed in claims.jobs)
        self._backlogged = self._queues.record(requested, received, full=self._filled)
        return claims

    def _is_full(self) -> bool:
        """Return whether the slots, or those of one queue, are all taken, which may keep jobs from being claimed."""
        return self._capacity.free <= 0 or len(self._capacity.free_by_queue()) < len(self._capacity.queues)

    async def _wait(self, subscription: Subscription, seconds: float) -> None:
        notified = asyncio.ensure_future(subscription.wait(seconds))
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait([notified, ready], return_when=asyncio.FIRST_COMPLETED)
        finally:
            notified.cancel()
            ready.cancel()
