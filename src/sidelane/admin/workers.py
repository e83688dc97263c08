"""Workers and API processes as operators see them: what each runs, and how those that died ended."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sidelane.admin.documents import Document, time_text
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.findings.reading import worker_exits
from sidelane.model.job import JobRecord, Query, State
from sidelane.model.worker import API, WORKER_EXITS, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import INTERNAL_PREFIX

MAX_RUNNING: Final = 500
"""Running jobs that are read to show what each worker runs, the newest."""

MAX_EXITS: Final = 50
"""Workers that died which are listed, the newest."""


def in_order(workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
    """Return workers by name, then API processes."""
    return sorted(workers, key=lambda worker: (worker.kind == API, worker.name, worker.started))


async def running_jobs(store: Store) -> Mapping[str, Sequence[JobRecord]]:
    """Return the running jobs by the id of their worker, without internal jobs, those that started first first."""
    found = await store.search_jobs(Query(states=frozenset({State.RUNNING}), limit=MAX_RUNNING), scan=MAX_RUNNING)
    by_worker: dict[str, list[JobRecord]] = defaultdict(list)
    for record in sorted(found.records, key=lambda record: record.started or 0.0):
        if record.worker is not None and not record.spec.task.startswith(INTERNAL_PREFIX):
            by_worker[record.worker].append(record)
    return by_worker


async def read_exits(store: Store) -> list[WorkerExit]:
    """Return the workers whose process died, the newest first."""
    return list(worker_exits(await store.read_journal(WORKER_EXITS, limit=MAX_EXITS)))


def exit_document(died: WorkerExit) -> Document:
    """Return a worker that died as JSON. `memory` is in bytes."""
    return {
        "id": died.id or None, "name": died.worker, "at": time_text(died.at), "reason": died.reason,
        "memory": died.memory or None, "host": died.host or None, "release": died.release or None, "jobs": list(died.jobs),
    }  # fmt: skip


async def jobs_of_exit(store: Store, died: WorkerExit) -> list[JobRecord]:
    """Return the jobs that a worker was running when it died, as they are now, without those that were removed."""
    found = await store.get(died.jobs) if died.jobs else []
    return [record for record in found if isinstance(record, JobRecord)]
