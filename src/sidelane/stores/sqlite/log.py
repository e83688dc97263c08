"""Writing a job's log: numbers without holes, and an epoch for each stretch that cannot be told from a lost one (rules 17)."""

from collections.abc import Sequence

import apsw

from sidelane.model.event import END, PROGRESS, Entry, gap_entry
from sidelane.model.ids import new_epoch
from sidelane.model.job import end_data
from sidelane.stores.checking import storable
from sidelane.stores.sqlite.records import STATES, Row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.texts import problem_of

_WRITE = statements(__file__)["write"]


def write(connection: apsw.Connection, row: Row, ordinal: int, entries: Sequence[Entry], now: float) -> Row:
    """Write the entries that the log has not seen, the first of which has this `ordinal`; give the row as it must become.

    Entries that are missing before it open a new epoch, which begins with a `gap` event.
    """
    missing = ordinal - row.ordinal - 1
    if missing > 0:
        # the log lost its tail in a crash: readers may have seen more than is here, under numbers that come again
        row = row._replace(epoch=new_epoch())
        fresh = [gap_entry(missing), *entries]
    else:
        fresh = [*entries[-missing:]]
    number = row.last
    progress = row.progress
    written = []
    for number, entry in enumerate(fresh, row.last + 1):
        written.append((row.seq, number, row.epoch, now, storable(entry.name), storable(entry.data)))
        if entry.name == PROGRESS:
            progress = number
    if written:
        connection.executemany(_WRITE, written)
    return row._replace(ordinal=max(row.ordinal, ordinal + len(entries) - 1), last=number, progress=progress)


def keep_end(connection: apsw.Connection, row: Row, result: str | None, problem: str | None) -> None:
    """Give the end event of a finished job a row of its own: until now its number, time and data followed from the job's."""
    data = end_data(row.id, STATES[row.state], result, problem_of(problem) if problem else None)
    connection.execute(_WRITE, (row.seq, row.last, row.epoch, row.ended, END, data))
