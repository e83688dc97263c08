"""finish: end attempts, each in one step with its last entries and its follow-ups."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import State
from sidelane.model.outcome import AttemptResult, Cancelled, Dispatched, Failed, Lost, Released, Retried, Succeeded
from sidelane.stores.sqlite import event_log
from sidelane.stores.sqlite.enqueue import insert_if_absent, return_to_queue
from sidelane.stores.sqlite.finalize import CANCELLED, Finish, finish_job, record_failure
from sidelane.stores.sqlite.losing import lose_lease
from sidelane.stores.sqlite.records import Row, row_by_id
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet
from sidelane.stores.validation import valid_outcome

_HAND_OVER = statements(__file__)["hand_over"]


def finish(connection: apsw.Connection, now: float, touched: ChangeSet, reports: Sequence[AttemptResult]) -> list[bool]:
    """End each attempt whose lease holds, and tell which did; one that was ended before under its lease did too."""
    return [_finish(connection, now, touched, report) for report in reports]


def _finish(connection: apsw.Connection, now: float, touched: ChangeSet, report: AttemptResult) -> bool:
    row = row_by_id(connection, report.lease.job_id)
    if row is None:
        return False
    if not row.held_by(report.lease):
        return row.settled == report.lease.nonce
    outcome = valid_outcome(report.outcome)
    if isinstance(outcome, Dispatched) and row.outside:
        return True
    row = event_log.append_events(connection, row, report.ordinal, report.entries, now)
    if isinstance(outcome, Dispatched) and not row.cancelling:
        _hand_over(connection, row, outcome, now, touched)
        return True
    nonce = report.lease.nonce
    match outcome:
        case Succeeded(result):
            finish_job(connection, row, Finish(State.SUCCEEDED, result=result), now, touched, settled=nonce)
        case Failed(failure):
            record_failure(connection, row, failure, now)
            row = row._replace(failures=row.failures + 1)
            finish_job(connection, row, Finish(State.FAILED, problem=failure.problem), now, touched, settled=nonce)
        case Cancelled() | Dispatched():  # which is too late once someone asked it to stop (rules 8)
            finish_job(connection, row, CANCELLED, now, touched, settled=nonce)
        case Retried(failure, delay):
            record_failure(connection, row, failure, now)
            _wait_or_stop(connection, row._replace(failures=row.failures + 1), now, touched, delay, nonce)
        case Released(delay):
            _wait_or_stop(connection, row, now, touched, delay, nonce)
        case Lost(failure):
            lose_lease(connection, row, failure, now, touched, settled=nonce)
    return True


def _hand_over(connection: apsw.Connection, row: Row, outcome: Dispatched, now: float, touched: ChangeSet) -> None:
    """Let a job go on outside under its lease, and submit what tells the outside (rules 12)."""
    timeout = outcome.timeout
    connection.execute(_HAND_OVER, (row.seq, now + timeout, timeout, row.ordinal, row.epoch, row.last, row.progress))
    touched.jobs.add(row.id)
    insert_if_absent(connection, [outcome.sending], now, touched)


def _wait_or_stop(
    connection: apsw.Connection, row: Row, now: float, touched: ChangeSet, delay: float, nonce: str
) -> None:
    """Let a job wait for another attempt, unless someone asked it to stop (rules 8)."""
    if row.cancelling:
        finish_job(connection, row, CANCELLED, now, touched, settled=nonce)
    else:
        return_to_queue(connection, row, now, touched, delay=delay, settled=nonce)
