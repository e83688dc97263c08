"""Reference state of a job and of a batch."""

from dataclasses import dataclass, field

from sidelane.model.batch import BatchSpec
from sidelane.model.event import LOG, PROGRESS, TRUNCATED_EVENT, NewEvent
from sidelane.model.job import JobSpec, Lease, State


@dataclass(slots=True)
class ExpectedEvent:
    """An event: name, data (for an end: the state), and a key for the part of the log that shares an epoch."""

    name: str
    data: str
    epoch_key: tuple[int, int]


@dataclass(slots=True, kw_only=True)
class ReferenceJob:
    """One job."""

    spec: JobSpec
    submitted: float
    due: float
    state: State = State.QUEUED
    attempt: int = 0
    failures: int = 0
    worker_losses: int = 0
    isolated: bool = False
    ends: int = 0
    ended: float = 0.0
    listened: float | None = None
    cancel_requested: bool = False
    worker: str | None = None
    lease: Lease | None = None
    external_lease: float | None = None  # external until this time
    finished_lease: Lease | None = None  # of the last result that counted, until the next claim or requeue
    reported: set[Lease] = field(default_factory=set)  # every lease whose result counted
    seen: int = 0  # entries of this attempt
    gaps: int = 0  # gaps in the ordinals of this attempt
    log_size: int = 0  # bytes of its events, also of the one that truncated its log
    result: str | None = None
    progress: str | None = None
    log: list[ExpectedEvent] = field(default_factory=list)
    removed: bool = False

    def write(self, entry: NewEvent) -> None:
        """Write one event, or a truncated event if it is the first that exceeds the maximum size of the log."""
        if self.log_size > self.spec.max_log_size:
            return
        if entry.name != LOG:
            self.log_size += len(entry.name.encode()) + len(entry.data.encode())
        fits = self.log_size <= self.spec.max_log_size
        written = entry if fits else TRUNCATED_EVENT
        self.log.append(ExpectedEvent(written.name, written.data, (self.attempt, self.gaps)))
        if written.name == PROGRESS:
            self.progress = written.data

    def is_expired(self, now: float) -> bool:
        """Return True if this queued job can only fail."""
        spec = self.spec
        unstarted = spec.expires is not None and self.attempt == 0 and now > self.submitted + spec.expires
        return unstarted or (spec.deadline is not None and now > self.submitted + spec.deadline)


@dataclass(slots=True, kw_only=True)
class ReferenceBatch:
    """One batch; its counts come from its jobs."""

    spec: BatchSpec
    sealed: bool = False
    ended: bool = False
    ends: int = 0
