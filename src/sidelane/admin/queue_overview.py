"""Queues against their targets: how long jobs wait and for what, how fast they come and start, and which users are in line."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from sidelane.admin.documents import Document, queue_document
from sidelane.admin.figures import Chart, Figures, History, read_history
from sidelane.admin.queues import list_queues
from sidelane.admin.timeline import WAITS, time_spent
from sidelane.client.declarations import DECLARATIONS, load_declarations
from sidelane.model.durations import HOUR, MINUTE
from sidelane.model.history import Count
from sidelane.model.job import JobRecord, Query, State
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.worker import QueueStats, WorkerInfo
from sidelane.stores.contract import Store

LATELY: Final = 5 * MINUTE
"""Seconds by which rates of arrival and start are computed."""

MAX_SCANNED: Final = 2000
"""The newest jobs of an index that are looked at to find which limits hold jobs, or which users are in line."""

MAX_JOBS: Final = 500
"""Of these, the jobs that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOverview:
    """One queue. Durations are in seconds and rates per second; `chart` is of the period that the queue is judged by.

    `slots` is how many of its jobs the live workers can run at the same time. `held_by` names the limits for which the newest of
    its queued jobs wait, most jobs first. `lately` are the figures by which rates are computed.
    """

    stats: QueueStats
    target: float | None
    slots: int
    held_by: Sequence[str]
    chart: Chart
    lately: Figures

    @property
    def wait(self) -> float | None:
        """The wait that its target is about, or in a paused queue the wait of its oldest job."""
        return self.stats.oldest if self.stats.paused else self.stats.head_wait

    @property
    def wait_p50(self) -> float | None:
        quantiles = self.chart.figures.wait
        return None if quantiles is None else quantiles.p50

    @property
    def wait_p95(self) -> float | None:
        quantiles = self.chart.figures.wait
        return None if quantiles is None else quantiles.p95

    @property
    def misses_target(self) -> bool:
        """Whether a job that could start has waited longer than it may."""
        waited = self.stats.head_wait
        return self.target is not None and not self.stats.paused and waited is not None and waited > self.target

    @property
    def arrivals(self) -> float:
        return self.lately.rate(Count.SUBMITTED, Count.REQUEUED)

    @property
    def starts(self) -> float:
        return self.lately.rate(Count.STARTED)

    @property
    def started(self) -> Sequence[int]:
        """Started jobs, for each point of the chart."""
        return self.chart.started

    @property
    def clear_in(self) -> float | None:
        """In how many seconds no ready job is left at these rates, or None if the queue is empty, paused or grows."""
        surplus = self.starts - self.arrivals
        return self.stats.ready / surplus if self.stats.ready and surplus > 0 and not self.stats.paused else None


def queue_overviews(
    queues: Iterable[QueueStats],
    workers: Iterable[WorkerInfo],
    history: History,
    *,
    target_waits: Mapping[str, float],
    waiting: Iterable[JobRecord],
) -> list[QueueOverview]:
    """Return the queues without internal ones, those with a target first, then by name. `waiting` are some queued jobs."""
    charts, slots, held, until = history.by_queue(), _slots(workers), _held_by(waiting), history.period.until
    found = []
    for queue in queues:
        if not queue.name.startswith(INTERNAL_PREFIX):
            chart = charts.get(queue.name) or Chart(history.period, [])
            overview = QueueOverview(
                stats=queue, target=target_waits.get(queue.name), slots=slots.get(queue.name, 0),
                held_by=held.get(queue.name, ()), chart=chart, lately=chart.between(until - LATELY, until),
            )  # fmt: skip
            found.append(overview)
    return sorted(found, key=lambda each: (each.target is None, each.stats.name))


async def jobs_waiting_for_limits(store: Store) -> Sequence[JobRecord]:
    """Return the newest jobs of the store that wait for a limit. Raises `StoreError`."""
    page = await store.search_jobs(Query(states=frozenset({State.QUEUED}), limit=MAX_JOBS), scan=MAX_SCANNED)
    return [record for record in page.records if record.waiting_for_limit is not None]


