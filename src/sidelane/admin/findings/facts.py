"""Facts: everything that findings are about, as read once from a store, or as a test builds it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sidelane.client.declarations import Declarations
from sidelane.client.pauses import Pause
from sidelane.model.history import Count, Counts, HistoryCell, merged
from sidelane.model.job import JobRecord
from sidelane.model.schedule import ScheduleRecord
from sidelane.model.store_info import StoreInfo
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo

RECENT = 900.0
"""Seconds of history that facts have by the minute, and for which a worker that died is shown."""

LATELY = 300.0
"""Seconds of this history by which rates are computed."""

UNKNOWN_STORE = StoreInfo(kind="", version="", size=None, jobs=0, failed=0)


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """A worker process that died: when, its name, how, and its memory in bytes if that is known.

    `jobs` are ids of jobs that it was running, at most `MAX_EXIT_JOBS`.
    """

    at: float
    worker: str
    reason: str
    memory: int = 0
    id: str = ""
    host: str = ""
    release: str = ""
    jobs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SizeSample:
    """The size of a store and the free space of its disk in bytes at one time; None if unknown."""

    at: float
    used: int | None
    disk_free: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The state of a store and of its workers at the time `now` of the store's clock.

    `recent` has cells of a minute of the last `RECENT` seconds, and `day` has cells of an hour of the last day. `running` jobs have
    no histories, `failed` ones have their last failures and no arguments; both are without internal jobs. `server_changed` is when
    the store's server restarted or was replaced. `alert_error` is why alerts do not arrive.
    """

    now: float
    declared: Declarations = field(default_factory=Declarations)
    queues: Sequence[QueueStats] = ()
    workers: Sequence[WorkerInfo] = ()
    limits: Sequence[LimitStats] = ()
    schedules: Sequence[ScheduleRecord] = ()
    recent: Sequence[HistoryCell] = ()
    day: Sequence[HistoryCell] = ()
    running: Sequence[JobRecord] = ()
    failed: Sequence[JobRecord] = ()
    failed_callbacks: Sequence[JobRecord] = ()
    exits: Sequence[WorkerExit] = ()
    paused_tasks: Collection[str] = ()
    paused_batches: Mapping[str, Pause] = field(default_factory=dict)
    store: StoreInfo = field(default=UNKNOWN_STORE)
    durability_warnings: Sequence[str] = ()
    samples: Sequence[SizeSample] = ()
    server_changed: float | None = None
    alert_error: str = ""

    def workers_of(self, queue: str) -> list[WorkerInfo]:
        """Return the workers that take ordinary jobs of a queue."""
        return [each for each in self.workers if each.takes_jobs and queue in each.queues]

    def queue(self, name: str) -> QueueStats:
        """Return the statistics of a queue, which are zero if the store has never seen it."""
        return next((each for each in self.queues if each.name == name), QueueStats(name=name))

    def cells_since(self, seconds: float) -> Iterator[HistoryCell]:
        """Yield the cells of the last minutes that begin at most `seconds` ago."""
        return (cell for cell in self.recent if cell.at >= self.now - seconds)

    def has_recovered(self, cells: Collection[HistoryCell], failures: Collection[Count], at_least: int) -> bool:
        """Return whether jobs succeed again: `at_least` so many, in the minutes after the last one with any of these failures.

        There must be so many that about three failures would be among them if the share of failures were as before.
        """
        last = max((cell.at for cell in cells if cell.counts.keys() & set(failures)), default=0.0)
        before = merged(cell.counts for cell in cells if cell.at <= last)
        succeeded = sum(cell.counts.get(Count.SUCCEEDED, 0) for cell in cells if cell.at > last)
        failed = sum(before.get(count, 0) for count in failures)
        return succeeded >= at_least and succeeded * failed >= 3 * (failed + before.get(Count.SUCCEEDED, 0))

    def lately(self, queue: str) -> "Rates":
        """Return what happened to the jobs of a queue in the last five minutes."""
        first = min((cell.at for cell in self.cells_since(LATELY)), default=self.now)
        counts = merged(cell.counts for cell in self.cells_since(LATELY) if cell.series.queue == queue)
        return Rates(counts, self.now - first)


@dataclass(frozen=True, slots=True)
class Rates:
    """Counts of some seconds, as rates per second."""

    counts: Counts
    seconds: float

    @property
    def arrivals(self) -> float:
        return self._rate(Count.SUBMITTED) + self._rate(Count.REQUEUED)

    @property
    def starts(self) -> float:
        return self._rate(Count.STARTED)

    def _rate(self, count: Count) -> float:
        return self.counts.get(count, 0) / self.seconds if self.seconds >= 1 else 0.0
