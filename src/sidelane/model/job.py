"""Jobs as a store keeps them: what was asked for, what has become of it, and the lease that lets a worker speak for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sidelane.model.limit import Limit, LimitHit
from sidelane.model.problem import Problem

DAY = 86_400.0


def is_isolated_after(losses: int, budget: int) -> bool:
    """Tell whether a job that lost so many leases, and survives `budget`, runs in isolation workers from now on (rules 7)."""
    return losses >= max(1, min(2, budget))


class State(StrEnum):
    """The five states of a job. Scheduled, retrying, cancelling and dead are views of these, not states."""

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
    """What was asked for: a call with everything the store must know to keep its promises. It never changes.

    Durations are seconds and count from the submit; `run_at` is the one absolute time (seconds since 1970), the user's own.
    """

    id: str
    task: str
    version: int = 1
    arguments: str = "{}"  # a JSON object by parameter name
    queue: str = "default"
    user: str | None = None
    priority: int = 0  # higher goes first
    key: str | None = None  # the current job of something; found by `Query.key`
    unique: str | None = None  # one unfinished job per user and key
    labels: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    run_at: float | None = None
    expires: float | None = None  # to the first start
    deadline: float | None = None  # over all attempts
    max_worker_losses: int = 3  # how many lost leases the job survives
    isolable: bool = True  # an isolation worker may run it
    retention: float = 7 * DAY  # how long it is kept after its end
    abandon_after: float | None = None  # cancelled when its last listener has been gone this long
    parent: str | None = None
    trace: str | None = None  # W3C traceparent
    follow_ups: "tuple[FollowUp, ...]" = ()
    limits: tuple[Limit, ...] = ()
    max_queued: int | None = None  # refused while so many jobs of its queue wait
    batch: str | None = None
    cascade: bool = False  # cancelled with its parent
    placeholders: Mapping[str, str] = field(
        default_factory=dict
    )  # arguments that are filled in when it starts, by where they come from
    id_retention: float = 0.0  # how long its id stays taken, at least, after the job itself is removed


REMOVED: frozenset[State] = frozenset()
"""What a follow-up waits for that is submitted when its job is removed, after its retention or before."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A job to submit in the very step that ends its parent in one of the states `on`, or that removes it (`REMOVED`).

    `spec` is a template: its id and parent are filled in at the end, so that each end submits it once (rules 9). One that follows
    the removal has no parent any more; its id is `<job>.removed.<place>`.
    """

    on: frozenset[State]
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to speak for one attempt. A write counts only while the job runs under exactly this lease (rules 1)."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job as the store keeps it. Times are seconds since 1970 by the store's clock."""

    spec: JobSpec
    sequence: int  # the store's own order of submission: a job's age
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
    waiting_for_limit: str | None = None  # the id of the limit it waits at
    worker: str | None = None
    external_lease: Lease | None = None  # while it is handed over: who shows this lease may end it
    last: int = 0  # number of the newest event in its log
    ordinal: int = 0  # of the newest entry of its running attempt that the log has seen
    progress: str | None = None  # data of its newest progress event, JSON text
    result: str | None = None  # JSON text
    problem: Problem | None = None
    history: tuple[Failure, ...] = ()  # of its failures and losses, oldest first

    @property
    def id(self) -> str:
        return self.spec.id


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a job after its retention: that it was here, and whose it was."""

    id: str
    user: str | None


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submit. `created` is false where the id or the unique key already had a job; `record` is that job."""

    record: JobRecord
    created: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer to a submit or requeue that cannot be: the problem says why.

    `reached` are the limits in the way; `retry_after` is in how many seconds it may be worth trying again.
    """

    problem: Problem
    reached: tuple[LimitHit, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which jobs to find, newest first. `before` is a `sequence` to page on from; None means any."""

    states: frozenset[State] | None = None
    task: str | None = None
    queue: str | None = None
    user: str | None = None
    key: str | None = None
    parent: str | None = None
    batch: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    before: int | None = None
    limit: int = 50

    @property
    def finds_nothing(self) -> bool:
        """Whether no job can meet it: it asks for no state, or for an empty text, which is none and no job has."""
        texts = (self.task, self.queue, self.user, self.key, self.parent, self.batch)
        return self.states == frozenset() or "" in texts


def end_event_payload(job_id: str, state: State, result: str | None, problem: Problem | None) -> str:
    """Write the data of a job's end event: its id and state, with the result it has or the problem it met."""
    members = {"id": json.dumps(job_id), "state": json.dumps(state)}
    if state is State.SUCCEEDED:
        members["result"] = result or "null"
    elif problem is not None:
        members["problem"] = json.dumps(problem.document())
    return "{" + ", ".join(f'"{name}": {text}' for name, text in members.items()) + "}"
