"""Jobs as a store keeps them: spec, record, follow-ups, and the lease of an attempt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import attrgetter

from sidelane.model.history import NO_USAGE, Usage
from sidelane.model.json_text import dump_json
from sidelane.model.limit import Limit, LimitHit
from sidelane.model.problem import Problem

DAY = 86_400.0

MAX_LOG_SIZE = 16 * 2**20
"""Default maximum size of a job's log: the bytes of the names and data of its events."""

MAX_TEXT = 512
"""Characters of a user, a key, a label's value, or any other text of a job apart from its arguments."""

MAX_LABELS = 64
MAX_LABEL_NAME = 128
"""Labels of a job, and characters of a label's name."""


def is_isolated_after(losses: int, budget: int) -> bool:
    """Return whether a job with this number of worker losses runs in isolation workers (rule 7).

    `budget` is how many losses it survives.
    """
    return losses >= max(1, min(2, budget))


class State(StrEnum):
    """The five states of a job. Scheduled, retrying, cancelling and dead letter are views of these, not states."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self not in UNFINISHED


UNFINISHED = frozenset({State.QUEUED, State.RUNNING})
FINISHED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The submitted data of a job: a call with everything that the store must know. A spec never changes.

    Durations are seconds from the submit. `run_at`, which the user sets, is the only absolute time (seconds since 1970).
    """

    id: str
    task: str
    version: int = 1
    arguments: str = "{}"  # a JSON object by parameter name
    queue: str = "default"
    user: str | None = None
    priority: int = 0  # higher goes first
    key: str | None = None  # what the job is for; found by `Query.key`
    unique: str | None = None  # one unfinished job per user and key
    labels: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    run_at: float | None = None
    expires: float | None = None  # to the first start
    deadline: float | None = None  # over all attempts
    max_worker_losses: int = 3  # how many lost leases the job survives
    isolable: bool = True  # an isolation worker may run it
    retention: float = 7 * DAY  # how long it is kept after its end
    abandon_after: float | None = None  # cancelled when its last listener left this long ago
    parent: str | None = None
    trace: str | None = None  # W3C traceparent
    follow_ups: "tuple[FollowUp, ...]" = ()
    limits: tuple[Limit, ...] = ()
    max_queued: int | None = None  # refused while this many jobs of its queue wait
    batch: str | None = None
    cascade: bool = False  # cancelled with its parent
    placeholders: Mapping[str, str] = field(
        default_factory=dict
    )  # sources of arguments that are filled in at its start
    max_log_size: int = MAX_LOG_SIZE  # bytes of its events; what is beyond it is dropped
    id_retention: float = 0.0  # min. time for which its id stays taken after its removal


def with_trace(spec: JobSpec, trace: str | None) -> JobSpec:
    """Return a spec that belongs to this trace, with all that follows it."""
    follow_ups = tuple(FollowUp(each.on, with_trace(each.spec, trace)) for each in spec.follow_ups)
    return replace(spec, trace=trace, follow_ups=follow_ups)


def texts_of(spec: JobSpec) -> list[str]:
    """Return every text of a spec and of what follows it. The size of a spec is that of all these texts."""
    texts = [*filter(None, _TEXTS(spec))]
    if spec.labels or spec.placeholders:
        texts += [*spec.labels, *spec.labels.values(), *spec.placeholders, *spec.placeholders.values()]
    for limit in spec.limits:
        texts += (limit.name, limit.key)
    for follow_up in spec.follow_ups:
        texts += texts_of(follow_up.spec)
    return texts


def may_exceed(spec: JobSpec, limit: int) -> bool:
    """Return whether the texts of a spec may have more than `limit` bytes as UTF-8. Most specs are too small to be counted."""
    simple = not (spec.labels or spec.placeholders or spec.limits or spec.follow_ups)
    return not simple or 4 * (len(spec.arguments) + _MAX_OTHER_TEXTS) > limit


def labels_error(labels: Mapping[str, str]) -> str | None:
    """Return which bound the labels of a job exceed, or None."""
    if len(labels) > MAX_LABELS:
        return f"There are {len(labels):,} labels; a job has at most {MAX_LABELS}."
    for name, value in labels.items():
        if not 0 < len(name) <= MAX_LABEL_NAME:
            return f"The label {name[:100]!a} has a name of {len(name):,} characters; use 1 to {MAX_LABEL_NAME}."
        if len(value) > MAX_TEXT:
            return f"The label {name!a} has a value of {len(value):,} characters; use at most {MAX_TEXT}."
    return None


_TEXTS = attrgetter("arguments", "task", "queue", "user", "key", "unique", "parent", "trace", "batch")
_MAX_OTHER_TEXTS = 8 * MAX_TEXT


