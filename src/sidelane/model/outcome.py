"""Outcomes of an attempt, and the reports of workers about attempts."""

from dataclasses import dataclass
from enum import StrEnum

from sidelane.model.event import NewEvent
from sidelane.model.history import NO_USAGE, Usage
from sidelane.model.job import Failure, JobSpec, Lease


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The task returned. `result` is JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Retried:
    """The task failed and is retried in `delay` seconds. Adds one failure."""

    failure: Failure
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The task failed, and is not retried."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt ended because its job was cancelled."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker returns the job to its queue, to start again in `delay` seconds. Adds no failure and no loss."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The child process that ran the task ended by itself while its worker was alive. Adds one worker loss (rule 7)."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The attempt continues at an external worker. The holder of its lease has `timeout` seconds to end the attempt (rule 12).

    `sending` is the job that sends the message. That job is submitted in the same step, with a separate id.
    """

    timeout: float
    sending: JobSpec


Outcome = Succeeded | Retried | Failed | Cancelled | Released | Lost | Dispatched


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAppend:
    """Events for a job's log. `ordinal` is the position of the first among all events of this attempt, from 1 (rule 3)."""

    lease: Lease
    ordinal: int
    entries: tuple[NewEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """The end of one attempt and its last events (numbered as in `EventAppend`), which are written in one atomic step.

    `usage` is what the attempt used, which its job adds up. `throttled`, whether a provider asked it to try later, is only counted.
    `trace` is the `traceparent` of the attempt, which the replies of a remote worker carry.
    """

    lease: Lease
    outcome: Outcome
    ordinal: int = 1
    entries: tuple[NewEvent, ...] = ()
    usage: Usage = NO_USAGE
    throttled: bool = False
    trace: str | None = None


class LeaseStatus(StrEnum):
    """The answer to a heartbeat, for one lease."""

    HELD = "held"
    CANCEL = "cancel"  # held, and its job is to be cancelled
    LOST = "lost"
