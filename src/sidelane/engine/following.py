"""Following a job's log as it grows: subscribe, then read, then wait; hints only make it quick (rules 19)."""

import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sidelane.model.errors import UnknownJob
from sidelane.model.event import END, GAP, Cursor, Event
from sidelane.stores.contract import Store, job_topic

LONGEST_SILENCE = 2.0
"""Seconds after which the log is read again even without a hint: what a lost hint can cost at most."""

BATCH = 500

GAP_EVENT = Event(0, 0, 0.0, GAP, "{}")


async def follow(store: Store, job_id: str, after: Cursor | None = None) -> AsyncGenerator[Event, None]:
    """Yield a job's events after `after` as they come, the last being its end.

    A cursor that is not in the log any more yields an event named "gap" (number 0), then the log from its beginning.
    Raises `UnknownJob` when there is no such job, or no longer.
    """
    async with aclosing(follow_batches(store, job_id, after)) as batches:
        async for batch in batches:
            for event in batch:
                yield event


async def follow_batches(
    store: Store, job_id: str, after: Cursor | None = None, *, silence: float = math.inf
) -> AsyncGenerator[list[Event], None]:
    """Yield what `follow` yields, as much at a time as the log gives at once, and an empty list after `silence` seconds."""
    async with store.watch(job_topic(job_id)) as wakeups:
        spoke = time.monotonic()
        while True:
            reading = await store.read(job_id, after=after, limit=BATCH)
            if reading is None:
                raise UnknownJob(f"There is no job {job_id!r}.")
            batch = [GAP_EVENT] if reading.gap else []
            # any other end was undone by a requeue
            end = reading.last if reading.ended else None
            batch += [event for event in reading.events if event.name != END or event.number == end]
            if reading.events:
                after = reading.events[-1].cursor
            elif reading.gap:
                after = None
            if batch or time.monotonic() - spoke >= silence:
                spoke = time.monotonic()
                yield batch
            if after is None or after.number >= reading.last:
                if reading.ended:
                    return
                await wakeups.wait(min(LONGEST_SILENCE, silence))


async def whole_log(store: Store, job_id: str) -> list[Event]:
    """Read a job's log as far as it has come; it is empty where there is no such job."""
    events: list[Event] = []
    while reading := await store.read(job_id, after=events[-1].cursor if events else None):
        events += reading.events
        if not reading.events or events[-1].number >= reading.last:
            break
    return events
