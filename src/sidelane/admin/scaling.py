"""Scaling as operators see it: the load of queues, what it wants of a group, and the journal of changes with their reasons."""

import asyncio
import json
import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sidelane.admin.arrivals import MIN_RUN_TIME
from sidelane.client.declarations import DECLARATIONS, load_declarations
from sidelane.model.codec import rfc3339
from sidelane.model.history import MINUTE, Count, HistoryCell, HistoryQuery, histogram
from sidelane.model.job import Query, State
from sidelane.model.json_text import dump_json
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.shared_state import JournalAppend
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo
from sidelane.sizing.scaling import (
    DEFAULT_RUN_TIME,
    MAX_RATE_WINDOW,
    MIN_RATE_WINDOW,
    Bounds,
    Decision,
    QueueLoad,
    decide,
)
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import without_internal

SCALINGS: Final = "scalings"
"""Name of the journal of changes, each a JSON object with the members of `Scaling` except `at`."""

MAX_SCALINGS: Final = 1000
"""Changes that the journal keeps."""

MAX_GAP: Final = 60.0
"""Seconds between two reads after which the counts of the first are too old for a rate."""

MAX_RUNNING: Final = 50
"""Running jobs of a queue from whose ages its run time is estimated."""

UNBOUNDED: Final = Bounds(0, 1_000_000)
"""Bounds of workers whose number something else bounds."""

Process = tuple[str, int]
"""The host and the id of a process."""

