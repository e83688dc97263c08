"""How an attempt ended, and what a worker reports of it."""

from dataclasses import dataclass
from enum import StrEnum

from sidelane.model.event import NewEvent
from sidelane.model.job import Failure, JobSpec, Lease


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The task returned. `result` is JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Retried:
    """The task failed and may try again in `delay` seconds. Costs one of its failures."""

    failure: Failure
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The task failed for good."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt ended because someone asked for it."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gives the job back unharmed, to start again in `delay` seconds. Costs nothing."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The child process that ran the task ended unasked, while its worker lives. Counts as a lost lease (rules 7)."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The attempt goes on outside: whoever shows its lease ends it within `timeout` seconds, else that is a loss (rules 12).

    `sending` is submitted in the same step: the job that tells the outside. It has an id of its own.
    """

    timeout: float
    sending: JobSpec


Outcome = Succeeded | Retried | Failed | Cancelled | Released | Lost | Dispatched


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAppend:
    """Entries for a job's log. `ordinal` numbers the first of them among all entries of this attempt, from 1 (rules 3)."""

    lease: Lease
    ordinal: int
    entries: tuple[NewEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """The end of one attempt, with its last entries (numbered as in `Append`): one atomic step."""

    lease: Lease
    outcome: Outcome
    ordinal: int = 1
    entries: tuple[NewEvent, ...] = ()


class LeaseStatus(StrEnum):
    """What a heartbeat says of a lease."""

    HELD = "held"
    CANCEL = "cancel"  # held, and someone asked the job to stop
    LOST = "lost"
