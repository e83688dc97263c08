"""Upkeep: any process with the store open sweeps it (rules 6)."""

import asyncio
import logging

from sidelane.model.errors import StoreError
from sidelane.stores.contract import Store

LONGEST_INTERVAL = 1.0

logger = logging.getLogger(__name__)


class Upkeep:
    """Sweeps the store for as long as it runs: at least four times a lease, so that no sweep takes itself for a restart."""

    def __init__(self, store: Store, *, lease: float) -> None:
        self._store = store
        self._lease = lease

    async def run(self) -> None:
        while True:
            more = await self._sweep()
            await asyncio.sleep(0.01 if more else min(LONGEST_INTERVAL, self._lease / 4))

    async def _sweep(self) -> bool:
        try:
            swept = await self._store.sweep(lease=self._lease)
        except StoreError as error:
            logger.warning("a sweep did not reach the store: %s", error)
            return False
        if swept.lost:
            logger.warning("%d leases of silent workers were taken back", swept.lost)
        return swept.more
