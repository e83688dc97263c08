"""Rows of jobs: the whole record for readers, and the small row that the verbs work with."""

from typing import Any, Final, NamedTuple

from sidelane.model.job import Failure, JobRecord, JobSpec, Lease, State
from sidelane.model.transition import Change, dump_transition
from sidelane.stores.serialization import load_follow_ups, load_labels, load_problem, load_usage
from sidelane.stores.sqlite.fair_queue import UserQueue
from sidelane.stores.sqlite.limits import load_applied_limits
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)
_RECORD_BY_ID = SQL.record + " WHERE j.id = ?"
_RECORD_BY_SEQ = SQL.record + " WHERE j.seq = ?"
_ROW_BY_ID = SQL.row + " WHERE id = ?"
_ROW_BY_SEQ = SQL.row + " WHERE seq = ?"

NULL: Final = "null"
"""The result of a task that returns nothing. A succeeded job without a row in `results` has it."""

SUCCEEDED: Final = 3
_DUE, _NONCE = 36, 42  # indexes in a row of the statement `record`

PAUSED: Final = -2
BLOCKED: Final = -1
READY: Final = 0
DELAYED: Final = 1
RUNNING: Final = 2
CODES: Final = {State.SUCCEEDED: SUCCEEDED, State.FAILED: 4, State.CANCELLED: 5}
STATES: Final = {
    PAUSED: State.QUEUED, BLOCKED: State.QUEUED, READY: State.QUEUED, DELAYED: State.QUEUED, RUNNING: State.RUNNING,
    **{code: state for state, code in CODES.items()},
}  # fmt: skip


class Row(NamedTuple):
    """The columns of a job that the verbs use for decisions, most of which change."""

    seq: int
    id: str
    queue: str
    priority: int
    user: str
    batch: str | None
    state: int
    attempt: int
    failures: int
    worker_losses: int
    isolated: int
    ends: int
    expires_at: float | None
    deadline_at: float | None
    follow_up_flags: int
    limit_flags: int
    limits: str | None
    blocked_by: str | None
    cancel_requested: int
    worker: str | None
    nonce: str | None
    finished_nonce: str | None
    ordinal: int
    logged: int
    epoch: int
    last: int
    progress: int | None
    log_space: int | None
    ended: float | None
    started: float | None
    series: int
    first_event: float | None
    last_event: float | None
    release: str
    blocked_at: float | None

    @property
    def user_queue(self) -> UserQueue:
        """The user queue that the job is in while it is ready."""
        return UserQueue(self.queue, self.isolated, self.priority, self.user)

    def has_lease(self, lease: Lease) -> bool:
        """Return whether the job runs under exactly this lease (rule 1)."""
        return self.state == RUNNING and self.nonce == lease.nonce and self.attempt == lease.attempt

    @property
    def external(self) -> bool:
        """Whether the job is dispatched, i.e. it runs and no worker holds its lease."""
        return self.state == RUNNING and self.worker is None

    @property
    def finished(self) -> bool:
        return self.state > RUNNING


def start_transition(row: Row) -> str:
    """Return the start of a job's newest attempt, unless it is stored, as a transition to store."""
    if row.worker is None:
        return ""
    return dump_transition(Change.STARTED, row.started or 0.0, row.worker, row.release)


def attempt_transitions(row: Row) -> str:
    """Return the transitions of a job's newest attempt that are not stored yet."""
    first = dump_transition(Change.FIRST_EVENT, row.first_event) if row.first_event is not None else ""
    return start_transition(row) + first


def row_by_id(tx: Transaction, job_id: str) -> Row | None:
    found = tx.first(_ROW_BY_ID, job_id)
    return Row._make(found) if found else None


def row_by_seq(tx: Transaction, seq: int) -> Row:
    return Row._make(tx.one(_ROW_BY_SEQ, seq))


def record_by_id(tx: Transaction, job_id: str) -> JobRecord | None:
    found = tx.first(_RECORD_BY_ID, job_id)
    return _with_history(tx, found) if found else None


