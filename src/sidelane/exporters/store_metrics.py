"""Metrics of a store: what its jobs, queues, workers and limits do, as all processes together see it.

No metric has a label of a user, a key or a job. The counters are the store's totals, so that each process exposes the same values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidelane.exporters.exposition import Exposition, Kind, Metric, bounded
from sidelane.model.history import BUCKETS, OTHER, Count, HistoryCell, histogram, merge
from sidelane.model.store_info import StoreInfo
from sidelane.model.worker import API, OK, WORKER, LimitStats, QueueStats, WorkerInfo
from sidelane.stores.contract import Store


def _counter(name: str, help_text: str, *more: str) -> Metric:
    return Metric(f"sidelane_{name}", Kind.COUNTER, help_text, ("queue", "task", *more))


def _histogram(name: str, help_text: str) -> Metric:
    return Metric(f"sidelane_{name}", Kind.HISTOGRAM, help_text, ("queue", "task"))


def _gauge(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(f"sidelane_{name}", Kind.GAUGE, help_text, labels)


REFUSED: Final = _counter("jobs_refused_total", "Submits that were refused.", "reason")
ENDED: Final = _counter("jobs_ended_total", "Jobs that ended, by outcome. A requeued job ends again.", "outcome")
TOKENS: Final = _counter(
    "tokens_total", "Tokens of language models, as tasks report them: input or output.", "direction"
)

COUNTERS: Final[Mapping[Metric, Count]] = {
    _counter("jobs_submitted_total", "New jobs, those of follow-ups and schedules too."): Count.SUBMITTED,
    _counter("jobs_requeued_total", "Finished jobs that were returned to their queue."): Count.REQUEUED,
    _counter(
        "jobs_expired_total", "Failed jobs whose deadline or time to start passed while they were queued."
    ): Count.EXPIRED,
    _counter("attempts_started_total", "Attempts that started."): Count.STARTED,
    _counter("attempts_retried_total", "Attempts that failed and were followed by another."): Count.RETRIED,
    _counter("attempts_released_total", "Attempts that were handed back, e.g. at a deploy."): Count.RELEASED,
    _counter("attempts_lost_total", "Worker losses: leases that were swept, and processes that died."): Count.LOST,
    _counter("attempts_throttled_total", "Attempts that a provider asked to try later (429)."): Count.THROTTLED,
    _counter("attempts_dispatched_total", "Attempts that went on at an external worker."): Count.DISPATCHED,
    _counter("events_total", "Events of attempts that have ended."): Count.EVENTS,
}
"""Counters with a field of the totals."""

COUNTERS_OF_REASONS: Final[Mapping[tuple[Metric, str], Count]] = {
    (REFUSED, "queue_full"): Count.REFUSED_QUEUE_FULL,
    (REFUSED, "limit"): Count.REFUSED_LIMIT,
    (REFUSED, "other"): Count.REFUSED_OTHER,
    (ENDED, "succeeded"): Count.SUCCEEDED,
    (ENDED, "failed"): Count.FAILED,
    (ENDED, "cancelled"): Count.CANCELLED,
    (TOKENS, "input"): Count.INPUT_TOKENS,
    (TOKENS, "output"): Count.OUTPUT_TOKENS,
}
"""Counters with one more label, whose values have a field of the totals each."""

COUNTERS_OF_SUMS: Final[Mapping[Metric, tuple[Count, float]]] = {
    _counter("job_limit_wait_seconds_total", "Time that jobs waited for limits."): (Count.LIMIT_WAIT_MS, 1e-3),
    _counter("job_pause_wait_seconds_total", "Time that jobs waited in paused queues."): (Count.PAUSE_WAIT_MS, 1e-3),
    _counter("stream_seconds_total", "Time of attempts from their first event to their end."): (Count.STREAM_MS, 1e-3),
    _counter("cost_total", "Cost in the currency in which tasks report it."): (Count.COST_MICROS, 1e-6),
}
"""Counters with a field of the totals in another unit, and the factor to theirs."""

HISTOGRAMS: Final[Mapping[Metric, Count]] = {
    _histogram("job_wait_seconds", "Time from when a job was able to start to its start."): Count.WAIT,
    _histogram("attempt_run_seconds", "Time from the start of an attempt to its end."): Count.RUN,
    _histogram(
        "attempt_first_event_seconds", "Time from the start of an attempt to its first event."
    ): Count.FIRST_EVENT,
}

QUEUE_JOBS: Final = _gauge(
    "queue_jobs", "Unfinished jobs: ready, delayed, waiting_for_limit, waiting_for_batch or running.", "queue", "state"
)
OLDEST: Final = _gauge("queue_oldest_seconds", "How long the oldest ready job has waited.", "queue")
HEAD_WAIT: Final = _gauge(
    "queue_head_wait_seconds", "Longest time that a user's first ready job has been the first; 0 if paused.", "queue"
)
TARGET_WAIT: Final = _gauge("queue_target_wait_seconds", "The target wait that the queue declares.", "queue")
ESTIMATED_WAIT: Final = _gauge(
    "queue_estimated_wait_seconds", "Time until all its ready jobs have started at the present rate; +Inf if none starts.", "queue"
)  # fmt: skip
PAUSED: Final = _gauge("queue_paused", "1 if the queue is paused.", "queue")
ISOLATED: Final = _gauge("queue_isolated_jobs", "Ready jobs that cost workers and now run in a process alone.", "queue")
QUEUE_WORKERS: Final = _gauge("queue_workers", "Live workers that take jobs of the queue.", "queue")
QUEUE_SLOTS: Final = _gauge(
    "queue_slots", "Slots of live workers for the queue, which other queues may share.", "queue"
)

WORKERS: Final = _gauge(
    "workers", "Live worker processes by health: ok, opening, draining or unhealthy.", "health", "release"
)
SLOTS: Final = _gauge("worker_slots", "Slots of all live workers.")
SLOTS_USED: Final = _gauge("worker_slots_used", "Slots in which a job runs.")
API_PROCESSES: Final = _gauge("api_processes", "Live API processes.", "release")

LIMIT_USED: Final = _gauge("limit_used", "Slots in use, of all keys of the limit together.", "limit")
LIMIT_MAX: Final = _gauge("limit_max", "Slots of all keys of the limit that are in use.", "limit")
LIMIT_KEYS: Final = _gauge("limit_keys", "Keys of the limit that are in use, e.g. users.", "limit")
LIMIT_WAITING: Final = _gauge("limit_waiting_jobs", "Jobs that wait for the limit.", "limit")

STORE_INFO: Final = _gauge("store_info", "1, with the kind and the version of the store.", "kind", "version")
STORE_JOBS: Final = _gauge("store_jobs", "Jobs that the store keeps, in every state.")
DEAD_LETTERS: Final = _gauge("store_dead_letters", "Failed jobs that the store keeps.")
STORE_SIZE: Final = _gauge("store_size_bytes", "Size of the database, or memory of the store's keys.")
STORE_FREE: Final = _gauge("store_free_bytes", "Bytes of the size that hold nothing.")
STORE_MAX_SIZE: Final = _gauge("store_max_size_bytes", "The size that the database may not exceed.")
DISK_FREE: Final = _gauge("store_disk_free_bytes", "Free bytes of the disk that the store writes to.")
FINDINGS: Final = _gauge("findings", "What needs a person: urgent, soon or info.", "severity")

STORE_DETAILS: Final[Mapping[str, Metric]] = {
    "write-ahead log": _gauge("store_wal_size_bytes", "Size of the write-ahead log of SQLite."),
    "memory of the server": _gauge("store_server_memory_bytes", "Memory of the Redis or Valkey server."),
    "size of the append-only file": _gauge("store_append_only_file_size_bytes", "Size of the append-only file."),
}
"""Metrics of what only some kinds of stores have, by the name in `StoreInfo.details`."""

METRICS: Final[tuple[Metric, ...]] = (
    *COUNTERS, *dict.fromkeys(metric for metric, _ in COUNTERS_OF_REASONS), *COUNTERS_OF_SUMS, *HISTOGRAMS,
    QUEUE_JOBS, OLDEST, HEAD_WAIT, TARGET_WAIT, ESTIMATED_WAIT, PAUSED, ISOLATED, QUEUE_WORKERS, QUEUE_SLOTS,
    WORKERS, SLOTS, SLOTS_USED, API_PROCESSES, LIMIT_USED, LIMIT_MAX, LIMIT_KEYS, LIMIT_WAITING,
    STORE_INFO, STORE_JOBS, DEAD_LETTERS, STORE_SIZE, STORE_FREE, STORE_MAX_SIZE, DISK_FREE, *STORE_DETAILS.values(), FINDINGS,
)  # fmt: skip
"""Every metric of a store, in the order of the documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What one scrape reads. `target_waits` are seconds by queue, `findings` numbers by severity."""

    totals: Sequence[HistoryCell]
    queues: Sequence[QueueStats]
    limits: Sequence[LimitStats]
    processes: Sequence[WorkerInfo]
    info: StoreInfo
    target_waits: Mapping[str, float] = field(default_factory=dict)
    findings: Mapping[str, int] = field(default_factory=dict)


async def read_facts(store: Store, target_waits: Mapping[str, float], findings: Mapping[str, int]) -> StoreFacts:
    """Read a store once. Raises the errors of the store."""
    return StoreFacts(
        totals=await store.totals(),
        queues=await store.stats(),
        limits=await store.limits(),
        processes=await store.workers(),
        info=await store.info(),
        target_waits=target_waits,
        findings=findings,
    )


def store_exposition(facts: StoreFacts) -> Exposition:
    """Return the metrics of a store."""
    found = Exposition()
    _add_totals(found, facts.totals)
    _add_queues(found, facts)
    _add_processes(found, facts.processes)
    _add_limits(found, facts.limits)
    _add_store(found, facts.info)
    for severity, number in facts.findings.items():
        found.add(FINDINGS, number, severity)
    return found


def _add_totals(found: Exposition, totals: Sequence[HistoryCell]) -> None:
    """Add the totals of each queue and task. Releases are joined, because each deploy would add all series anew."""
    cells = [cell for cell in totals if cell.series.task]  # the others have maxima of a queue
    pairs = bounded(((cell.series.queue, cell.series.task) for cell in cells), (OTHER, OTHER))
    joined: dict[tuple[str, str], dict[int, int]] = {}
    for cell in cells:
        queue, task = pairs[cell.series.queue, cell.series.task]
        merge(joined.setdefault((queue or OTHER, task), {}), cell.counts)
    for labels, counts in sorted(joined.items()):
        for metric, count in COUNTERS.items():
            found.add(metric, counts.get(count, 0), *labels)
        for (metric, label), count in COUNTERS_OF_REASONS.items():
            found.add(metric, counts.get(count, 0), *labels, label)
        for metric, (count, factor) in COUNTERS_OF_SUMS.items():
            found.add(metric, counts.get(count, 0) * factor, *labels)
        for metric, first in HISTOGRAMS.items():
            durations = histogram(counts, first)
            if durations.count:
                found.histogram(metric, BUCKETS, durations.counts, durations.total, *labels)


def _add_queues(found: Exposition, facts: StoreFacts) -> None:
    workers = [each for each in facts.processes if each.kind == WORKER and not each.isolation]
    names = bounded(
        [*(queue.name for queue in facts.queues), *(name for each in workers for name in each.queues)], OTHER
    )
    for name in dict.fromkeys(names.values()):
        found.add(QUEUE_WORKERS, 0, name)
        found.add(QUEUE_SLOTS, 0, name)
    for worker in workers:
        for name, slots in worker.queues.items():
            found.add(QUEUE_WORKERS, 1, names[name])
            found.add(QUEUE_SLOTS, slots, names[name])
    for queue in facts.queues:
        name = names[queue.name]
        found.add(QUEUE_JOBS, queue.ready, name, "ready")
        found.add(QUEUE_JOBS, queue.delayed, name, "delayed")
        found.add(QUEUE_JOBS, queue.waiting_for_limit, name, "waiting_for_limit")
        found.add(QUEUE_JOBS, queue.waiting_for_batch, name, "waiting_for_batch")
        found.add(QUEUE_JOBS, queue.running, name, "running")
        found.add(ISOLATED, queue.isolated, name)
        found.largest(OLDEST, queue.oldest or 0.0, name)
        found.largest(HEAD_WAIT, queue.head_wait or 0.0, name)
        found.largest(ESTIMATED_WAIT, _estimated_wait(queue), name)
        found.largest(PAUSED, int(queue.paused), name)
        if queue.name in facts.target_waits:
            found.largest(TARGET_WAIT, facts.target_waits[queue.name], name)


def _estimated_wait(queue: QueueStats) -> float:
    if not queue.ready:
        return 0.0
    return queue.ready / queue.rate if queue.rate > 0 else math.inf


def _add_processes(found: Exposition, processes: Sequence[WorkerInfo]) -> None:
    releases = bounded((each.release for each in processes), OTHER)
    found.add(SLOTS, 0)
    found.add(SLOTS_USED, 0)
    for each in processes:
        if each.kind == API:
            found.add(API_PROCESSES, 1, releases[each.release])
        elif each.kind == WORKER:
            found.add(WORKERS, 1, _health(each.health), releases[each.release])
            if not each.isolation:  # its slot is only for isolated jobs
                found.add(SLOTS, each.slots)
                found.add(SLOTS_USED, each.running)


def _health(health: str) -> str:
    """Return a health as a label with few values."""
    if health == OK:
        return "ok"
    return next((each for each in ("opening", "draining", "drained") if health.startswith(each)), "unhealthy")


def _add_limits(found: Exposition, limits: Sequence[LimitStats]) -> None:
    """Add the limits by their names, because their keys name users."""
    names = bounded((limit.id.partition("/")[0] for limit in limits), OTHER)
    for limit in limits:
        name = names[limit.id.partition("/")[0]]
        found.add(LIMIT_USED, limit.used, name)
        found.add(LIMIT_MAX, limit.max, name)
        found.add(LIMIT_KEYS, 1, name)
        found.add(LIMIT_WAITING, limit.waiting, name)


def _add_store(found: Exposition, info: StoreInfo) -> None:
    found.add(STORE_INFO, 1, info.kind, info.version)
    found.add(STORE_JOBS, info.jobs)
    found.add(DEAD_LETTERS, info.failed)
    found.add(STORE_FREE, info.free)
    for metric, size in ((STORE_SIZE, info.size), (STORE_MAX_SIZE, info.max_size), (DISK_FREE, info.disk_free)):
        if size is not None:
            found.add(metric, size)
    for name, metric in STORE_DETAILS.items():
        detail = info.details.get(name)
        if isinstance(detail, int):
            found.add(metric, detail)
