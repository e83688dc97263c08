"""Event streams: a job's log, or a batch, as it grows. Subscribe, then read, then wait for a notification (rule 19)."""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from sidelane.model.batch import BatchRecord
from sidelane.model.errors import UnknownBatch, UnknownJob
from sidelane.model.event import ATTEMPT, END, GAP, LOG, TOKEN, Cursor, Event
from sidelane.model.sentence import sentence
from sidelane.stores.contract import Store, batch_topic, job_topic

MAX_POLL_INTERVAL = 2.0
"""Seconds after which the log is read again without a notification. This is the maximum delay if a notification is lost."""

MIN_POLL_INTERVAL = 0.02
"""Minimum seconds between two reads of a batch, because thousands of its jobs may end in that time."""

PAGE_SIZE = 500
"""Events per read."""

MAX_PARTIAL_PAGES = 400
"""Pages that are searched for the text of an attempt, so that the events between its tokens cannot make it long."""

GAP_EVENT = Event(0, 0, 0.0, GAP, "{}")


async def stream_events(store: Store, job_id: str, after: Cursor | None = None) -> AsyncGenerator[Event, None]:
    """Yield a job's events after `after` as they are stored. The last event is the job's end.

    If the cursor is no longer in the log, yield an event named "gap" (number 0), then the log from its beginning. Raises
    `UnknownJob` if there is no such job or it was removed.
    """
    async with aclosing(stream_pages(store, job_id, after)) as pages:
        async for events in pages:
            for event in events:
                yield event


async def stream_pages(
    store: Store, job_id: str, after: Cursor | None = None, *, silence: float = math.inf, logs: bool = False
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of `stream_events` in pages, as the store returns them, and an empty page after `silence` seconds.

    Clients never see log records. With `logs`, yield these alone, for operators.
    """
    async with store.watch(job_topic(job_id)) as notifications:
        yielded_at = time.monotonic()
        while True:
            page = await store.read(job_id, after=after, limit=PAGE_SIZE)
            if page is None:
                raise UnknownJob(sentence("There is no job {job!r}.", job=job_id))
            events = [GAP_EVENT] if page.gap and not logs else []
            # a requeue has undone any other end
            end = page.last if page.ended else None
            selected = _selected(page.events, logs=logs)
            events += [event for event in selected if event.name != END or event.number == end]
            if page.events:
                after = page.events[-1].cursor
            elif page.gap:
                after = None
            if events or time.monotonic() - yielded_at >= silence:
                yielded_at = time.monotonic()
                yield events
            if after is None or after.number >= page.last:
                if page.ended:
                    return
                await notifications.wait(min(MAX_POLL_INTERVAL, silence))


async def read_all(store: Store, job_id: str, *, logs: bool = False) -> list[Event]:
    """Return a job's log so far without log records, or with `logs` these alone. The list is empty if there is no such job."""
    events: list[Event] = []
    after: Cursor | None = None
    while page := await store.read(job_id, after=after):
        events += _selected(page.events, logs=logs)
        if not page.events or page.events[-1].number >= page.last:
            break
        after = page.events[-1].cursor
    return events


def _selected(events: Sequence[Event], *, logs: bool) -> list[Event]:
    """Return the events that are no log records, or with `logs` those that are."""
    return [event for event in events if (event.name == LOG) is logs]


async def partial_text(store: Store, job_id: str, limit: int) -> str:
    """Return the text that a job's last attempt has yielded, or the end of a long text.

    The text consists of the tokens after the log's last `attempt` event, up to `limit` bytes as stored. The log is read backwards
    and in pages, so that its length does not matter.
    """
    tokens: list[str] = []
    size = 0
    async with aclosing(_newest_events(store, job_id)) as events:
        async for event in events:
            if event.name == ATTEMPT:
                break
            if event.name == TOKEN:
                size += len(event.data.encode())
                if size > limit:
                    break
                tokens.append(json.loads(event.data)["text"])
    return "".join(reversed(tokens))


async def _newest_events(store: Store, job_id: str) -> AsyncGenerator[Event, None]:
    """Yield the events of a job's log, newest first, from at most `MAX_PARTIAL_PAGES` pages."""
    before: int | None = None
    for _ in range(MAX_PARTIAL_PAGES):
        page = await store.read_last(job_id, before=before, limit=PAGE_SIZE)
        if page is None or not page.events:
            return
        for event in reversed(page.events):
            yield event
        before = page.events[0].number


async def batch_record(store: Store, batch_id: str) -> BatchRecord:
    """Return a batch's record. Raises `UnknownBatch`."""
    record = await store.get_batch(batch_id)
    if record is None:
        raise UnknownBatch(sentence("There is no batch {batch!r}, or no longer.", batch=batch_id))
    return record


async def stream_batch(
    store: Store, batch_id: str, *, timeout: float | None = None
) -> AsyncGenerator[BatchRecord, None]:
    """Yield a batch's record when it changes, until its end or for `timeout` seconds. Raises `UnknownBatch`."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    previous: BatchRecord | None = None
    async with store.watch(batch_topic(batch_id)) as notifications:
        while True:
            record = await batch_record(store, batch_id)
            if record != previous:
                yield record
                previous = record
            remaining = end - time.monotonic()
            if record.ended is not None or remaining <= 0:
                return
            await asyncio.sleep(min(MIN_POLL_INTERVAL, remaining))
            await notifications.wait(min(MAX_POLL_INTERVAL, max(remaining - MIN_POLL_INTERVAL, 0.0)))
