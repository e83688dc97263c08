"""finish: end attempts, each in one step with its last events and its follow-up jobs."""

from collections.abc import Sequence

from sidelane.model.history import NO_USAGE, Count, add
from sidelane.model.job import State
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    Failed,
    Lost,
    Outcome,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.transition import Change, dump_transition
from sidelane.stores.serialization import dump_usage
from sidelane.stores.sqlite import history
from sidelane.stores.sqlite.enqueue import insert_if_absent, return_to_queue
from sidelane.stores.sqlite.event_log import append_events
from sidelane.stores.sqlite.finalize import CANCELLED, Finish, ended_attempt, finish_job, lose_lease, record_failure
from sidelane.stores.sqlite.history import Amount
from sidelane.stores.sqlite.rows import Row, row_by_id, start_transition
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.validation import valid_outcome

SQL = statements(__file__)


def finish(tx: Transaction, results: Sequence[AttemptResult]) -> list[bool]:
    """End each attempt whose lease is valid, and return whether the lease was valid. A repeated result returns true again."""
    return [_finish(tx, result) for result in results]


def _finish(tx: Transaction, result: AttemptResult) -> bool:
    row = row_by_id(tx, result.lease.job_id)
    if row is None:
        return False
    if not row.has_lease(result.lease):
        return row.finished_nonce == result.lease.nonce
    outcome = valid_outcome(result.outcome)
    if isinstance(outcome, Dispatched) and row.external:
        return True
    row = append_events(tx, row, result.ordinal, result.entries)
    _count_report(tx, row, result)
    if isinstance(outcome, Dispatched) and not row.cancel_requested:
        _dispatch(tx, row, outcome)
        return True
    nonce = result.lease.nonce
    match outcome:
        case Succeeded(value):
            finish_job(tx, row, Finish(State.SUCCEEDED, result=value), finished_nonce=nonce)
        case Failed(failure):
            record_failure(tx, row, failure)
            row = row._replace(failures=row.failures + 1)
            finish_job(tx, row, Finish(State.FAILED, problem=failure.problem), finished_nonce=nonce)
        case Cancelled() | Dispatched():  # a dispatch after a request to cancel is too late (rule 8)
            finish_job(tx, row, CANCELLED, finished_nonce=nonce)
        case Retried(failure, delay):
            record_failure(tx, row, failure)
            _return_or_cancel(tx, row._replace(failures=row.failures + 1), Change.RETRIED, delay, nonce)
        case Released(delay):
            _return_or_cancel(tx, row, Change.RELEASED, delay, nonce)
        case Lost(failure):
            lose_lease(tx, row, failure, finished_nonce=nonce)
    return True


def _dispatch(tx: Transaction, row: Row, outcome: Dispatched) -> None:
    """Let a job continue externally under its lease, and submit the job that sends the message (rule 12)."""
    timeout = outcome.timeout
    tx.execute(
        SQL.dispatch,
        row.seq, tx.now + timeout, timeout, row.ordinal, row.logged, row.epoch, row.last, row.progress,
        row.log_space, row.first_event, row.last_event, start_transition(row) + dump_transition(Change.DISPATCHED, tx.now),
    )  # fmt: skip
    history.count(tx, row.series, Count.DISPATCHED)
    tx.changes.jobs.add(row.id)
    insert_if_absent(tx, [outcome.sending])


def _count_report(tx: Transaction, row: Row, result: AttemptResult) -> None:
    """Count what the worker reports about an attempt. The job keeps what its attempts used, however they ended."""
    if result.usage != NO_USAGE:
        amounts = dump_usage(result.usage)
        tx.execute(SQL.add_usage, *amounts, row.seq)
        counts = history.counts_of(tx, row.series)
        for count, amount in zip((Count.INPUT_TOKENS, Count.OUTPUT_TOKENS, Count.COST_MICROS), amounts, strict=True):
            add(counts, count, amount)
        input_tokens, output_tokens, cost = amounts
        history.count_user(tx, row.queue, row.user, Amount.TOKENS, input_tokens + output_tokens)
        history.count_user(tx, row.queue, row.user, Amount.COST, cost)
    if result.throttled and _is_throttled(row, result.outcome):
        history.count(tx, row.series, Count.THROTTLED)


def _is_throttled(row: Row, outcome: Outcome) -> bool:
    """Return whether an attempt failed, or is followed by another."""
    return isinstance(outcome, Failed) or (isinstance(outcome, (Retried, Released)) and not row.cancel_requested)


def _return_or_cancel(tx: Transaction, row: Row, change: Change, delay: float, nonce: str) -> None:
    """Queue a job for another attempt, unless it was asked to stop (rule 8)."""
    if row.cancel_requested:
        finish_job(tx, row, CANCELLED, finished_nonce=nonce)
    else:
        history.count(tx, row.series, Count.RETRIED if change is Change.RETRIED else Count.RELEASED)
        return_to_queue(tx, row, ended_attempt(tx, row, change), delay=delay, finished_nonce=nonce)
