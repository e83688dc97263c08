"""Retention: finished jobs and their logs are deleted in small batches after their retention has passed (rule 11)."""

from collections.abc import Sequence
from typing import NamedTuple

from sidelane.model.job import JobSpec
from sidelane.stores.sqlite import batches, enqueue, follow_ups, limits
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_MAX_EVENTS = 5000  # deleted in one sweep, which takes about ten milliseconds


class PruneResult(NamedTuple):
    """The number of removed jobs, and whether there are more to remove."""

    jobs: int
    more: bool


class Removable(NamedTuple):
    """The columns of a job that its removal needs."""

    seq: int
    id: str
    last: int
    follow_up_flags: int


def prune(tx: Transaction, limit: int) -> PruneResult:
    """Remove up to `limit` each of finished jobs, batches, rates and tombstones, and a part of the orphaned logs."""
    removable = [Removable._make(found) for found in tx.all(SQL.removable, tx.now, limit)]
    remaining_events = remove_jobs(tx, removable)
    more = [
        len(removable) == limit,
        _prune_orphaned_logs(tx, remaining_events),
        batches.prune(tx, limit),
        limits.prune_rates(tx, limit),
        tx.execute(SQL.delete_tombstones, tx.now, limit) == limit,
    ]
    return PruneResult(len(removable), any(more))


def remove_jobs(tx: Transaction, jobs: Sequence[Removable]) -> int:
    """Remove finished jobs and submit their follow-up jobs. Return how many more events may be deleted in this step."""
    if jobs:
        tx.execute(SQL.save_max_seq)
    remaining_events = _MAX_EVENTS
    specs: list[JobSpec] = []
    for seq, job_id, last, flags in jobs:
        if flags & follow_ups.ON_REMOVAL:
            specs += follow_ups.after_removal(tx, seq, job_id)
        tx.execute(SQL.insert_tombstone, seq, tx.now)
        if last <= remaining_events:
            tx.execute(SQL.delete_events, seq)
            remaining_events -= last
        else:
            tx.execute(SQL.orphan_log, seq)
        delete_outcome(tx, seq)
        tx.execute(SQL.delete_spec, seq)
        tx.execute(SQL.delete_job, seq)
    enqueue.insert_if_absent(tx, specs)
    return remaining_events


def delete_outcome(tx: Transaction, seq: int) -> None:
    """Delete the result and the history of a job."""
    tx.execute(SQL.delete_failures, seq)
    tx.execute(SQL.delete_result, seq)


def _prune_orphaned_logs(tx: Transaction, limit: int) -> bool:
    """Delete up to `limit` events of removed jobs. Return whether some may remain."""
    while (found := tx.first(SQL.next_orphaned_log)) is not None:
        if limit <= 0:
            return True
        deleted = tx.execute(SQL.delete_first_events, *found, limit)
        if deleted < limit:
            tx.execute(SQL.delete_orphaned_log, *found)
        limit -= deleted
    return False
