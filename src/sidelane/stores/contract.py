"""Store contract: the protocol that every store implements. `sidelane.conformance` defines its exact behaviour in tests.

Calls are batched, and each item has its own result. A reply may be lost, so every call may safely be repeated. Arguments are
durations and results are times, both in seconds as float. Times are those of the store's clock.

Every method raises `StoreUnavailable` while the store cannot be reached and `StoreMisconfigured` if it can never be used.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.event import Cursor, EventPage
from sidelane.model.history import HistoryCell, HistoryQuery, UserUsage
from sidelane.model.job import JobPage, JobRecord, JobSpec, Lease, Query, Rejection, Submission, Tombstone
from sidelane.model.limit_override import LimitOverride
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleTick
from sidelane.model.shared_state import JournalAppend, JournalEntry, ValueChange, VersionedValue
from sidelane.model.store_info import StoreInfo
from sidelane.model.worker import ClaimRequest, Claims, LimitStats, QueuePosition, QueueStats, SweepResult, WorkerInfo


def job_topic(job_id: str) -> str:
    """Return the topic of changes to a job's event log or state."""
    return f"job:{job_id}"


def queue_topic(queue: str) -> str:
    """Return the topic of ready jobs in a queue.

    A store may notify one worker with free slots instead of all. A notified worker is eligible again after its next claim. If ready
    jobs remain after a claim, another worker is notified.
    """
    return f"queue:{queue}"


def worker_topic(worker: str) -> str:
    """Return the topic of cancel requests for a worker's running jobs."""
    return f"worker:{worker}"


def batch_topic(batch_id: str) -> str:
    """Return the topic of changes to a batch: a job was submitted or finished, or the batch was sealed."""
    return f"batch:{batch_id}"


def value_topic(name: str) -> str:
    """Return the topic of changes to a versioned value."""
    return f"value:{name}"


REQUEST_RETENTION = 600.0
"""Seconds for which a store at least remembers the changes of values and the appends to journals, in case they are repeated."""

MAX_PAGE_ITEMS = 200
"""Maximum number of values or entries of one page, whatever limit is asked for."""

MAX_PAGE_BYTES = 262_144
"""Bytes of texts in one page, which its last item may exceed."""


class Subscription(Protocol):
    """Hints for the topics of one watch. Hints may be lost, repeated or late, so read the current state from the store."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a hint since the last call. Returns False after `timeout` seconds without one."""
        ...


