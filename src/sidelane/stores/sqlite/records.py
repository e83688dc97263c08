"""Reading jobs: the whole record for whoever asks, or the small row that the verbs decide by."""

from typing import Any, Final, NamedTuple

import apsw

from sidelane.model.job import Failure, JobRecord, JobSpec, Lease, State
from sidelane.stores.serialization import load_follow_ups, load_labels, load_problem
from sidelane.stores.sqlite.bonds import load_applied_limits
from sidelane.stores.sqlite.fair_queue import UserQueue
from sidelane.stores.sqlite.sql import all_rows, first, one
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
RECORD: Final = _SQL["record"]
_RECORD_BY_ID = RECORD + " WHERE j.id = ?"
_RECORD_BY_SEQ = RECORD + " WHERE j.seq = ?"
_ROW_BY_ID = _SQL["row"] + " WHERE id = ?"
_ROW_BY_SEQ = _SQL["row"] + " WHERE seq = ?"
_HISTORY = _SQL["history"]

BLOCKED: Final = -1
READY: Final = 0
WAITING: Final = 1
RUNNING: Final = 2
CODES: Final = {State.SUCCEEDED: 3, State.FAILED: 4, State.CANCELLED: 5}
STATES: Final = {
    BLOCKED: State.QUEUED, READY: State.QUEUED, WAITING: State.QUEUED, RUNNING: State.RUNNING,
    **{code: state for state, code in CODES.items()},
}  # fmt: skip


class Row(NamedTuple):
    """What the verbs decide by: the part of a job that changes."""

    seq: int
    id: str
    queue: str
    priority: int
    user: str
    batch: str | None
    state: int
    due: float
    attempt: int
    failures: int
    losses: int
    isolated: int
    ends: int
    give_up: float | None
    deadline_at: float | None
    keep: float
    follows: int
    limited: int
    limits: str | None
    parked: str | None
    cancelling: int
    worker: str | None
    nonce: str | None
    settled: str | None
    ordinal: int
    epoch: int
    last: int
    progress: int | None
    ended: float | None

    @property
    def line(self) -> UserQueue:
        """Where the job stands while it is ready."""
        return UserQueue(self.queue, self.isolated, self.priority, self.user)

    def held_by(self, lease: Lease) -> bool:
        """Tell whether the job runs under exactly this lease (rules 1)."""
        return self.state == RUNNING and self.nonce == lease.nonce and self.attempt == lease.attempt

    @property
    def outside(self) -> bool:
        """Whether the job is handed over: it runs, and no worker holds it."""
        return self.state == RUNNING and self.worker is None

    @property
    def finished(self) -> bool:
        return self.state > RUNNING


def row_by_id(connection: apsw.Connection, job_id: str) -> Row | None:
    found = first(connection, _ROW_BY_ID, job_id)
    return Row._make(found) if found else None


def row_by_seq(connection: apsw.Connection, seq: int) -> Row:
    return Row._make(one(connection, _ROW_BY_SEQ, seq))


def record_by_id(connection: apsw.Connection, job_id: str) -> JobRecord | None:
    found = first(connection, _RECORD_BY_ID, job_id)
    return _with_history(connection, found) if found else None


def job_record(connection: apsw.Connection, job_id: str) -> JobRecord:
    """Give the record of a job that is there for sure."""
    return _with_history(connection, one(connection, _RECORD_BY_ID, job_id))


def record_by_seq(connection: apsw.Connection, seq: int) -> JobRecord:
    return _with_history(connection, one(connection, _RECORD_BY_SEQ, seq))


def _with_history(connection: apsw.Connection, found: tuple[Any, ...]) -> JobRecord:
    """Make the record of a row of the statement `record`, and look its failures and losses up if it has any."""
    failures, losses, seq = found[30], found[31], found[27]
    return record(found, history(connection, seq) if failures or losses else ())


def history(connection: apsw.Connection, seq: int) -> tuple[Failure, ...]:
    return tuple(
        Failure(problem=load_problem(problem), error=error, traceback=traceback, attempt=attempt, at=at)
        for problem, error, traceback, attempt, at in all_rows(connection, _HISTORY, seq)
    )


def record(found: tuple[Any, ...], history: tuple[Failure, ...] = ()) -> JobRecord:
    """Make the record of a row of the statement `record`."""
    (
        *specified,
        sequence, state, attempt, failures, losses, isolated, ends, submitted, due, started, ended, cancelling,
        parked, worker, nonce, last, progress, result, problem, ordinal,
    ) = found  # fmt: skip
    spec = _spec(specified)
    outside = state == RUNNING and worker is None
    return JobRecord(
        spec=spec,
        sequence=sequence,
        state=STATES[state],
        attempt=attempt,
        failures=failures,
        worker_losses=losses,
        isolated=bool(isolated),
        ends=ends,
        submitted=submitted,
        due=due if state == WAITING else None,
        started=started,
        ended=ended,
        cancel_requested=bool(cancelling),
        waiting_for_limit=parked if state == BLOCKED else None,
        worker=worker,
        external_lease=Lease(spec.id, attempt, nonce) if outside else None,
        last=last,
        ordinal=ordinal,
        progress=progress,
        result=result,
        problem=load_problem(problem) if problem else None,
        history=history,
    )


def _spec(found: list[Any]) -> JobSpec:
    (
        job_id, task, version, arguments, queue, user, priority, key, unique, labels, delay, run_at,
        start_within, deadline, losses, isolable, keep, abandon_after, parent, trace, follow_ups,
        limits, max_queued, batch, cascade, given, remember,
    ) = found  # fmt: skip
    return JobSpec(
        id=job_id,
        task=task,
        version=version,
        arguments=arguments,
        queue=queue,
        user=user or None,
        priority=priority,
        key=key,
        unique=unique,
        labels=load_labels(labels),
        delay=delay,
        run_at=run_at,
        expires=start_within,
        deadline=deadline,
        max_worker_losses=losses,
        isolable=bool(isolable),
        retention=keep,
        abandon_after=abandon_after,
        parent=parent,
        trace=trace,
        follow_ups=load_follow_ups(follow_ups),
        limits=load_applied_limits(limits).limits,
        max_queued=max_queued,
        batch=batch,
        cascade=bool(cascade),
        placeholders=load_labels(given),
        id_retention=remember,
    )
