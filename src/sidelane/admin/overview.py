"""Overview: what needs a person, the queues, the processes and the jobs that run longest, at one moment."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from sidelane.admin.documents import Document, time_text, worker_document
from sidelane.admin.figures import Figures
from sidelane.admin.findings.finding import Finding
from sidelane.admin.queue_overview import QueueOverview, queue_overview_document
from sidelane.admin.shared_reads import SharedReads
from sidelane.admin.workers import MAX_RUNNING, in_order
from sidelane.model.durations import DAY
from sidelane.model.job import JobRecord
from sidelane.model.worker import WORKER, WorkerInfo

MAX_LONGEST: Final = 20
"""Jobs that are listed because they run longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What a store is doing at the time `at`, in seconds since 1970. `day` are the figures of the last 24 hours.

    `findings` are those that are not muted. `longest` are the jobs that have run longest; unless `complete`, of the newest running
    jobs alone.
    """

    at: float
    findings: Sequence[Finding]
    queues: Sequence[QueueOverview]
    workers: Sequence[WorkerInfo]
    longest: Sequence[JobRecord]
    complete: bool
    day: Figures

    def document(self) -> Document:
        """Return a JSON document. Durations are seconds, rates are per second."""
        used, slots = used_slots(self.workers)
        return {
            "at": time_text(self.at),
            "running": used,
            "slots": slots,
            "waiting": sum(waiting_jobs(self.queues)),
            "last_24_h": self.day.document(),
            "findings": [finding.document() for finding in self.findings],
            "queues": [queue_overview_document(queue, self.workers) for queue in self.queues],
            "workers": [worker_document(worker) for worker in self.workers],
            "longest_running": [_running_document(record, self.at) for record in self.longest],
            "longest_running_complete": self.complete,
        }


async def current_overview(reads: SharedReads) -> Overview:
    """Return what a store is doing now. Raises `StoreError`."""
    findings, running = await reads.findings(), (await reads.running()).values()
    count = sum(queue.running for queue in await reads.stats())
    return Overview(
        findings=[finding for finding in findings if finding.muted_until is None],
        queues=await reads.queue_overviews(),
        workers=in_order(await reads.workers()),
        longest=sorted(chain(*running), key=lambda record: record.started or 0.0)[:MAX_LONGEST],
        complete=count <= MAX_RUNNING,
        day=(await reads.history(DAY)).all_queues.figures,
        at=time.time(),
    )


def used_slots(workers: Iterable[WorkerInfo]) -> tuple[int, int]:
    """Return how many slots of all workers are used, and how many there are."""
    found = [each for each in workers if each.kind == WORKER]
    return sum(each.running for each in found), sum(each.slots for each in found)


def waiting_jobs(queues: Iterable[QueueOverview]) -> tuple[int, int]:
    """Return how many jobs wait in queues with a target wait, and in other queues, apart from jobs that are not due."""
    counts = [0, 0]
    for queue in queues:
        counts[queue.target is None] += queue.stats.ready + queue.stats.waiting_for_limit
    return counts[0], counts[1]


def _running_document(record: JobRecord, now: float) -> Document:
    return {
        "id": record.id,
        "task": record.spec.task,
        "queue": record.spec.queue,
        "user": record.spec.user,
        "worker": record.worker,
        "attempt": record.attempt,
        "started": time_text(record.started),
        "seconds": now - (record.started or now),
    }
