"""finish: end attempts, each in one step with its last entries and its follow-ups."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import State
from sidelane.model.outcome import Cancelled, Failed, HandedOver, Released, Report, Retried, Succeeded
from sidelane.stores.sqlite import log
from sidelane.stores.sqlite.arrivals import put_back
from sidelane.stores.sqlite.ending import CANCELLED, End, end, keep_failure
from sidelane.stores.sqlite.records import Row, row_by_id
from sidelane.stores.sqlite.touched import Touched


def finish(connection: apsw.Connection, now: float, touched: Touched, reports: Sequence[Report]) -> list[bool]:
    """End each attempt whose lease holds, and tell which did; one that was ended before under its lease did too."""
    return [_finish(connection, now, touched, report) for report in reports]


def _finish(connection: apsw.Connection, now: float, touched: Touched, report: Report) -> bool:
    row = row_by_id(connection, report.lease.job_id)
    if row is None:
        return False
    if not row.held_by(report.lease):
        return row.settled == report.lease.nonce
    row = log.without_hole(log.write(connection, row, report.ordinal, report.entries, now), report.ordinal)
    nonce = report.lease.nonce
    match report.outcome:
        case Succeeded(result):
            end(connection, row, End(State.SUCCEEDED, result=result), now, touched, settled=nonce)
        case Failed(failure):
            keep_failure(connection, row, failure, now)
            row = row._replace(failures=row.failures + 1)
            end(connection, row, End(State.FAILED, problem=failure.problem), now, touched, settled=nonce)
        case Cancelled():
            end(connection, row, CANCELLED, now, touched, settled=nonce)
        case Retried(failure, delay):
            keep_failure(connection, row, failure, now)
            _wait_or_stop(connection, row._replace(failures=row.failures + 1), now, touched, delay, nonce)
        case Released(delay):
            _wait_or_stop(connection, row, now, touched, delay, nonce)
        case HandedOver():
            raise NotImplementedError
    return True


def _wait_or_stop(
    connection: apsw.Connection, row: Row, now: float, touched: Touched, delay: float, nonce: str
) -> None:
    """Let a job wait for another attempt, unless someone asked it to stop (rules 8)."""
    if row.cancelling:
        end(connection, row, CANCELLED, now, touched, settled=nonce)
    else:
        put_back(connection, row, now, touched, delay=delay, settled=nonce)
