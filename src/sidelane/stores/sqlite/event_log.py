"""Event log of a job: `append`, `read`, `read_last`, and writing events (rule 17).

Event numbers have no gaps. A new epoch marks where a crash may have lost the last events, so that later numbers cannot be confused
with lost ones. The end event of a finished job has no row. The number, time and data of this event are derived from the job's row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sidelane.model.event import END, LOG, PROGRESS, TRUNCATED_EVENT, Cursor, Event, EventPage, NewEvent, gap_event
from sidelane.model.ids import new_epoch
from sidelane.model.job import end_event_payload
from sidelane.model.json_text import escape_surrogates
from sidelane.model.outcome import EventAppend
from sidelane.stores.serialization import load_problem
from sidelane.stores.sqlite.rows import RUNNING, STATES, Row, row_by_id
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

MAX_PAGE_BYTES = 262_144
"""Maximum size of a page, which only its last event may exceed. The limit bounds the memory of a slow reader."""


def append(tx: Transaction, appends: Sequence[EventAppend]) -> list[bool]:
    """Write the events of each append whose lease is valid, and return whether the lease was valid."""
    return [_append(tx, each) for each in appends]


def _append(tx: Transaction, append: EventAppend) -> bool:
    row = row_by_id(tx, append.lease.job_id)
    if row is None or not row.has_lease(append.lease):
        return False
    written = append_events(tx, row, append.ordinal, append.entries) if append.entries else row
    if written != row:
        tx.execute(
            SQL.set_position,
            written.ordinal, written.logged, written.epoch, written.last, written.progress, written.log_space,
            written.first_event, written.last_event, row.seq,
        )  # fmt: skip
        if written.last != row.last:
            tx.changes.jobs.add(row.id)
    return True


def append_events(tx: Transaction, row: Row, ordinal: int, entries: Sequence[NewEvent]) -> Row:
    """Write the events that are not in the log yet, and return the row that the caller must write.

    The first of `entries` has this `ordinal`. If events before it are missing, a `gap` event opens a new epoch. What exceeds the
    maximum size of the log is only counted, and a `truncated` event takes its place. Log records have no size, and are neither the
    first nor the last event.
    """
    missing = ordinal - row.ordinal - 1
    new = [gap_event(missing), *entries] if missing > 0 else [*entries[-missing:]]
    if not new:
        return row
    ordinal, space = ordinal + len(entries) - 1, row.log_space
    logged = sum(entry.name == LOG for entry in new)
    if logged < len(new):
        row = row._replace(first_event=row.first_event or tx.now, last_event=tx.now)
    row = row._replace(ordinal=ordinal, logged=row.logged + logged)
    if space is None:
        return row
    if missing > 0:
        # the log lost its tail in a crash: readers may have seen lost events whose numbers are now used again
        row = row._replace(epoch=new_epoch())
    fitting, space = _fitting(new, space)
    progress = row.progress
    events = []
    for number, entry in enumerate(fitting, row.last + 1):
        events.append((row.seq, number, row.epoch, tx.now, entry.name, entry.data))
        if entry.name == PROGRESS:
            progress = number
    if events:
        tx.execute_many(SQL.insert_event, events)
    return row._replace(last=row.last + len(events), progress=progress, log_space=space)


def _fitting(entries: Iterable[NewEvent], space: int) -> tuple[list[NewEvent], int | None]:
    """Return the entries that fit into `space` bytes as stored, and the space that is left.

    If an entry does not fit, a `truncated` event replaces it and all later ones, and the space that is left is None.
    """
    fitting: list[NewEvent] = []
    for entry in entries:
        stored = NewEvent(escape_surrogates(entry.name), escape_surrogates(entry.data))
        if entry.name != LOG:
            space -= len(stored.name.encode()) + len(stored.data.encode())
        if space < 0:
            return [*fitting, TRUNCATED_EVENT], None
        fitting.append(stored)
    return fitting, space


def persist_end_event(tx: Transaction, row: Row, result: str | None, problem: str | None) -> None:
    """Insert the end event of a finished job that is requeued, because its row will change."""
    data = end_event_payload(row.id, STATES[row.state], result, load_problem(problem) if problem else None)
    tx.execute(SQL.insert_event, row.seq, row.last, row.epoch, row.ended, END, data)


def read(tx: Transaction, job_id: str, after: Cursor | None, limit: int) -> EventPage | None:
    """Return up to `limit` events after the cursor, or from the beginning if the log does not contain the cursor."""
    found = tx.first(SQL.job, job_id)
    if found is None:
        return None
    seq, state, epoch, last, *_ = found
    finished = state > RUNNING
    number = 0 if after is None else after.number
    gap = False
    if after is not None and number > 0:
        at_end = finished and (after.epoch, number) == (epoch, last)
        gap = not at_end and not tx.first(SQL.has_event, seq, number, after.epoch)
        number = 0 if gap else number
    events, complete = _read_page(tx, SQL.events_after, seq, number, limit)
    if finished and number < last and complete and len(events) < limit:
        events.append(_end_event(job_id, found))
    return EventPage(tuple(events), last, gap, finished)


def read_last(tx: Transaction, job_id: str, before: int | None, limit: int) -> EventPage | None:
    """Return the newest events with numbers below `before` (None: of all), up to `limit`, oldest first."""
    found = tx.first(SQL.job, job_id)
    if found is None:
        return None
    seq, state, _, last, *_ = found
    finished = state > RUNNING
    stop = last + 1 if before is None else before
    end = [_end_event(job_id, found)] if finished and stop > last else []
    events, _ = _read_page(tx, SQL.events_before, seq, stop, limit - len(end))
    return EventPage((*reversed(events), *end), last, ended=finished)


def _end_event(job_id: str, found: tuple[Any, ...]) -> Event:
    """Return the end event of a finished job, from what `SQL.job` returned."""
    _, state, epoch, last, ended, result, problem = found
    data = end_event_payload(job_id, STATES[state], result, load_problem(problem) if problem else None)
    return Event(last, epoch, ended, END, data)


def _read_page(tx: Transaction, sql: str, seq: int, number: int, limit: int) -> tuple[list[Event], bool]:
    """Return a page of the events after or before a number, and whether it has all of them."""
    events: list[Event] = []
    size = 0
    for row in tx.connection.execute(sql, (seq, number, limit + 1)):
        if len(events) >= limit or size > MAX_PAGE_BYTES:
            return events, False
        events.append(Event(*row))
        size += len(events[-1].data)
    return events, True