async def read_overview(store: Store, name: str) -> QueueOverview | None:
    """Return one queue with its figures of the last hour, or None for an unknown name. Raises `StoreError`."""
    queues, workers = await list_queues(store)
    (declared,) = await store.read_values([DECLARATIONS])
    found = queue_overviews(
        [queue for queue in queues if queue.name == name], workers, await read_history(store, HOUR, queue=name),
        target_waits=load_declarations(declared).target_waits, waiting=await jobs_waiting_for_limits(store),
    )  # fmt: skip
    return found[0] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInLine:
    """The jobs of one user in a queue: how many wait, how many of these for a limit, how many run, and how many started lately.

    `wait` is the median time in seconds that those waited which started, for a limit too. `user` is None for jobs without a user.
    """

    user: str | None
    waiting: int
    held: int
    running: int
    started: int
    wait: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """The users of a queue, those with most jobs first. `jobs` were read; `complete` tells whether the queue has no others."""

    users: Sequence[UserInLine]
    jobs: int
    complete: bool


def queue_overview_document(queue: QueueOverview, workers: Sequence[WorkerInfo]) -> Document:
    """Return a queue as a JSON document. Durations are seconds, rates are per second."""
    return {
        **queue_document(queue.stats, workers),
        "target_wait": queue.target,
        "wait": queue.wait,
        "misses_target": queue.misses_target,
        "wait_p50": queue.wait_p50,
        "wait_p95": queue.wait_p95,
        "arrival_rate": queue.arrivals,
        "start_rate": queue.starts,
        "clear_in": queue.clear_in,
        "slots": queue.slots,
        "held_by": list(queue.held_by),
    }


def overview_document(queue: QueueOverview, line: Line, workers: Sequence[WorkerInfo]) -> Document:
    """Return a queue with its users in line as a JSON document."""
    return {
        **queue_overview_document(queue, workers),
        "users": [asdict(user) for user in line.users],
        "users_complete": line.complete,
    }


async def read_line(store: Store, queue: str, now: float) -> Line:
    """Return the users of the running and of the newest jobs of a queue at the time `now`. Raises `StoreError`."""
    running = await store.search_jobs(
        Query(states=frozenset({State.RUNNING}), queue=queue, limit=MAX_JOBS), scan=MAX_SCANNED
    )
    newest = await store.search_jobs(Query(queue=queue, limit=MAX_JOBS), scan=MAX_SCANNED)
    by_id = {record.id: record for record in (*running.records, *newest.records)}
    by_user: dict[str | None, list[JobRecord]] = defaultdict(list)
    for record in by_id.values():
        by_user[record.spec.user].append(record)
    users = [_in_line(user, records, now) for user, records in by_user.items()]
    users.sort(key=lambda each: (-each.waiting - each.running, -each.started, each.user or ""))
    return Line(users, len(by_id), complete=newest.before is None)


def _in_line(user: str | None, records: Sequence[JobRecord], now: float) -> UserInLine:
    queued = [each for each in records if each.state is State.QUEUED]
    started = [each for each in records if each.started is not None and each.started >= now - HOUR]
    waits = [_waited(each, now) for each in started]
    return UserInLine(
        user=user,
        waiting=len(queued),
        held=sum(each.waiting_for_limit is not None for each in queued),
        running=sum(each.state is State.RUNNING for each in records),
        started=len(started),
        wait=median(waits) if waits else None,
    )


def _waited(record: JobRecord, now: float) -> float:
    spent = time_spent(record, now)
    return sum(spent.get(phase, 0.0) for phase in WAITS)


def _slots(workers: Iterable[WorkerInfo]) -> Counter[str]:
    slots: Counter[str] = Counter()
    for worker in workers:
        if worker.takes_jobs:
            slots.update(worker.queues)
    return slots


def _held_by(waiting: Iterable[JobRecord]) -> dict[str, list[str]]:
    """Return the names of the limits that hold these jobs, by queue, most jobs first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in waiting:
        if record.waiting_for_limit is not None:
            counts[record.spec.queue][record.waiting_for_limit.partition("/")[0]] += 1
    return {queue: [name for name, _ in found.most_common()] for queue, found in counts.items()}
