"""Batches: `open_batch`, `seal_batch`, `get_batch`, and the counts of finished jobs.

A job is counted in the step that finishes it, and the last job finishes the batch (rule 16).
"""

from dataclasses import replace
from typing import Any

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.job import State
from sidelane.stores.serialization import dump_batch, load_batch
from sidelane.stores.sqlite import enqueue
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.validation import check_batch

SQL = statements(__file__)
_ADD = {State.SUCCEEDED: SQL.add_succeeded, State.FAILED: SQL.add_failed, State.CANCELLED: SQL.add_cancelled}


def open_batch(tx: Transaction, spec: BatchSpec) -> BatchRecord:
    """Insert a batch, or return the existing batch with this id. Raises `JobRefused` if its follow-ups are invalid."""
    check_batch(spec)
    tx.execute(SQL.open, spec.id, dump_batch(spec), spec.retention, tx.now)
    return _existing(tx, spec.id)


def seal_batch(tx: Transaction, batch_id: str) -> BatchRecord | None:
    """Close a batch to new jobs, and finish the batch if all its jobs are finished."""
    if tx.execute(SQL.seal, batch_id):
        tx.changes.batches.add(batch_id)
        _finish_if_complete(tx, batch_id)
    return get_batch(tx, batch_id)


def get_batch(tx: Transaction, batch_id: str) -> BatchRecord | None:
    found = tx.first(SQL.record, batch_id)
    return _record(found) if found else None


def count_finished(tx: Transaction, batch_id: str, state: State) -> None:
    """Count a finished job of a batch. The last job of a sealed batch finishes the batch."""
    tx.execute(_ADD[state], batch_id, 1)
    tx.changes.batches.add(batch_id)
    _finish_if_complete(tx, batch_id)


def reopen(tx: Transaction, batch_id: str, state: State) -> None:
    """Uncount a job that is requeued. The batch is unfinished until the job finishes again."""
    tx.execute(_ADD[state], batch_id, -1)
    tx.execute(SQL.reopen, batch_id)
    tx.changes.batches.add(batch_id)


def prune(tx: Transaction, limit: int) -> bool:
    """Remove up to `limit` batches whose retention has passed. Return whether there may be more."""
    removable = tx.all(SQL.removable, tx.now, limit)
    tx.execute_many(SQL.remove, removable)
    return len(removable) == limit


def _finish_if_complete(tx: Transaction, batch_id: str) -> None:
    if not tx.execute(SQL.finish, batch_id, tx.now):
        return
    record = _existing(tx, batch_id)
    specs = [
        replace(follow_up.spec, id=f"{batch_id}.{record.ends}.{position}")
        for position, follow_up in enumerate(record.spec.follow_ups)
        if record.state in follow_up.on
    ]
    enqueue.insert_if_absent(tx, specs)


def _existing(tx: Transaction, batch_id: str) -> BatchRecord:
    return _record(tx.one(SQL.record, batch_id))


def _record(found: tuple[Any, ...]) -> BatchRecord:
    spec, submitted, sealed, total, succeeded, failed, cancelled, ends, ended, paused = found
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
        paused=paused == 1,
    )
