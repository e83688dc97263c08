"""Finishing jobs in one step, with result, follow-up jobs and freed limits (rules 7 to 9); lost leases; cancellation."""

from dataclasses import dataclass

from sidelane.model.history import Count, milliseconds
from sidelane.model.ids import new_epoch
from sidelane.model.job import Failure, State, is_isolated_after
from sidelane.model.json_text import escape_surrogates
from sidelane.model.problem import Problem
from sidelane.model.transition import Change, dump_transition
from sidelane.stores.problems import DEADLINE_PASSED, NOT_STARTED_IN_TIME, WORKERS_LOST
from sidelane.stores.serialization import dump_problem
from sidelane.stores.sqlite import batches, blocked_jobs, enqueue, fair_queue, follow_ups, history, limits
from sidelane.stores.sqlite.rows import (
    BLOCKED,
    CODES,
    NULL,
    PAUSED,
    READY,
    RUNNING,
    Row,
    attempt_transitions,
    row_by_seq,
)
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

MAX_CASCADE = 200  # children cancelled in one step


@dataclass(frozen=True, slots=True)
class Finish:
    """The final state of a job, with its result or problem."""

    state: State
    result: str | None = None
    problem: Problem | None = None


CANCELLED = Finish(State.CANCELLED)

_WAITS = {BLOCKED: Count.LIMIT_WAIT_MS, PAUSED: Count.PAUSE_WAIT_MS}
_ENDS = {State.SUCCEEDED: Count.SUCCEEDED, State.FAILED: Count.FAILED, State.CANCELLED: Count.CANCELLED}


def finish_job(tx: Transaction, row: Row, finish: Finish, *, finished_nonce: str | None = None) -> None:
    """Finish a job with the counts and log position of `row`. The end event gets the next number."""
    tx.execute(
        SQL.finish,
        row.seq, CODES[finish.state], tx.now, row.failures, row.worker_losses, finished_nonce or row.finished_nonce,
        row.epoch, row.last + 1, row.progress, row.log_space, row.first_event, row.last_event,
    )  # fmt: skip
    history.count(tx, row.series, _ENDS[finish.state])
    if row.state == RUNNING:
        history.count_attempt(tx, row)
    elif row.blocked_at is not None and row.state in _WAITS:
        history.count(tx, row.series, _WAITS[row.state], milliseconds(tx.now - row.blocked_at))
    if finish.problem is not None or finish.result not in (None, NULL):
        result = None if finish.result is None else escape_surrogates(finish.result)
        tx.execute(SQL.insert_result, row.seq, result, finish.problem and dump_problem(finish.problem))
    if row.state == READY:
        fair_queue.remove(tx, row.user_queue, row.seq)
    tx.changes.jobs.add(row.id)
    tx.changes.ended.append(row.id)
    if row.limit_flags:
        blocked_jobs.release_slots(tx, row, finished=True)
    if finish.state is State.CANCELLED and tx.execute(SQL.insert_cascade, row.id):
        tx.changes.cancelled_parents = True
    if row.follow_up_flags & follow_ups.ON_FINISH:
        enqueue.insert_if_absent(tx, follow_ups.after_finish(tx, row.seq, row.id, row.ends + 1, finish.state))
    if row.batch is not None:
        batches.count_finished(tx, row.batch, finish.state)


def record_failure(tx: Transaction, row: Row, failure: Failure) -> None:
    """Add a failure or worker loss of the attempt that has just ended to the job's history. `row` does not count it yet."""
    tx.execute(
        SQL.insert_failure,
        row.seq, row.failures + row.worker_losses, tx.now, row.attempt, dump_problem(failure.problem),
        escape_surrogates(failure.error), escape_surrogates(failure.traceback),
    )  # fmt: skip


def expire(tx: Transaction, seq: int) -> None:
    """Finish a queued job whose deadline or time to start has passed."""
    row = row_by_seq(tx, seq)
    in_time = row.deadline_at is None or row.deadline_at > tx.now
    problem = NOT_STARTED_IN_TIME if in_time else DEADLINE_PASSED
    history.count(tx, row.series, Count.EXPIRED)
    finish_job(tx, row._replace(epoch=new_epoch()), Finish(State.FAILED, problem=problem))


def ended_attempt(tx: Transaction, row: Row, change: Change, detail: str = "") -> str:
    """Count an attempt that ends although its job does not, and return the transitions to store of it."""
    history.count_attempt(tx, row)
    return attempt_transitions(row) + dump_transition(change, tx.now, detail)


def lose_lease(tx: Transaction, row: Row, loss: Failure, *, finished_nonce: str | None = None) -> None:
    """End the lease of a running job, whose worker was lost as `loss` describes (rule 7).

    The job runs again, isolated from its second worker loss on, or fails if its losses exceed `max_worker_losses`.
    """
    if row.cancel_requested:
        finish_job(tx, row, CANCELLED, finished_nonce=finished_nonce)
        return
    record_failure(tx, row, loss)
    history.count(tx, row.series, Count.LOST)
    budget, isolable = tx.one(SQL.loss_budget, row.seq)
    losses = row.worker_losses + 1
    row = row._replace(worker_losses=losses, isolated=int(isolable and is_isolated_after(losses, budget)))
    if losses > budget:
        problem = WORKERS_LOST if budget and not row.external else loss.problem
        finish_job(tx, row, Finish(State.FAILED, problem=problem), finished_nonce=finished_nonce)
    else:
        enqueue.return_to_queue(tx, row, ended_attempt(tx, row, Change.LOST, loss.error), finished_nonce=finished_nonce)


def cancel_job(tx: Transaction, row: Row) -> bool:
    """Cancel a queued or external job immediately, or ask a running job to stop. Return whether this has finished the job."""
    if row.state < RUNNING or row.external:
        finish_job(tx, row._replace(epoch=new_epoch()), CANCELLED)
        return True
    if row.state == RUNNING and not row.cancel_requested:
        tx.execute(SQL.request_cancel, row.seq)
        if row.limit_flags & limits.REPLACES_OLDER:
            limits.clear_replaceable(tx, row.seq, limits.load_applied_limits(row.limits))
        tx.changes.jobs.add(row.id)
        if row.worker is not None:
            tx.changes.workers.add(row.worker)
    return False


def cancel_children(tx: Transaction, limit: int = MAX_CASCADE) -> bool:
    """Cancel up to `limit` children of cancelled jobs, if they are cancelled with their parents. Return whether more remain."""
    while (found := tx.first(SQL.next_cascade)) is not None:
        if limit <= 0:
            return True
        children = tx.all(SQL.cascade_children, *found, limit)
        if len(children) < limit:
            tx.execute(SQL.delete_cascade, found[0])
        for (seq,) in children:
            cancel_job(tx, row_by_seq(tx, seq))
        limit -= len(children)
    return False


def run_post_actions(tx: Transaction) -> None:
    """Complete a call: cancel the children of cancelled jobs, and unblock jobs of freed limits."""
    if tx.changes.cancelled_parents:
        tx.changes.cancelled_parents = False
        cancel_children(tx)
    if tx.changes.freed_limits:
        blocked_jobs.unblock(tx, tx.changes.freed_limits)
        tx.changes.freed_limits.clear()
