"""cancel, requeue, remove, pause, override_limit, restore_limit, get_or_set: changes by clients and operators."""

from collections.abc import Sequence

from sidelane.model.history import Count
from sidelane.model.job import JobRecord, Rejection
from sidelane.model.json_text import escape_surrogates
from sidelane.model.limit_override import LimitOverride
from sidelane.model.transition import Change, dump_transition
from sidelane.stores.problems import limits_full, unique_taken
from sidelane.stores.sqlite import batches, blocked_jobs, history, limit_overrides
from sidelane.stores.sqlite.enqueue import expiry, return_to_queue
from sidelane.stores.sqlite.event_log import persist_end_event
from sidelane.stores.sqlite.finalize import cancel_job
from sidelane.stores.sqlite.limits import LimitCapacity, acquire_unfinished, load_applied_limits
from sidelane.stores.sqlite.retention import Removable, delete_outcome, remove_jobs
from sidelane.stores.sqlite.rows import STATES, Row, attempt_transitions, record_by_id, row_by_id
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_MAX_UNBLOCKED = 200  # jobs that the change of a limit unblocks at once; sweeps unblock the rest


def cancel(tx: Transaction, ids: Sequence[str]) -> list[JobRecord | None]:
    """Cancel queued jobs immediately and ask running jobs to stop. Return the changed records."""
    for job_id in ids:
        row = row_by_id(tx, job_id)
        if row is not None:
            cancel_job(tx, row)
    return [record_by_id(tx, job_id) for job_id in ids]


def requeue(tx: Transaction, ids: Sequence[str], arguments: str | None) -> list[JobRecord | Rejection | None]:
    """Queue finished jobs again with counts from zero (rule 10), unless their unique keys or slots of limits are taken."""
    return [_requeue(tx, job_id, arguments) for job_id in ids]


def _requeue(tx: Transaction, job_id: str, arguments: str | None) -> JobRecord | Rejection | None:
    row = row_by_id(tx, job_id)
    if row is not None and row.finished:
        holder = tx.first(SQL.unique_holder, row.seq)
        if holder is not None:
            return Rejection(unique_taken(holder[0]))
        applied = load_applied_limits(row.limits)
        exceeded = LimitCapacity(tx).exceeded(applied.while_unfinished)
        if exceeded:
            return limits_full(exceeded)
        acquire_unfinished(tx, [(row.seq, applied)])
        if arguments is not None:
            tx.execute(SQL.set_arguments, escape_surrogates(arguments), row.seq)
        _reset(tx, row)
    return record_by_id(tx, job_id)


def _reset(tx: Transaction, row: Row) -> None:
    result, problem = tx.first(SQL.result, row.seq) or (None, None)
    persist_end_event(tx, row, result, problem)
    delete_outcome(tx, row.seq)
    expires_in, deadline = tx.one(SQL.durations, row.seq)
    expires_at, deadline_at = expiry(expires_in, deadline, tx.now)
    tx.execute(SQL.reset, deadline_at, row.seq)
    if row.batch is not None:
        batches.reopen(tx, row.batch, STATES[row.state])
    fresh = row._replace(failures=0, worker_losses=0, isolated=0, finished_nonce=None, expires_at=expires_at)
    history.count(tx, row.series, Count.REQUEUED)
    return_to_queue(tx, fresh, _end(row) + dump_transition(Change.REQUEUED, tx.now))


def _end(row: Row) -> str:
    """Return the transitions of a finished job that are not stored yet."""
    return attempt_transitions(row) + dump_transition(Change.ENDED, row.ended or 0.0, STATES[row.state])


def remove(tx: Transaction, ids: Sequence[str]) -> list[bool]:
    """Remove finished jobs without unfinished children, in the same way as retention. Return whether each was removed."""
    removable: dict[str, Removable] = {}
    removed = []
    for job_id in ids:
        found = None if job_id in removable else tx.first(SQL.removable, job_id)
        if found is not None:
            removable[job_id] = Removable._make(found)
        removed.append(found is not None)
    remove_jobs(tx, list(removable.values()))
    tx.changes.jobs.update(removable)
    return removed


def pause(tx: Transaction, queue: str, paused: bool) -> None:
    """Pause or resume the start of jobs of a queue."""
    tx.execute(SQL.pause, queue, int(paused), tx.now)
    tx.changes.queues.add(queue)


def override_limit(tx: Transaction, override: LimitOverride) -> bool:
    """Set the numbers of a limit. Return False, without a change, if there are too many overrides."""
    saved = limit_overrides.save(tx, override)
    _unblock_changed(tx)
    return saved


def restore_limit(tx: Transaction, override_id: str) -> bool:
    """Let a limit have the numbers again that its jobs declare. Return whether it had others."""
    deleted = limit_overrides.delete(tx, override_id)
    _unblock_changed(tx)
    return deleted


def _unblock_changed(tx: Transaction) -> None:
    blocked_jobs.unblock_changed(tx, _MAX_UNBLOCKED)
    blocked_jobs.unblock_due(tx, _MAX_UNBLOCKED)


def get_or_set(tx: Transaction, name: str, value: str) -> str:
    """Set the value of a name unless it has a value, and return the value of the name."""
    tx.execute(SQL.insert_value, name, value)
    return str(tx.scalar(SQL.value, name))
