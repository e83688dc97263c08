"""Upkeep: any process with the store open sweeps it (rules 6)."""

import asyncio
import logging

from sidelane.model.errors import StoreError
from sidelane.model.worker import Swept
from sidelane.stores.contract import Store

LONGEST_INTERVAL = 2.0
SHORTEST_INTERVAL = 0.05
AT_ONCE = 0.01
"""Seconds between two sweeps: by default, when a worker is about to be lost, and when the last one left work behind."""

logger = logging.getLogger(__name__)


class Upkeep:
    """Sweeps the store for as long as it runs: at least four times a lease, so that no sweep takes itself for a restart."""

    def __init__(self, store: Store, *, lease: float) -> None:
        self._store = store
        self._longest = min(LONGEST_INTERVAL, lease / 4)
        self._lease = lease

    async def run(self) -> None:
        while True:
            swept = await self._sweep()
            await asyncio.sleep(self._rest(swept))

    async def _sweep(self) -> Swept:
        try:
            swept = await self._store.sweep(lease=self._lease)
        except StoreError as error:
            logger.warning("a sweep did not reach the store: %s", error)
            return Swept()
        if swept.lost:
            logger.warning("%d leases of silent workers were taken back", swept.lost)
        return swept

    def _rest(self, swept: Swept) -> float:
        if swept.more:
            return AT_ONCE
        if swept.next_loss is None:
            return self._longest
        return min(self._longest, max(SHORTEST_INTERVAL, swept.next_loss))
