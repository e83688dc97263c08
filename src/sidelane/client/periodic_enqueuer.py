"""Firing: any process with the store open submits what its schedules have due, and each firing counts once (rules 13)."""

import asyncio
import logging
import time

from sidelane.model.errors import ConfigurationError
from sidelane.model.schedule import Schedule, ScheduleRecord, ScheduleTick
from sidelane.stores.chunking import MAX_BYTES, MAX_ITEMS
from sidelane.stores.contract import Store

logger = logging.getLogger(__name__)


class PeriodicEnqueuer:
    """Fires the schedules of a store, by their definitions as they are kept there and by the store's own time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readable: dict[str, tuple[Schedule, bool]] = {}

    async def fire(self) -> float | None:
        """Take one step of every schedule whose time has come. Give in how many seconds the next one is to be taken, if any is.

        It is 0 or less where firings that were missed are left. Raises `StoreUnavailable`.
        """
        timetable = await self._store.list_schedules()
        looked_at = time.monotonic()
        records = [record for record in timetable.records if record.enabled and self._can_read(record.schedule)]
        steps = [record.step(timetable.now, _most(record)) for record in records]
        await asyncio.gather(*(self._take(step) for step in steps if step is not None))
        coming = [record.next if step is None else step.next for record, step in zip(records, steps, strict=True)]
        soonest = min((at for at in coming if at is not None), default=None)
        return None if soonest is None else soonest - timetable.now - (time.monotonic() - looked_at)

    async def _take(self, step: ScheduleTick) -> None:
        if await self._store.fire(step) and step.specs:
            logger.info("schedule %s has fired: jobs submitted: %d", step.name, len(step.specs))

    def _can_read(self, schedule: Schedule) -> bool:
        """Tell whether this process can work out the times of a schedule; where it cannot, say so once."""
        known, readable = self._readable.get(schedule.name, (None, False))
        if known != schedule:
            try:
                schedule.check()
                readable = True
            except ConfigurationError as error:
                logger.warning("%s It is left to other processes.", error)
                readable = False
            self._readable[schedule.name] = schedule, readable
        return readable


def _most(record: ScheduleRecord) -> int:
    """Say how many of its jobs fit one step of the store (rules 16)."""
    return max(1, min(MAX_ITEMS, MAX_BYTES // max(1, len(record.schedule.spec.arguments))))
