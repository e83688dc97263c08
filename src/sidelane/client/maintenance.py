"""Upkeep: any process with the store open sweeps it, and fires its schedules (rules 6, 13)."""

import asyncio
import logging
import math
import time

from sidelane.client.periodic_enqueuer import PeriodicEnqueuer
from sidelane.model.errors import StoreError
from sidelane.model.worker import SweepResult
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import Store

MAX_INTERVAL = 2.0
MIN_INTERVAL = 0.05
IMMEDIATELY = 0.01
"""Seconds between two sweeps: by default, when a worker is about to be lost, and when the last one left work behind."""

SCHEDULES_INTERVAL = 60.0
"""Seconds after which schedules are looked at although none is to fire: the clock may have stepped back meanwhile."""

logger = logging.getLogger(__name__)


class Maintenance:
    """Sweeps the store for as long as it runs: at least four times a lease, so that no sweep takes itself for a restart.

    A sweep says when a schedule is to fire; without schedules nothing else is asked for.
    """

    def __init__(self, store: Store, *, lease: float) -> None:
        self._store = store
        self._firings = PeriodicEnqueuer(store)
        self._longest = min(MAX_INTERVAL, lease / 4)
        self._lease = lease
        self._sweep_at = -math.inf  # all three by the monotonic clock
        self._fire_at = math.inf
        self._fired_at = -math.inf
        self._sweeping = RetryUntilAvailable("sweep the store", who="process")
        self._firing = RetryUntilAvailable("fire schedules that are due", who="process")

    async def run(self) -> None:
        while True:
            if time.monotonic() >= self._fire_at:
                await self._fire()
            if time.monotonic() >= self._sweep_at:
                await self._sweep()
            await asyncio.sleep(min(self._fire_at, self._sweep_at) - time.monotonic())

    async def _sweep(self) -> None:
        try:
            swept = await self._store.sweep(lease=self._lease)
        except StoreError as error:
            self._sweeping.failed(error)
            self._sweep_at = time.monotonic() + self._longest
            return
        self._sweeping.recovered()
        if swept.lost:
            logger.warning(
                "%d leases were taken back, of workers that are silent or hand-overs without an answer", swept.lost
            )
        now = time.monotonic()
        self._sweep_at = now + self._rest(swept)
        if swept.next_firing is None:
            self._fire_at = math.inf
        else:
            self._fire_at = min(now + swept.next_firing, max(now, self._fired_at + SCHEDULES_INTERVAL))

    async def _fire(self) -> None:
        try:
            left = await self._firings.fire()
        except StoreError as error:
            self._firing.failed(error)
            left = self._longest
        else:
            self._firing.recovered()
        self._fired_at = time.monotonic()
        self._fire_at = math.inf if left is None else self._fired_at + max(IMMEDIATELY, left)

    def _rest(self, swept: SweepResult) -> float:
        if swept.more:
            return IMMEDIATELY
        if swept.next_loss is None:
            return self._longest
        return min(self._longest, max(MIN_INTERVAL, swept.next_loss))