QueueTask = tuple[str, str]
"""A queue and a task."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """One change of the number of processes of a group."""

    at: float
    host: str
    group: str
    before: int
    after: int
    reason: str
    capped_by: str = ""

    def document(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {**asdict(self), "at": rfc3339(self.at)}


@dataclass(frozen=True, slots=True)
class StoreLoad:
    """The loads of all queues, each for a process with one slot, and the live workers that take ordinary jobs."""

    queues: Mapping[str, QueueLoad]
    workers: Sequence[WorkerInfo]

    def of(self, queue: str) -> QueueLoad:
        """Return the load of a queue, which is none if the store has never seen it."""
        return self.queues.get(queue) or QueueLoad(name=queue)

    def slots_of(self, queue: str) -> int:
        """Return the slots of all live workers for a queue."""
        return sum(worker.queues.get(queue, 0) for worker in self.workers)

    def decide(self, processes: Collection[Process], bounds: Bounds) -> Decision | None:
        """Return what the load wants of a group with these processes, or None if none of them is a live worker yet.

        What the group serves is what its workers say. Of a queue that other workers serve too, the group takes the part that it
        has of the queue's slots.
        """
        own = [worker for worker in self.workers if (worker.host, worker.pid) in processes]
        if not own:
            return None
        newest = max(own, key=lambda worker: worker.started)
        loads = [
            replace(self.of(name), slots=slots, share=sum(worker.queues.get(name, 0) for worker in own) / self.slots_of(name))
            for name, slots in without_internal(newest.queues).items()
        ]  # fmt: skip
        running = sum(worker.running for worker in own)
        return decide(loads, bounds, slots=newest.slots, running=running, processes=len(own))

    def wanted(self, queues: Collection[str], slots: int) -> Decision:
        """Return what the load of queues wants of workers with so many slots each, however many workers there are."""
        workers = [worker for worker in self.workers if any(name in worker.queues for name in queues)]
        loads = [
            replace(self.of(name), slots=max((worker.queues.get(name, 0) for worker in workers), default=0) or slots)
            for name in queues
        ]  # fmt: skip
        # workers may run jobs of other queues too, and jobs at external workers take no slot
        running = min(sum(load.running for load in loads), sum(worker.running for worker in workers))
        return decide(loads, UNBOUNDED, slots=slots, running=running, processes=len(workers))


@dataclass(frozen=True, slots=True)
class _Counts:
    """Attempts of a queue that started and that ended, and the seconds of those that ended."""

    started: int = 0
    ended: int = 0
    seconds: float = 0.0

    def __add__(self, other: "_Counts") -> "_Counts":
        return _Counts(self.started + other.started, self.ended + other.ended, self.seconds + other.seconds)

    def __sub__(self, other: "_Counts") -> "_Counts":
        return _Counts(self.started - other.started, self.ended - other.ended, self.seconds - other.seconds)


_NONE: Final = _Counts()


@dataclass(frozen=True, slots=True)
class _Sample:
    """What was counted of each queue until a time, and its ready jobs then, which are unknown of a time before the first read."""

    at: float
    counts: Mapping[str, _Counts]
    ready: Mapping[str, int] | None = None

    def of(self, queue: str) -> _Counts:
        return self.counts.get(queue, _NONE)


class LoadReader:
    """Reads the load of a store repeatedly, and remembers counts for five minutes, so that rates are those of the last seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._samples: deque[_Sample] = deque()
        self._external: frozenset[QueueTask] = frozenset()

    async def read(self) -> StoreLoad:
        """Return the present load. Raises `StoreError`."""
        store = self._store
        schedules, stats, workers, limits, totals, (declarations,) = await asyncio.gather(
            store.list_schedules(), store.stats(), store.workers(), store.limits(), store.totals(),
            store.read_values([DECLARATIONS]),
        )  # fmt: skip
        queues = [queue for queue in stats if not queue.name.startswith(INTERNAL_PREFIX)]
        now = schedules.now
        ready = {queue.name: queue.ready for queue in queues}
        self._external = frozenset(_task(cell) for cell in totals if cell.counts.get(Count.DISPATCHED))
        await self._remember(_Sample(now, self._by_queue(totals), ready))
        targets = load_declarations(declarations).target_waits
        limit = _limits_with_waiting_jobs(limits)
        loads = [await self._load(queue, now, targets.get(queue.name), limit) for queue in queues]
        return StoreLoad({load.name: load for load in loads}, [worker for worker in workers if _takes_jobs(worker)])

    async def _remember(self, sample: _Sample) -> None:
        """Add a sample. Without one of the last minute, reconstruct those of the last minutes from the history."""
        if not self._samples or not 0 <= sample.at - self._samples[-1].at <= MAX_GAP:
            query = HistoryQuery(since=sample.at - MAX_RATE_WINDOW, until=sample.at + MINUTE)
            self._samples = deque(self._past_samples(sample, await self._store.history(query)))
        while self._samples and self._samples[0].at < sample.at - MAX_RATE_WINDOW - MAX_GAP:
            self._samples.popleft()
        self._samples.append(sample)

    def _past_samples(self, sample: _Sample, cells: Sequence[HistoryCell]) -> Iterator[_Sample]:
        """Yield what was counted until the begin of each of the last minutes, oldest first: less than now by what came later."""
        first = math.ceil((sample.at - MAX_RATE_WINDOW) / MINUTE) * MINUTE
        for at in range(first, math.floor(sample.at) + 1, MINUTE):
            later = self._by_queue(cell for cell in cells if cell.at >= at)
            yield _Sample(at, {queue: counts - later.get(queue, _NONE) for queue, counts in sample.counts.items()})

    def _by_queue(self, cells: Iterable[HistoryCell]) -> dict[str, _Counts]:
        """Return the counts of each queue, without those of external tasks, whose attempts take no slot while they run."""
        found: dict[str, _Counts] = {}
        for cell in cells:
            if _task(cell) not in self._external:
                runs = histogram(cell.counts, Count.RUN)
                counts = _Counts(cell.counts.get(Count.STARTED, 0), runs.count, runs.total)
                found[cell.series.queue] = found.get(cell.series.queue, _NONE) + counts
        return found

    async def _load(self, queue: QueueStats, now: float, target_wait: float | None, limit: str) -> QueueLoad:
        run_time = self._recent_run_time(queue.name)
        if run_time is None:
            run_time = await self._estimated_run_time(queue, now)
        run_time = max(run_time, MIN_RUN_TIME)
        window = min(max(run_time, MIN_RATE_WINDOW), MAX_RATE_WINDOW)
        return QueueLoad(
            name=queue.name, arrivals=self._arrivals(queue.name, window), run_time=run_time, ready=queue.ready,
            running=queue.running, waiting_for_limit=queue.waiting_for_limit,
            limit=limit if queue.waiting_for_limit else "", paused=queue.paused, target_wait=target_wait,
        )  # fmt: skip

    def _arrivals(self, queue: str, window: float) -> float:
        """Return how many jobs per second became able to start: those that started, and those by which the ready ones grew.

        So jobs that are delayed, or that a limit holds, do not count before their time.
        """
        last, first = self._samples[-1], self._sample_before(window)
        started = last.of(queue).started - first.of(queue).started
        grown = 0 if first.ready is None or last.ready is None else last.ready.get(queue, 0) - first.ready.get(queue, 0)
        return max(0.0, (started + grown) / (last.at - first.at)) if last.at > first.at else 0.0

    def _recent_run_time(self, queue: str) -> float | None:
        """Return the mean seconds of the attempts that ended in the last five minutes, or None without one."""
        recent = self._samples[-1].of(queue) - self._sample_before(MAX_RATE_WINDOW).of(queue)
        return recent.seconds / recent.ended if recent.ended > 0 else None

    async def _estimated_run_time(self, queue: QueueStats, now: float) -> float:
        """Return the mean seconds of all attempts that have ever ended, and at least what the running jobs show."""
        total = self._samples[-1].of(queue.name)
        found = total.seconds / total.ended if total.ended else None
        if queue.running:
            query = Query(states=frozenset({State.RUNNING}), queue=queue.name, limit=MAX_RUNNING)
            running = await self._store.list_jobs(query)
            ages = [now - job.started for job in running if job.started is not None and job.worker]
            if ages:
                # on average, a running job has run for half of its time
                found = max(found or 0.0, 2 * sum(ages) / len(ages))
        return DEFAULT_RUN_TIME if found is None else found

    def _sample_before(self, seconds: float) -> _Sample:
        """Return the newest sample that is at least so many seconds older than the last, or else the oldest one."""
        end = self._samples[-1].at - seconds
        return next((each for each in reversed(self._samples) if each.at <= end), self._samples[0])


def _limits_with_waiting_jobs(limits: Iterable[LimitStats]) -> str:
    """Return the limit for which jobs wait, or the names of several, because a store does not count by queue for which."""
    waiting = [each.id for each in limits if each.waiting]
    return waiting[0] if len(waiting) == 1 else " or ".join(sorted({each.partition("/")[0] for each in waiting}))


def _takes_jobs(worker: WorkerInfo) -> bool:
    """Return whether a worker takes ordinary jobs, now or once it is open."""
    return worker.takes_jobs and not worker.health.startswith("draining")


async def record_scaling(store: Store, scaling: Scaling) -> None:
    """Append a change to the journal, which gives it the store's time."""
    entry = {name: value for name, value in asdict(scaling).items() if name != "at"}
    await store.append_entries(JournalAppend(journal=SCALINGS, texts=[dump_json(entry)], cap=MAX_SCALINGS))


async def read_scalings(store: Store, limit: int) -> list[Scaling]:
    """Return the newest changes, newest first."""
    return [Scaling(at=entry.at, **json.loads(entry.text)) for entry in await store.read_journal(SCALINGS, limit=limit)]


def _task(cell: HistoryCell) -> QueueTask:
    return cell.series.queue, cell.series.task