REMOVED: frozenset[State] = frozenset()
"""`FollowUp.on` of a job that is submitted when its parent is removed, after its retention or before."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A job to submit in the step that ends its parent in one of the states `on`, or that removes the parent (`REMOVED`).

    `spec` is a template. That step fills in the job's id and parent, so that each end submits the job once (rule 9). A job that
    follows the removal has no parent, and its id is `<job>.removed.<index>`.
    """

    on: frozenset[State]
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to write for one attempt. A write counts only while the job runs under exactly this lease (rule 1)."""

    job_id: str
    attempt: int
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One attempt's failure. `error` and `traceback` are for operators and never reach clients.

    The store fills in `attempt` and `at` (seconds since 1970 by its clock).
    """

    problem: Problem
    error: str = ""
    traceback: str = ""
    attempt: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, from 0 to 100 percent, as its task reported it."""

    percent: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job as the store keeps it. Times are seconds since 1970 by the store's clock."""

    spec: JobSpec
    sequence: int  # the store's own order of submission
    state: State
    attempt: int = 0  # claims so far; never falls
    failures: int = 0
    worker_losses: int = 0
    isolated: bool = False  # it runs in isolation workers only
    ends: int = 0  # how often it has ended; more than one after a requeue
    submitted: float
    due: float | None = None  # not before this time, while it waits for one
    started: float | None = None
    ended: float | None = None
    cancel_requested: bool = False
    waiting_for_limit: str | None = None  # the id of the limit it waits for
    waiting_for_batch: bool = False  # a claim has found it, but its batch is paused
    worker: str | None = None
    last_worker: str | None = None  # of the newest attempt, while it runs and if it ended the job
    release: str = ""  # of that worker
    external_lease: Lease | None = None  # while an external worker has it: the bearer of this lease may end it
    last: int = 0  # number of the newest event in its log
    ordinal: int = 0  # of the newest event of its running attempt that is in the log
    progress: str | None = None  # data of its newest progress event, JSON text
    result: str | None = None  # JSON text
    problem: Problem | None = None
    history: tuple[Failure, ...] = ()  # of its failures and losses, oldest first
    first_event: float | None = None  # of its newest attempt
    last_event: float | None = None
    transitions: str = ""  # as `model.transition` reads them
    usage: Usage = NO_USAGE  # of all its attempts together, those before a requeue too

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def progress_value(self) -> Progress | None:
        """The newest progress, or None before the first."""
        if self.progress is None:
            return None
        found = json.loads(self.progress)
        return Progress(float(found["percent"]), found.get("message") or "")

    @property
    def last_failure(self) -> Failure | None:
        """Its newest failure, or None if there is none, the job ended for another reason, or it was read without its history."""
        last = self.history[-1] if self.history else None
        if last is None or self.state in (State.SUCCEEDED, State.CANCELLED):
            return None
        return last if self.problem is None or last.problem == self.problem else None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The data of a job that is kept after its retention: its id and its user."""

    id: str
    user: str | None


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submit. If a job with the id or the unique key exists, `created` is false and `record` is that job."""

    record: JobRecord
    created: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer to a submit or requeue that is refused. The problem contains the reason.

    `reached` are the limits that are used up. `retry_after` is the number of seconds after which a retry may succeed.
    """

    problem: Problem
    reached: tuple[LimitHit, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Filter of jobs, newest first; None means any. `before` is the `sequence` of the last job of the page before.

    If `states` is only `RUNNING`, a store reads no other jobs. `after` is a `sequence` too: older jobs, and this one, do not match.
    `release` is that of the newest attempt. `text` is a part of the id, task, user, key, labels, arguments, problem or last error.
    The store compares it with what it keeps, whatever the case of Latin letters.
    """

    states: frozenset[State] | None = None
    task: str | None = None
    queue: str | None = None
    user: str | None = None
    key: str | None = None
    parent: str | None = None
    batch: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    release: str | None = None
    text: str | None = None
    before: int | None = None
    after: int | None = None
    limit: int = 50

    @property
    def finds_nothing(self) -> bool:
        """Whether no job can match the query, because it names no state, or an empty text, which no job has."""
        texts = (self.task, self.queue, self.user, self.key, self.parent, self.batch)
        return self.states == frozenset() or "" in texts


@dataclass(frozen=True, slots=True)
class JobPage:
    """The jobs that a search has found, newest first, and how many it has looked at.

    `before` is the `sequence` from which the search continues with older jobs, or None if it has looked at all.
    """

    records: Sequence[JobRecord] = ()
    scanned: int = 0
    before: int | None = None


def end_event_payload(job_id: str, state: State, result: str | None, problem: Problem | None) -> str:
    """Return the data of a job's end event: its id and state, with its result or its problem."""
    members = {"id": dump_json(job_id), "state": dump_json(state)}
    if state is State.SUCCEEDED:
        members["result"] = result or "null"
    elif problem is not None:
        members["problem"] = dump_json(problem.document())
    return "{" + ", ".join(f'"{name}": {text}' for name, text in members.items()) + "}"