class JobSource(Protocol):
    """The methods that a worker needs to run jobs."""

    async def claim(self, request: ClaimRequest) -> Claims:
        """Start ready jobs by priority, then fairly by user, then by age. Each job gets a new attempt and lease."""
        ...

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        """Renew leases for `lease` seconds and return the status of each.

        A worker whose health is "stopped" is removed. The leases of a worker with an `exit` are lost at the next sweep, and the
        history of each job says how the worker died.
        """
        ...

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        """Append entries to the event logs of running jobs.

        Returns False for an append whose lease is lost. Entries that are already stored are ignored.
        """
        ...

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        """Finish attempts, with state, last entries and follow-ups in one step. Returns False, without a change, if the lease is
        lost.

        A dispatched job keeps running under its lease without a worker. The lease ends after the outcome's timeout.
        """
        ...

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to topics. Every change after the context is entered gives a hint, unless a fault loses it."""
        ...

    async def close(self) -> None:
        """Close the store after calls in progress have ended."""
        ...


class Batches(Protocol):
    """Batches of jobs that are counted together. Jobs join a batch by `JobSpec.batch`."""

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        """Create a batch that jobs may join, or return the existing one with this id.

        Raises `JobRefused` if the batch or one of its follow-ups is invalid.
        """
        ...

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        """Close a batch to new jobs. The batch ends in the step that seals it, or that finishes the last of its jobs."""
        ...

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        """Return a batch, or None for an unknown id."""
        ...

    async def pause_batch(self, batch_id: str, paused: bool = True) -> BatchRecord | None:
        """Pause or resume a batch for all workers: none of its jobs starts while it is paused, also those that join it then.

        The first jobs of a resumed batch are ready at once. Claims and sweeps make the others ready, 200 at a time.
        """
        ...


class Schedules(Protocol):
    """Schedules, which any process may fire. Each tick counts once (rule 13)."""

    async def upsert_schedule(self, schedule: Schedule) -> None:
        """Add or change a schedule. A schedule whose name or alias is known continues from its last tick.

        Raises `JobRefused` if the schedule or its job is invalid.
        """
        ...

    async def list_schedules(self) -> ScheduleList:
        """Return all schedules by name, with the store's time."""
        ...

    async def fire(self, tick: ScheduleTick) -> bool:
        """Advance a schedule by one tick and submit its jobs, regardless of `max_queued`.

        Returns False if the tick has fired before, or the schedule is disabled or unknown.
        """
        ...

    async def set_schedule_enabled(self, name: str, enabled: bool = True) -> bool:
        """Enable a schedule from now on, or disable it. Returns False for an unknown name."""
        ...

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule. Returns False for an unknown name."""
        ...


class Maintenance(Protocol):
    """Care of the database itself: its size, its free space and its backup."""

    async def info(self) -> StoreInfo:
        """Return the size of the database and how many jobs it has, without reading them all."""
        ...

    async def vacuum(self) -> None:
        """Return free space to the operating system. Other writers may wait meanwhile.

        Raises `NotSupported` if the database needs no vacuum, and `MaintenanceRefused` without enough space.
        """
        ...

    async def backup(self, path: str, *, overwrite: bool = False) -> None:
        """Copy the database to a new file, which only its owner may read, while other processes write.

        The copy has everything that was acknowledged before the call. Raises `NotSupported` if the database is copied in another
        way, and `MaintenanceRefused` without enough space, or if the file exists. `overwrite` replaces an existing file.
        """
        ...


class SharedState(Protocol):
    """Small state that processes share: versioned values, and journals that keep their newest entries.

    A text that cannot be a name names nothing, so reads find nothing.
    """

    async def read_values(self, names: Sequence[str]) -> list[VersionedValue | None]:
        """Return for each name its value, or None."""
        ...

    async def list_values(
        self, prefix: str = "", *, after: str | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[VersionedValue]:
        """Return up to `limit` values whose names have a prefix and follow the name `after`, by name.

        A page has at most 200 values, and fewer if they are large. Only an empty page means that no more values follow.
        """
        ...

    async def set_value(self, change: ValueChange) -> bool:
        """Set or delete a value if it has the version that the change replaces. Returns whether the change counts.

        Of several changes that replace the same version, exactly one counts. A change that counted returns True again if it is
        repeated within ten minutes, and changes nothing. No value ever has the same version twice, not even after a deletion.
        """
        ...

    async def append_entries(self, append: JournalAppend) -> list[int]:
        """Append entries to a journal, remove its oldest beyond the cap in the same step, and return the new numbers.

        An append that is repeated within ten minutes returns the same numbers and appends nothing.
        """
        ...

    async def read_journal(
        self, journal: str, *, before: int | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[JournalEntry]:
        """Return up to `limit` of the newest entries, or of the newest with numbers below `before`, newest first.

        A page has at most 200 entries, and fewer if they are large. Only an empty page means that no older entries exist.
        """
        ...


class LimitOverrides(Protocol):
    """Numbers of limits that operators set at run time. They bind new, queued and blocked jobs, and stop no running job.

    A change releases up to 200 jobs that may start now in the same step. Sweeps release more, and those of overrides that ended.
    """

    async def override_limit(self, override: LimitOverride) -> bool:
        """Set the numbers of a limit, in place of an override with the same id. Returns False if `MAX_OVERRIDES` others exist."""
        ...

    async def restore_limit(self, override_id: str) -> bool:
        """End an override. Returns False if there is none of this id."""
        ...

    async def limit_overrides(self) -> list[LimitOverride]:
        """Return the overrides that have not ended, by id."""
        ...


class History(Protocol):
    """Counts of what happened to jobs. The step that changes a job also counts it.

    A repeated call counts nothing again. The time of a count is the store's.
    """

    async def history(self, query: HistoryQuery) -> list[HistoryCell]:
        """Return the cells of a range, by time and series. A cell that is not over has what was counted so far."""
        ...

    async def totals(self) -> list[HistoryCell]:
        """Return for each series the counts since the store was created. No count ever falls."""
        ...

    async def top_users(self, since: float, until: float) -> list[UserUsage]:
        """Return the users with the highest amounts of each hour that overlaps the range, by hour and user."""
        ...


class Store(JobSource, Batches, Schedules, SharedState, LimitOverrides, Maintenance, History, Protocol):
    """The database of all jobs."""

    @property
    def submit_batch_size(self) -> int:
        """Maximum number of a process's concurrent submits to join into one call, for the most jobs per second."""
        ...

    @property
    def description(self) -> str:
        """The database and its version, for display."""
        ...

    @property
    def durability_warnings(self) -> Sequence[str]:
        """Settings, read when the store was opened, that could lose jobs.

        Each is a clause that follows "the store may lose jobs: ". It may end with a colon and what to do.
        """
        ...

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        """Store jobs durably. A known id or a unique key that is taken returns the existing job.

        Otherwise, a full queue or a rejecting limit rejects the job, and a replacing limit cancels older jobs for it. A spec with
        `id_retention` and the id of a removed job is rejected with 410.
        """
        ...

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        """Cancel queued and external jobs immediately, and ask running jobs to stop. Finished jobs do not change."""
        ...

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Rejection | None]:
        """Return finished jobs to their queue with failures and losses reset, and with new arguments if given."""
        ...

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        """Remove finished jobs. Returns False for a job that is unknown, unfinished, or has unfinished children."""
        ...

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
        """Return for each id a record, the tombstone of a removed job, or None."""
        ...

    async def list_jobs(self, query: Query) -> list[JobRecord]:
        """Return matching jobs, newest first. The `history` of these jobs is empty."""
        ...

    async def search_jobs(self, query: Query, *, scan: int) -> JobPage:
        """Return what `list_jobs` returns, but look at no more than the newest `scan` jobs of one index.

        There are indexes of all jobs, of those of a user, a key, a parent or a batch, of failed and of running jobs. Other
        conditions are checked for each job of the index.
        """
        ...

    async def waiting_jobs(
        self, limit_id: str, *, after: tuple[int, int] | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[JobRecord]:
        """Return up to `limit` jobs that wait for a limit, in the order in which they start.

        `after` is the priority and the `sequence` of the last job of the page before. A page has at most 200 jobs. The `history`
        of these jobs is empty.
        """
        ...

    async def queue_position(self, job_id: str) -> QueuePosition | None:
        """Count the ready jobs before a ready job of the same queue, by priority then age, up to 1,000."""
        ...

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> EventPage | None:
        """Return up to `limit` events after a cursor, or fewer if they are large.

        The end event is the last. Returns None for an unknown id.
        """
        ...

    async def read_last(self, job_id: str, *, before: int | None = None, limit: int = 500) -> EventPage | None:
        """Return up to `limit` of the newest events, or of the newest with numbers below `before`, oldest first.

        Otherwise this method is the same as `read`.
        """
        ...

    async def touch_listeners(self, ids: Sequence[str]) -> None:
        """Record that these jobs have a listener now, which restarts their `abandon_after`."""
        ...

    async def pause(self, queue: str, paused: bool = True) -> None:
        """Pause or resume a queue for all workers."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers that are alive."""
        ...

    async def stats(self) -> list[QueueStats]:
        """Return the counts of unfinished jobs for every queue the store has seen."""
        ...

    async def limits(self) -> list[LimitStats]:
        """Return the limits that are used or waited for, by id, with the numbers in force."""
        ...

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        """Expire leases, fail expired jobs, and remove jobs whose retention has passed.

        A sweep is idempotent, so any process may call it at any time. `lease` is the duration of leases on this store in seconds
        (rule 5).
        """
        ...

    async def get_or_set(self, name: str, value: str) -> str:
        """Store a value under a name, or return the existing one."""
        ...
