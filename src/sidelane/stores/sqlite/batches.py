"""Batches: the ends of their jobs are counted in the step that ends them, and the last one ends the batch (rules 16)."""

from dataclasses import replace
from typing import Any

import apsw

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.job import State
from sidelane.stores.serialization import dump_batch, load_batch
from sidelane.stores.sqlite import enqueue
from sidelane.stores.sqlite.sql import all_rows, first, one
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_RECORD = _SQL["record"]
_OPEN = _SQL["open"]
_SEAL = _SQL["seal"]
_COUNT = {State.SUCCEEDED: _SQL["succeeded"], State.FAILED: _SQL["failed"], State.CANCELLED: _SQL["cancelled"]}
_END = _SQL["end"]
_REOPEN = _SQL["reopen"]
_REMOVABLE = _SQL["removable"]
_REMOVE = _SQL["remove"]


def open_new(connection: apsw.Connection, spec: BatchSpec, now: float) -> None:
    """Make a batch, unless one of this id is there."""
    connection.execute(_OPEN, (spec.id, dump_batch(spec), spec.retention, now))


def batch(connection: apsw.Connection, batch_id: str) -> BatchRecord | None:
    found = first(connection, _RECORD, batch_id)
    return _record(found) if found else None


def the_batch(connection: apsw.Connection, batch_id: str) -> BatchRecord:
    """Give the record of a batch that is there for sure."""
    return _record(one(connection, _RECORD, batch_id))


def seal(connection: apsw.Connection, batch_id: str, now: float, touched: ChangeSet) -> None:
    """Let no more jobs join, and end the batch if none of those that have is unfinished."""
    connection.execute(_SEAL, (batch_id,))
    if connection.changes():
        touched.batches.add(batch_id)
        _end_if_over(connection, batch_id, now, touched)


def count_end(connection: apsw.Connection, batch_id: str, state: State, now: float, touched: ChangeSet) -> None:
    """Count the end of one of a batch's jobs; the last one of a sealed batch ends the batch."""
    connection.execute(_COUNT[state], (batch_id, 1))
    touched.batches.add(batch_id)
    _end_if_over(connection, batch_id, now, touched)


def reopen(connection: apsw.Connection, batch_id: str, state: State, touched: ChangeSet) -> None:
    """Take the end of a job back, which comes again: so will that of its batch."""
    connection.execute(_COUNT[state], (batch_id, -1))
    connection.execute(_REOPEN, (batch_id,))
    touched.batches.add(batch_id)


def forget(connection: apsw.Connection, now: float, limit: int) -> bool:
    """Remove up to `limit` batches that were kept long enough; tell whether there may be more."""
    removable = all_rows(connection, _REMOVABLE, now, limit)
    connection.executemany(_REMOVE, removable)
    return len(removable) == limit


def _end_if_over(connection: apsw.Connection, batch_id: str, now: float, touched: ChangeSet) -> None:
    connection.execute(_END, (batch_id, now))
    if not connection.changes():
        return
    record = the_batch(connection, batch_id)
    specs = [
        replace(follow_up.spec, id=f"{batch_id}.{record.ends}.{place}")
        for place, follow_up in enumerate(record.spec.follow_ups)
        if record.state in follow_up.on
    ]
    enqueue.insert_if_absent(connection, specs, now, touched)


def _record(found: tuple[Any, ...]) -> BatchRecord:
    spec, submitted, sealed, total, succeeded, failed, cancelled, ends, ended = found
    return BatchRecord(
        spec=load_batch(spec),
        submitted=submitted,
        sealed=bool(sealed),
        total=total,
        succeeded=succeeded,
        failed=failed,
        cancelled=cancelled,
        ends=ends,
        ended=ended,
    )
