"""What the parts of a process report to its telemetry: one frozen value for each thing that happened."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sidelane.model.history import NO_USAGE, Usage
from sidelane.model.job import JobSpec, State


class RefusedBy(StrEnum):
    """Why a job was not accepted."""

    LIMIT = "limit"
    QUEUE_FULL = "queue full"
    OTHER = "other"


class Cause(StrEnum):
    """What ended an attempt or a job."""

    WORKER = "worker"  # an attempt in this worker
    CANCEL = "cancel"  # a request to cancel the job
    SWEEP = "sweep"  # its worker was lost, or it has no listeners
    EXPIRY = "expiry"  # its deadline, or its time to start, passed while it was queued
    EXTERNAL = "external"  # an external worker
    REMOTE = "remote"  # an attempt in this remote worker


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"  # it failed, and another attempt follows
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"  # it was handed back
    LOST = "lost"
    DISPATCHED = "dispatched"  # it continues at an external worker


class StreamKind(StrEnum):
    """How a stream of events is sent."""

    SSE = "sse"
    WEBSOCKET = "websocket"


class MessageAction(StrEnum):
    """What was done with messages of an endpoint."""

    SENT = "sent"
    RECEIVED = "received"
    DELETED = "deleted"  # acknowledged
    EXTENDED = "extended"  # its time until it is delivered again was changed


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTelemetry:
    """What all reports about a job have."""

    job: str
    task: str
    queue: str
    user: str | None = None


def job_fields(spec: JobSpec) -> dict[str, Any]:
    """Return what all reports about a job have, as arguments."""
    return {"job": spec.id, "task": spec.task, "queue": spec.queue, "user": spec.user}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted(JobTelemetry):
    """A new job was submitted by this process, or by a schedule that this process ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRefused(JobTelemetry):
    """A submit of this process was refused."""

    by: RefusedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded(JobTelemetry):
    """A job ended in a call of this process, which reports each end once."""

    state: State
    cause: Cause


@dataclass(frozen=True, slots=True)
class Wait:
    """For what a job waited before an attempt, in seconds: a free slot, a limit, its own time, and the end of a pause."""

    slot: float = 0.0
    limit: float = 0.0
    time: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(JobTelemetry):
    """An attempt started in this worker."""

    attempt: int
    worker: str
    wait: Wait | None = None  # None: the source of the jobs does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstEvent(JobTelemetry):
    """The first event of an attempt is in the job's log. `seconds` is the time from the attempt's start."""

    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsWritten(JobTelemetry):
    """Events are in the job's log. `bytes` are those of their data."""

    attempt: int
    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(JobTelemetry):
    """An attempt ended. `seconds` is how long it ran, if this process knows it. A retry follows in `delay` seconds."""

    attempt: int
    outcome: AttemptOutcome
    cause: Cause
    seconds: float | None = None
    delay: float = 0.0
    usage: Usage = NO_USAGE
    throttled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersLost:
    """A sweep of this process found expired leases. `count` is how many."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTried:
    """A callback was sent, or could not be. `job` is the job that it reports, and `age` the seconds since that job ended.

    The age of a callback about progress is 0. `status` is that of the response to a webhook. `error` is the name of the error, and
    empty if the callback was delivered.
    """

    job: str
    kind: str  # "webhook", "sqs" or "pubsub"
    seconds: float
    age: float
    status: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened:
    """A client follows a job or a batch. `resumed` is true if it continues after an event that it already has."""

    kind: StreamKind
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSlow:
    """A client does not read its stream, which has waited `seconds` for it. Reported once for each stream."""

    kind: StreamKind
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed:
    """A stream has ended, after `seconds`."""

    kind: StreamKind
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesHandled:
    """Messages of an endpoint were sent, received or deleted. `requests` is what the provider charges for, where it is known.

    SQS charges for each request, also for one that returns no message. Pub/Sub charges for bytes, so its requests are those of
    this process.
    """

    endpoint: str
    action: MessageAction
    count: int
    requests: int
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCalled:
    """A call of the store has returned, or failed with `error`, the name of its class."""

    verb: str
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopMeasured:
    """How many seconds the event loop lately came too late at most."""

    lag: float


TelemetryEvent = (
    JobSubmitted
    | JobRefused
    | JobEnded
    | AttemptStarted
    | FirstEvent
    | EventsWritten
    | AttemptEnded
    | WorkersLost
    | CallbackTried
    | StreamOpened
    | StreamSlow
    | StreamClosed
    | MessagesHandled
    | StoreCalled
    | LoopMeasured
)
