"""Batches: jobs that are submitted together, and counted until the last of them has ended."""

from dataclasses import dataclass

from sidelane.model.job import DAY, FollowUp, State


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """The submitted data of a batch: its user, its retention after its end (seconds), and the jobs that its end submits.

    A batch ends as succeeded if all its jobs succeeded, else as failed.
    """

    id: str
    user: str | None = None
    retention: float = 7 * DAY
    follow_ups: tuple[FollowUp, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One batch as the store keeps it. Times are seconds since 1970 by the store's clock.

    Jobs join a batch until it is `sealed`. A sealed batch ends when its last job ends. A requeued job opens the batch again.
    """

    spec: BatchSpec
    submitted: float
    sealed: bool = False
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    ends: int = 0
    ended: float | None = None
    paused: bool = False  # its jobs do not start

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def unfinished(self) -> int:
        """Number of the batch's jobs that have not ended."""
        return self.total - self.succeeded - self.failed - self.cancelled

    @property
    def state(self) -> State:
        """ "running" until the batch has ended, then its final state."""
        if self.ended is None:
            return State.RUNNING
        return State.SUCCEEDED if self.succeeded == self.total else State.FAILED