def job_record(tx: Transaction, job_id: str) -> JobRecord:
    """Return the record of a job that exists."""
    return _with_history(tx, tx.one(_RECORD_BY_ID, job_id))


class StartedJob(NamedTuple):
    """A job that has just been started. `able_since` is when it was able to start, unless it waited for a limit (`blocked_at`)."""

    record: JobRecord
    lease: Lease
    deadline_at: float | None
    able_since: float
    blocked_at: float | None
    series: int


def started_job(tx: Transaction, seq: int) -> StartedJob:
    found = tx.one(_RECORD_BY_SEQ, seq)
    record = _with_history(tx, found)
    deadline_at, blocked_at, series = found[-3:]
    lease = Lease(record.id, record.attempt, found[_NONCE])
    return StartedJob(record, lease, deadline_at, found[_DUE], blocked_at, series)


def _with_history(tx: Transaction, found: tuple[Any, ...]) -> JobRecord:
    """Return the record of a row of the statement `record`, with its failures and worker losses if it has any."""
    failures, worker_losses, seq = found[31], found[32], found[28]
    return record(found, _history(tx, seq) if failures or worker_losses else ())


def _history(tx: Transaction, seq: int) -> tuple[Failure, ...]:
    return tuple(
        Failure(problem=load_problem(problem), error=error, traceback=traceback, attempt=attempt, at=at)
        for problem, error, traceback, attempt, at in tx.all(SQL.history, seq)
    )


def record(found: tuple[Any, ...], history: tuple[Failure, ...] = ()) -> JobRecord:
    """Return the record of a row of the statement `record`."""
    (
        *spec_columns,
        sequence, state, attempt, failures, worker_losses, isolated, ends, submitted, due, started, ended,
        cancel_requested, blocked_by, worker, nonce, last, progress, result, problem, ordinal,
        first_event, last_event, transitions, release, input_tokens, output_tokens, cost_micros,
    ) = found[:-3]  # fmt: skip
    spec = _spec(spec_columns)
    external = state == RUNNING and worker is None
    return JobRecord(
        spec=spec,
        sequence=sequence,
        state=STATES[state],
        attempt=attempt,
        failures=failures,
        worker_losses=worker_losses,
        isolated=bool(isolated),
        ends=ends,
        submitted=submitted,
        due=due if state == DELAYED else None,
        started=started,
        ended=ended,
        cancel_requested=bool(cancel_requested),
        waiting_for_limit=blocked_by if state == BLOCKED else None,
        waiting_for_batch=state == PAUSED,
        worker=worker if state == RUNNING else None,
        last_worker=worker,
        release=release,
        external_lease=Lease(spec.id, attempt, nonce) if external else None,
        last=last,
        ordinal=ordinal,
        progress=progress,
        result=NULL if state == SUCCEEDED and result is None else result,
        problem=load_problem(problem) if problem else None,
        history=history,
        first_event=first_event,
        last_event=last_event,
        transitions=transitions,
        usage=load_usage(input_tokens, output_tokens, cost_micros),
    )


def _spec(columns: list[Any]) -> JobSpec:
    (
        job_id, task, version, arguments, queue, user, priority, key, unique, labels, delay, run_at,
        expires_in, deadline, max_worker_losses, isolable, retention, abandon_after, parent, trace, follow_ups,
        limits, max_queued, batch, cascade, placeholders, id_retention, max_log_size,
    ) = columns  # fmt: skip
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
        expires=expires_in,
        deadline=deadline,
        max_worker_losses=max_worker_losses,
        isolable=bool(isolable),
        retention=retention,
        abandon_after=abandon_after,
        parent=parent,
        trace=trace,
        follow_ups=load_follow_ups(follow_ups),
        limits=load_applied_limits(limits).limits,
        max_queued=max_queued,
        batch=batch,
        cascade=bool(cascade),
        placeholders=load_labels(placeholders),
        id_retention=id_retention,
        max_log_size=max_log_size,
    )
