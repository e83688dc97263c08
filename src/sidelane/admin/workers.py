"""Workers and API processes as operators see them: what each runs, how those that died ended; drain, resume and restart."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.documents import Document, time_text, worker_document
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.findings.reading import worker_exits
from sidelane.admin.pauses import MAX_REASON
from sidelane.admin.queues import job_count
from sidelane.client.worker_requests import read_requests, set_request
from sidelane.model.job import MAX_TEXT, JobRecord, Query, State
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.worker import API, MAX_LISTENED, WORKER_EXITS, WorkerInfo
from sidelane.model.worker_request import WorkerAction, WorkerRequest
from sidelane.stores.contract import Store

MAX_RUNNING: Final = 500
"""Running jobs that are read to show what each worker runs, the newest."""

MAX_EXITS: Final = 50
"""Workers that died which are listed, the newest."""


def in_order(workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
    """Return workers by name, then API processes."""
    return sorted(workers, key=lambda worker: (worker.kind == API, worker.name, worker.started))


def listeners_of(job_id: str, workers: Iterable[WorkerInfo]) -> int | None:
    """Return how many clients listen to a job, by the last heartbeats, or None if an API process has too many jobs to tell."""
    counts = [each.listeners.get(job_id, None if len(each.listeners) >= MAX_LISTENED else 0) for each in workers]
    return None if None in counts else sum(count or 0 for count in counts)


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


@dataclass(frozen=True, slots=True)
class RequestedChange:
    """What operators have asked of a worker, and how far it is.

    `state` is "requested" until the worker has taken the request, then "draining", "drained" or "restarting". It is "resuming"
    while the worker does not know yet that the request was taken back. Then there is no request.
    """

    state: str
    request: WorkerRequest | None

    def document(self) -> Document:
        """Return the change as JSON."""
        request = self.request
        return {
            "state": self.state,
            "action": None if request is None else str(request.action),
            "by": (request and request.by) or None,
            "reason": (request and request.reason) or None,
            "since": time_text(None if request is None else request.since),
        }


def requested_change(worker: WorkerInfo, request: WorkerRequest | None) -> RequestedChange | None:
    """Return what operators have asked of a worker, or None."""
    if request is None:
        return RequestedChange("resuming", None) if worker.request == WorkerAction.DRAIN else None
    if worker.request != request.action:
        return RequestedChange("requested", request)
    if request.action is WorkerAction.RESTART:
        return RequestedChange("restarting", request)
    return RequestedChange("draining" if worker.health.startswith("draining") else "drained", request)


async def requested_changes(store: Store, workers: Iterable[WorkerInfo]) -> Mapping[str, RequestedChange]:
    """Return what operators have asked of these workers, by the id of the worker."""
    made = await read_requests(store)
    found = {worker.id: requested_change(worker, made.get(worker.id)) for worker in workers}
    return {worker_id: change for worker_id, change in found.items() if change is not None}


def changing_worker_document(worker: WorkerInfo, change: RequestedChange | None) -> Document:
    """Return a worker as JSON, with what operators have asked of it."""
    return {**worker_document(worker), "request": None if change is None else change.document()}


async def request_workers(
    store: Store, names: Sequence[str], action: WorkerAction | None, *, queue: str = "", by: str = "", reason: str = ""
) -> list[ActionResult]:
    """Ask workers to drain or to restart, or to take jobs again (None). Each learns of it within about a second.

    `names` are names or ids of workers. `queue` adds those that take jobs of a queue.
    """
    workers = [each for each in await store.workers() if each.kind != API]
    of_queue = [each.id for each in in_order(workers) if queue in each.queues and not each.isolation]
    request = None
    if action is not None:
        now = (await store.list_schedules()).now
        request = WorkerRequest(action=action, by=by[:MAX_TEXT], reason=reason[:MAX_REASON], since=now)
    if queue and not of_queue:
        return [ActionResult(queue, Status.NOT_FOUND, sentence("no live worker takes jobs of this queue"))]
    return [await _request(store, name, workers, request) for name in dict.fromkeys([*names, *of_queue])]


async def _request(
    store: Store, name: str, workers: Sequence[WorkerInfo], request: WorkerRequest | None
) -> ActionResult:
    found = [each for each in workers if name in (each.id, each.name)]
    if problem := _problem(name, found, workers, request):
        return problem
    (worker,) = found
    before = await set_request(store, worker.id, request)
    if request is None:
        message = sentence("not drained" if before is None else "asked to take jobs again")
    else:
        message = sentence("asked to drain" if request.action is WorkerAction.DRAIN else "asked to restart")
        if before is not None and before.action is request.action:
            message = sentence("{done} already", done=message)
        elif worker.running:
            message = sentence("{done}; {jobs} still running", done=message, jobs=job_count(worker.running))
    return ActionResult(name, Status.DONE, message, {"worker": worker_document(worker)})


def _problem(
    name: str, found: Sequence[WorkerInfo], workers: Sequence[WorkerInfo], request: WorkerRequest | None
) -> ActionResult | None:
    """Return why a request cannot be made to the workers of a name, or None."""
    if not found:
        others = sorted({each.name for each in workers})
        unknown = sentence("no live worker has this name or id; no worker is alive")
        if others:
            unknown = sentence("no live worker has this name or id; live workers: {names}", names=", ".join(others))
        return ActionResult(name, Status.NOT_FOUND, unknown, {"worker": None})
    problem: Sentence | None = None
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        problem = sentence("{count} workers have this name: name one by its id ({ids})", count=len(found), ids=ids)
    elif found[0].isolation:
        problem = sentence("it runs isolated jobs for another worker and ends by itself: name that worker")
    elif request is not None and request.action is WorkerAction.RESTART and not found[0].restartable:
        text = "it runs inside a process that does other work, e.g. a web server: drain it, or restart that process"
        problem = sentence(text)
    return None if problem is None else ActionResult(name, Status.FAILED, problem, {"worker": None})
