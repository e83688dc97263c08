"""Following a job's log as it grows, or a batch: subscribe, then read, then wait; hints only make it quick (rules 19)."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sidelane.model.batch import BatchRecord
from sidelane.model.errors import UnknownBatch, UnknownJob
from sidelane.model.event import END, GAP, Cursor, Event
from sidelane.stores.contract import Store, batch_topic, job_topic

MAX_POLL_INTERVAL = 2.0
"""Seconds after which the log is read again even without a hint: what a lost hint can cost at most."""

MIN_POLL_INTERVAL = 0.02
"""Seconds between two looks at a batch at least: thousands of its jobs may end in one."""

PAGE_SIZE = 500
"""How many events are read at a time."""

GAP_EVENT = Event(0, 0, 0.0, GAP, "{}")


async def stream_events(store: Store, job_id: str, after: Cursor | None = None) -> AsyncGenerator[Event, None]:
    """Yield a job's events after `after` as they come, the last being its end.

    A cursor that is not in the log any more yields an event named "gap" (number 0), then the log from its beginning.
    Raises `UnknownJob` when there is no such job, or no longer.
    """
    async with aclosing(stream_pages(store, job_id, after)) as readings:
        async for events in readings:
            for event in events:
                yield event


async def stream_pages(
    store: Store, job_id: str, after: Cursor | None = None, *, silence: float = math.inf
) -> AsyncGenerator[list[Event], None]:
    """Yield what `follow` yields, as much at a time as the log gives at once, and an empty list after `silence` seconds."""
    async with store.watch(job_topic(job_id)) as wakeups:
        spoke = time.monotonic()
        while True:
            reading = await store.read(job_id, after=after, limit=PAGE_SIZE)
            if reading is None:
                raise UnknownJob(f"There is no job {job_id!r}.")
            events = [GAP_EVENT] if reading.gap else []
            # any other end was undone by a requeue
            end = reading.last if reading.ended else None
            events += [event for event in reading.events if event.name != END or event.number == end]
            if reading.events:
                after = reading.events[-1].cursor
            elif reading.gap:
                after = None
            if events or time.monotonic() - spoke >= silence:
                spoke = time.monotonic()
                yield events
            if after is None or after.number >= reading.last:
                if reading.ended:
                    return
                await wakeups.wait(min(MAX_POLL_INTERVAL, silence))


async def read_all(store: Store, job_id: str) -> list[Event]:
    """Read a job's log as far as it has come; it is empty where there is no such job."""
    events: list[Event] = []
    while reading := await store.read(job_id, after=events[-1].cursor if events else None):
        events += reading.events
        if not reading.events or events[-1].number >= reading.last:
            break
    return events


async def batch_record(store: Store, batch_id: str) -> BatchRecord:
    """Look a batch up. Raises `UnknownBatch`."""
    record = await store.get_batch(batch_id)
    if record is None:
        raise UnknownBatch(f"There is no batch {batch_id!r}, or no longer.")
    return record


async def stream_batch(
    store: Store, batch_id: str, *, timeout: float | None = None
) -> AsyncGenerator[BatchRecord, None]:
    """Yield a batch's record whenever it has changed, until its end or for `timeout` seconds. Raises `UnknownBatch`."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    seen: BatchRecord | None = None
    async with store.watch(batch_topic(batch_id)) as wakeups:
        while True:
            record = await batch_record(store, batch_id)
            if record != seen:
                yield record
                seen = record
            left = end - time.monotonic()
            if record.ended is not None or left <= 0:
                return
            await asyncio.sleep(min(MIN_POLL_INTERVAL, left))
            await wakeups.wait(min(MAX_POLL_INTERVAL, max(left - MIN_POLL_INTERVAL, 0.0)))
