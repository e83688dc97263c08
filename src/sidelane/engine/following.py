"""Following a job's log as it grows: subscribe, then read, then wait; hints only make it quick (rules 19)."""

from collections.abc import AsyncIterator

from sidelane.model.errors import UnknownJob
from sidelane.model.event import END, GAP, Cursor, Event
from sidelane.stores.contract import Store, job_topic

LONGEST_SILENCE = 2.0
"""Seconds after which the log is read again even without a hint: what a lost hint can cost at most."""

BATCH = 500


async def follow(store: Store, job_id: str, after: Cursor | None = None) -> AsyncIterator[Event]:
    """Yield a job's events after `after` as they come, the last being its end.

    A cursor that is not in the log any more yields an event named "gap" (number 0), then the log from its beginning.
    Raises `UnknownJob` when there is no such job, or no longer.
    """
    async with store.watch(job_topic(job_id)) as wakeups:
        while True:
            reading = await store.read(job_id, after=after, limit=BATCH)
            if reading is None:
                raise UnknownJob(f"There is no job {job_id!r}.")
            if reading.gap:
                after = None
                yield Event(0, 0, 0.0, GAP, "{}")
            for event in reading.events:
                after = Cursor(event.epoch, event.number)
                if event.name != END or event.number == reading.last:  # an end before the last was undone by a requeue
                    yield event
            if after is None or after.number >= reading.last:
                if reading.ended:
                    return
                await wakeups.wait(LONGEST_SILENCE)
