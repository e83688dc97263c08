"""append: write entries to the logs of running jobs, each once."""

from collections.abc import Sequence

import apsw

from sidelane.model.outcome import EventAppend
from sidelane.stores.sqlite import event_log
from sidelane.stores.sqlite.records import Row, row_by_id
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_ADVANCE = statements(__file__)["advance"]


def append(connection: apsw.Connection, now: float, touched: ChangeSet, appends: Sequence[EventAppend]) -> list[bool]:
    """Write each append whose lease holds, and tell which did."""
    return [_append(connection, now, touched, each) for each in appends]


def _append(connection: apsw.Connection, now: float, touched: ChangeSet, append: EventAppend) -> bool:
    row = row_by_id(connection, append.lease.job_id)
    if row is None or not row.held_by(append.lease):
        return False
    written = event_log.append_events(connection, row, append.ordinal, append.entries, now) if append.entries else row
    if written != row:
        _advance(connection, written)
        touched.jobs.add(row.id)
    return True


def _advance(connection: apsw.Connection, row: Row) -> None:
    connection.execute(_ADVANCE, (row.ordinal, row.epoch, row.last, row.progress, row.seq))
