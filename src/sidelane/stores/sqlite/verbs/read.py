"""read: a job's log after a cursor. The end event of a finished job has no row: it follows from the job's own."""

import apsw

from sidelane.model.event import END, Cursor, Event, EventPage
from sidelane.model.job import end_event_payload
from sidelane.stores.serialization import load_problem
from sidelane.stores.sqlite.records import RUNNING, STATES
from sidelane.stores.sqlite.sql import first
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_JOB = _SQL["job"]
_REACHED = _SQL["reached"]
_EVENTS = _SQL["events"]

MOST_BYTES = 262_144
"""What one reading holds, give or take its last event: this bounds the memory of whoever does not read on."""


def read(connection: apsw.Connection, _now: float, job_id: str, after: Cursor | None, limit: int) -> EventPage | None:
    """Give up to `limit` events after the cursor, or from the beginning where the log does not know the cursor."""
    found = first(connection, _JOB, job_id)
    if found is None:
        return None
    seq, state, epoch, last, ended, result, problem = found
    finished = state > RUNNING
    number = 0 if after is None else after.number
    gap = False
    if after is not None and number > 0:
        at_end = finished and (after.epoch, number) == (epoch, last)
        gap = not at_end and not first(connection, _REACHED, seq, number, after.epoch)
        number = 0 if gap else number
    events, whole = _events(connection, seq, number, limit)
    if finished and number < last and whole and len(events) < limit:
        data = end_event_payload(job_id, STATES[state], result, load_problem(problem) if problem else None)
        events.append(Event(last, epoch, ended, END, data))
    return EventPage(tuple(events), last, gap, finished)


def _events(connection: apsw.Connection, seq: int, number: int, limit: int) -> tuple[list[Event], bool]:
    """Give the events after a number, and whether that is all there is: a reader of large events gets them in portions."""
    events: list[Event] = []
    size = 0
    for row in connection.execute(_EVENTS, (seq, number, limit + 1)):
        if len(events) >= limit or size > MOST_BYTES:
            return events, False
        events.append(Event(*row))
        size += len(events[-1].data)
    return events, True
