"""Writing a job's log: numbers without holes, and an epoch for each stretch that cannot be told from a lost one (rules 17)."""

from collections.abc import Sequence

import apsw

from sidelane.model.codec import escape_surrogates
from sidelane.model.event import END, PROGRESS, NewEvent, gap_event
from sidelane.model.ids import new_epoch
from sidelane.model.job import end_event_payload
from sidelane.stores.serialization import load_problem
from sidelane.stores.sqlite.records import STATES, Row
from sidelane.stores.sqlite.statements import statements

_WRITE = statements(__file__)["write"]


def append_events(connection: apsw.Connection, row: Row, ordinal: int, entries: Sequence[NewEvent], now: float) -> Row:
    """Write the entries that the log has not seen, the first of which has this `ordinal`; give the row as it must become.

    Entries that are missing before it open a new epoch, which begins with a `gap` event.
    """
    missing = ordinal - row.ordinal - 1
    if missing > 0:
        # the log lost its tail in a crash: readers may have seen more than is here, under numbers that come again
        row = row._replace(epoch=new_epoch())
        fresh = [gap_event(missing), *entries]
    else:
        fresh = [*entries[-missing:]]
    number = row.last
    progress = row.progress
    written = []
    for number, entry in enumerate(fresh, row.last + 1):
        written.append((row.seq, number, row.epoch, now, escape_surrogates(entry.name), escape_surrogates(entry.data)))
        if entry.name == PROGRESS:
            progress = number
    if written:
        connection.executemany(_WRITE, written)
    return row._replace(ordinal=max(row.ordinal, ordinal + len(entries) - 1), last=number, progress=progress)


def persist_end_event(connection: apsw.Connection, row: Row, result: str | None, problem: str | None) -> None:
    """Give the end event of a finished job a row of its own: until now its number, time and data followed from the job's."""
    data = end_event_payload(row.id, STATES[row.state], result, load_problem(problem) if problem else None)
    connection.execute(_WRITE, (row.seq, row.last, row.epoch, row.ended, END, data))
