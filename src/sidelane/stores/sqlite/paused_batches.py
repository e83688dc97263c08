"""Paused batches. A claim moves their jobs out of the user queues, each job once, until the batch is resumed."""

from collections.abc import Sequence

from sidelane.model.batch import BatchRecord
from sidelane.model.history import Count, milliseconds
from sidelane.model.transition import Change, dump_transition
from sidelane.stores.sqlite import batches, fair_queue, history
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_MAX_RESUMED = 200  # jobs that one step makes ready


def pause_batch(tx: Transaction, batch_id: str, paused: bool) -> BatchRecord | None:
    """Pause a batch, or resume it and make its first jobs ready."""
    if paused:
        tx.execute(SQL.pause, batch_id)
    elif tx.execute(SQL.resume, batch_id):
        resume_jobs(tx)
    return batches.get_batch(tx, batch_id)


def any_is_paused(tx: Transaction) -> bool:
    return tx.first(SQL.any_is_paused) is not None


def is_paused(tx: Transaction, seq: int) -> bool:
    """Return whether a job is in a paused batch."""
    return tx.first(SQL.is_paused, seq) is not None


def pause_jobs(tx: Transaction, seqs: Sequence[int]) -> None:
    """Move jobs of paused batches out of their user queues. The shares of the jobs' users do not change."""
    user_queues = set[fair_queue.UserQueue]()
    for seq in seqs:
        series, limit_id, blocked_at = tx.one(SQL.before, seq)
        job_id, *user_queue = tx.one(SQL.pause_job, seq, tx.now, dump_transition(Change.PAUSED, tx.now))
        user_queues.add(fair_queue.UserQueue(*user_queue))
        tx.changes.jobs.add(job_id)
        if blocked_at is not None:  # it was claimed by id
            history.count(tx, series, Count.LIMIT_WAIT_MS, milliseconds(tx.now - blocked_at))
        if limit_id is not None:  # the capacity that was reserved for it
            tx.changes.freed_limits.add(limit_id)
    fair_queue.remove_unready(tx, user_queues)


def resume_jobs(tx: Transaction, maximum: int = _MAX_RESUMED) -> bool:
    """Make up to `maximum` paused jobs of resumed batches ready. Return whether more remain."""
    line = dump_transition(Change.RESUMED, tx.now)
    while (batch := tx.first(SQL.next_resumed)) is not None:
        if maximum <= 0:
            return True
        found = tx.all(SQL.paused_jobs, *batch, maximum)
        for seq, job_id, series, paused_at, *key in found:
            tx.execute(SQL.resume_job, seq, tx.now, line)
            history.count(tx, series, Count.PAUSE_WAIT_MS, milliseconds(tx.now - paused_at))
            user_queue = fair_queue.UserQueue(*key)
            fair_queue.push(tx, user_queue, seq)
            tx.changes.jobs.add(job_id)
            tx.changes.queues.add(user_queue.queue)
        if len(found) < maximum:
            tx.execute(SQL.end_resume, *batch)
        maximum -= len(found)
    return False
