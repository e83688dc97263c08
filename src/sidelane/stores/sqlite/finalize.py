"""Ending a job in one step: its state, its end event's number and its follow-ups, whoever ends it (rules 8, 9)."""

from dataclasses import dataclass

import apsw

from sidelane.model.codec import escape_surrogates
from sidelane.model.ids import new_epoch
from sidelane.model.job import Failure, State
from sidelane.model.problem import Problem
from sidelane.stores.problems import DEADLINE_PASSED, NOT_STARTED_IN_TIME
from sidelane.stores.serialization import dump_problem
from sidelane.stores.sqlite import batches, blocked_jobs, enqueue, fair_queue, follow_up_jobs
from sidelane.stores.sqlite.records import CODES, READY, Row, row_by_seq
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_END = _SQL["end"]
_KEEP_END = _SQL["keep_end"]
_KEEP_FAILURE = _SQL["keep_failure"]
_CASCADE = _SQL["cascade"]


@dataclass(frozen=True, slots=True)
class Finish:
    """How a job ends."""

    state: State
    result: str | None = None
    problem: Problem | None = None


CANCELLED = Finish(State.CANCELLED)


def finish_job(
    connection: apsw.Connection, row: Row, how: Finish, now: float, touched: ChangeSet, *, settled: str | None = None
) -> None:
    """End a job whose counts and log are as `row` tells; the end takes the next number of its log."""
    connection.execute(
        _END,
        (
            row.seq, CODES[how.state], now, row.failures, row.losses, settled or row.settled, row.epoch, row.last + 1,
            row.progress,
        ),
    )  # fmt: skip
    if how.result is not None or how.problem is not None:
        result = None if how.result is None else escape_surrogates(how.result)
        connection.execute(_KEEP_END, (row.seq, result, how.problem and dump_problem(how.problem)))
    if row.state == READY:
        fair_queue.remove(connection, row.line, row.seq)
    touched.jobs.add(row.id)
    if row.limited:
        blocked_jobs.release_slots(connection, row, touched, ended=True)
    if how.state is State.CANCELLED:
        connection.execute(_CASCADE, (row.id,))
        touched.parents = touched.parents or connection.changes() > 0
    if row.follows & follow_up_jobs.END:
        specs = follow_up_jobs.after_end(connection, row.seq, row.id, row.ends + 1, how.state)
        enqueue.insert_if_absent(connection, specs, now, touched)
    if row.batch is not None:
        batches.count_end(connection, row.batch, how.state, now, touched)


def expire(connection: apsw.Connection, seq: int, now: float, touched: ChangeSet) -> None:
    """Finish a queued job whose time has passed."""
    row = row_by_seq(connection, seq)
    in_time = row.deadline_at is None or row.deadline_at > now
    problem = NOT_STARTED_IN_TIME if in_time else DEADLINE_PASSED
    finish_job(connection, row._replace(epoch=new_epoch()), Finish(State.FAILED, problem=problem), now, touched)


def record_failure(connection: apsw.Connection, row: Row, failure: Failure, now: float) -> None:
    """Add a failure or a loss of the attempt that has just ended to the job's history; `row` does not count it yet."""
    connection.execute(
        _KEEP_FAILURE,
        (
            row.seq, row.failures + row.losses, now, row.attempt, dump_problem(failure.problem), escape_surrogates(failure.error),
            escape_surrogates(failure.traceback),
        ),
    )  # fmt: skip
