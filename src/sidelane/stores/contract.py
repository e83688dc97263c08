"""The contract every store meets, at the level of meaning.

Calls are batched and each item has its own answer. Every call may be repeated without harm, because a reply may be lost. The
store's clock counts: durations go in, times come out. What the words mean exactly is `sidelane.conformance`.

Every verb raises `StoreUnavailable` when the store cannot be reached (nothing was done, or a repeat is harmless) and
`StoreUnusable` when it never will be.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.event import Cursor, EventPage
from sidelane.model.job import JobRecord, JobSpec, Lease, Query, Rejection, Submission, Tombstone
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleTick
from sidelane.model.worker import ClaimRequest, Claims, LimitStats, QueuePosition, QueueStats, SweepResult, WorkerInfo


def job_topic(job_id: str) -> str:
    """The topic that is hinted at when a job's log or state has changed."""
    return f"job:{job_id}"


def queue_topic(queue: str) -> str:
    """The topic that is hinted at when a queue may have something to claim.

    A store may wake one of those who watch a queue and have room, rather than all. Who was woken is woken again after its next
    claim; what a claim leaves behind for want of room wakes another.
    """
    return f"queue:{queue}"


def worker_topic(worker: str) -> str:
    """The topic that is hinted at when one of a worker's running jobs is asked to stop."""
    return f"worker:{worker}"


def batch_topic(batch_id: str) -> str:
    """The topic that is hinted at when a job of a batch has come or ended, or the batch was sealed."""
    return f"batch:{batch_id}"


class Subscription(Protocol):
    """Hints for the topics of one watch. They may be lost, doubled or late; what they hint at is in the store."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a hint since the last call; false when `timeout` seconds passed without one."""
        ...


class JobSource(Protocol):
    """The worker's side: these verbs are enough to run jobs."""

    async def claim(self, request: ClaimRequest) -> Claims:
        """Take jobs that are ready: priority first, then users in turn, then age. Each gets a new attempt and lease."""
        ...

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        """Renew these leases for `lease` seconds and say how each stands. A worker whose health is "stopped" is forgotten."""
        ...

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        """Write entries to the logs of running jobs; false where the lease was lost. What was seen before is ignored."""
        ...

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        """End attempts: state, last entries and follow-ups in one step, or nothing and false where the lease was lost.

        One that is handed over goes on under its lease, which no worker holds or renews any more: it runs out in the time given.
        """
        ...

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        """Be woken when one of these topics changes. No change after the watch is open goes without a hint, barring faults."""
        ...

    async def close(self) -> None:
        """Let go of everything; calls under way end first."""
        ...


class Batches(Protocol):
    """Jobs that are counted together. They join by `JobSpec.batch`."""

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        """Make a batch that jobs may join; an id that is known answers with the batch that has it.

        Raises `JobRefused` where it cannot be kept, or one of its follow-ups could not be.
        """
        ...

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        """Let no more jobs join. A batch ends in the step that seals it, or that ends the last of its jobs."""
        ...

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        """Look a batch up."""
        ...


class Schedules(Protocol):
    """What fires by itself. Who fires is open: any process may, and a step counts once (rules 13)."""

    async def upsert_schedule(self, schedule: Schedule) -> None:
        """Keep a schedule, new or changed. One that is known by its name, or was by an alias, goes on from its last firing.

        Raises `JobRefused` where it cannot be kept, or its job could not be.
        """
        ...

    async def list_schedules(self) -> ScheduleList:
        """List all schedules by name, with the store's own time."""
        ...

    async def fire(self, firing: ScheduleTick) -> bool:
        """Take a step of a schedule and submit its jobs; false where it was taken already, or the schedule is disabled or gone.

        The jobs pass `max_queued`.
        """
        ...

    async def set_schedule_enabled(self, name: str, enabled: bool = True) -> bool:
        """Let a schedule fire, from now on, or no more; false where there is none of this name."""
        ...

    async def delete_schedule(self, name: str) -> bool:
        """Forget a schedule; false where there is none of this name."""
        ...


class Store(JobSource, Batches, Schedules, Protocol):
    """The system of record."""

    @property
    def description(self) -> str:
        """What keeps the jobs here, and in which version, for people to read."""
        ...

    @property
    def durability_warnings(self) -> Sequence[str]:
        """What could lose jobs the way the store was set up when it was opened: half a sentence each about "the store"."""
        ...

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        """Make jobs durable. An id that is known, or a unique key that is taken, answers with the job that has it.

        Else a full queue or a limit that rejects refuses it, and one that replaces stops older jobs for it. A spec with `remember`
        whose id is that of a removed job is refused with 410.
        """
        ...

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """Cancel queued jobs and handed-over ones at once and ask running ones to stop; finished ones stay as they are."""
        ...

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Rejection | None]:
        """Bring finished jobs back to queued, with fresh budgets and, where given, other arguments; unfinished ones stay as is."""
        ...

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        """Forget finished jobs before their time; false for one that is unfinished, has unfinished children, or is not there."""
        ...

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
        """Look jobs up."""
        ...

    async def list_jobs(self, query: Query) -> list[JobRecord]:
        """Find jobs, newest first. Their history is left empty."""
        ...

    async def queue_position(self, job_id: str) -> QueuePosition | None:
        """Tell how many ready jobs of its queue stand before a ready job (by priority, then age), counted up to 1,000."""
        ...

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> EventPage | None:
        """Read a job's log after a cursor: up to `limit` events, fewer where they are large. The end is its last event.

        None when there is no such job.
        """
        ...

    async def touch_listeners(self, ids: Sequence[str]) -> None:
        """Say that someone listens to these jobs now: their `abandon_after` starts anew."""
        ...

    async def pause(self, queue: str, paused: bool = True) -> None:
        """Stop or resume handing out jobs of a queue, everywhere and at once."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """List the workers that are alive."""
        ...

    async def stats(self) -> list[QueueStats]:
        """Count the unfinished jobs of every queue the store has seen."""
        ...

    async def limits(self) -> list[LimitStats]:
        """List the limits that have anything taken or waiting now, by id."""
        ...

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        """Do what time asks for: take back expired leases, end what is too late, forget what was kept long enough.

        Idempotent, for any process at any time. `lease` is the duration of leases on this store in seconds (rules 5).
        """
        ...

    async def get_or_set(self, name: str, value: str) -> str:
        """Keep a value under a name, or give the one that is already there."""
        ...
