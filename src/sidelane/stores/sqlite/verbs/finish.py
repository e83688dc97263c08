"""finish: end attempts, each in one step with its last entries and its follow-ups."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import State
from sidelane.model.outcome import Cancelled, Failed, HandedOver, Lost, Released, Report, Retried, Succeeded
from sidelane.stores.checking import checked
from sidelane.stores.sqlite import log
from sidelane.stores.sqlite.arrivals import insert_where_free, put_back
from sidelane.stores.sqlite.ending import CANCELLED, End, end, keep_failure
from sidelane.stores.sqlite.losing import lose
from sidelane.stores.sqlite.records import Row, row_by_id
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_HAND_OVER = statements(__file__)["hand_over"]


def finish(connection: apsw.Connection, now: float, touched: Touched, reports: Sequence[Report]) -> list[bool]:
    """End each attempt whose lease holds, and tell which did; one that was ended before under its lease did too."""
    return [_finish(connection, now, touched, report) for report in reports]


def _finish(connection: apsw.Connection, now: float, touched: Touched, report: Report) -> bool:
    row = row_by_id(connection, report.lease.job_id)
    if row is None:
        return False
    if not row.held_by(report.lease):
        return row.settled == report.lease.nonce
    outcome = checked(report.outcome)
    if isinstance(outcome, HandedOver) and row.outside:
        return True
    row = log.write(connection, row, report.ordinal, report.entries, now)
    if isinstance(outcome, HandedOver) and not row.cancelling:
        _hand_over(connection, row, outcome, now, touched)
        return True
    nonce = report.lease.nonce
    match outcome:
        case Succeeded(result):
            end(connection, row, End(State.SUCCEEDED, result=result), now, touched, settled=nonce)
        case Failed(failure):
            keep_failure(connection, row, failure, now)
            row = row._replace(failures=row.failures + 1)
            end(connection, row, End(State.FAILED, problem=failure.problem), now, touched, settled=nonce)
        case Cancelled() | HandedOver():  # which is too late once someone asked it to stop (rules 8)
            end(connection, row, CANCELLED, now, touched, settled=nonce)
        case Retried(failure, delay):
            keep_failure(connection, row, failure, now)
            _wait_or_stop(connection, row._replace(failures=row.failures + 1), now, touched, delay, nonce)
        case Released(delay):
            _wait_or_stop(connection, row, now, touched, delay, nonce)
        case Lost(failure):
            lose(connection, row, failure, now, touched, settled=nonce)
    return True


def _hand_over(connection: apsw.Connection, row: Row, outcome: HandedOver, now: float, touched: Touched) -> None:
    """Let a job go on outside under its lease, and submit what tells the outside (rules 12)."""
    timeout = outcome.timeout
    connection.execute(_HAND_OVER, (row.seq, now + timeout, timeout, row.ordinal, row.epoch, row.last, row.progress))
    touched.jobs.add(row.id)
    insert_where_free(connection, [outcome.sending], now, touched)


def _wait_or_stop(
    connection: apsw.Connection, row: Row, now: float, touched: Touched, delay: float, nonce: str
) -> None:
    """Let a job wait for another attempt, unless someone asked it to stop (rules 8)."""
    if row.cancelling:
        end(connection, row, CANCELLED, now, touched, settled=nonce)
    else:
        put_back(connection, row, now, touched, delay=delay, settled=nonce)
