"""Workers and API processes: what each runs, how it is, and how those that died ended; drain, resume and restart a worker."""

from http import HTTPStatus

from fastapi import Response

from sidelane.admin.queues import without_worker
from sidelane.admin.workers import in_order, jobs_of_exit, request_workers
from sidelane.model.worker import API, WORKER
from sidelane.model.worker_request import WorkerAction
from sidelane.tasks.internal_queues import without_internal
from sidelane.web.dashboard.site import Site, View


def add_pages(site: Site) -> None:
    """Add the list of processes, the page of one, and the actions of workers."""
    site.get("/workers", _list)
    site.get("/workers/{id}", _worker)
    site.post("/workers/{id}/drain", _drain, action="worker.drain")
    site.post("/workers/{id}/resume", _resume, action="worker.resume")
    site.post("/workers/{id}/restart", _restart, action="worker.restart")


async def _list(view: View) -> Response:
    live = in_order(await view.reads.workers())
    return await view.page(
        "workers.html", current="workers", workers=[each for each in live if each.kind == WORKER],
        processes=[each for each in live if each.kind == API], running=await view.reads.running(),
        exits=await view.reads.exits(), unserved=without_worker(await view.reads.stats(), live),
        changes=await view.reads.requested_changes(), without_internal=without_internal,
        advice=await view.reads.advice(),
    )  # fmt: skip


async def _worker(view: View) -> Response:
    worker_id = view.path("id")
    worker = next((each for each in await view.reads.workers() if each.id == worker_id), None)
    died = next((each for each in await view.reads.exits() if each.id == worker_id), None)
    known = worker is not None or died is not None
    return await view.page(
        "worker.html", HTTPStatus.OK if known else HTTPStatus.NOT_FOUND, current="workers", id=worker_id, worker=worker,
        died=died, change=(await view.reads.requested_changes()).get(worker_id),
        running=(await view.reads.running()).get(worker_id, ()),
        lost=[] if died is None else await jobs_of_exit(view.store, died), without_internal=without_internal,
    )  # fmt: skip


async def _drain(view: View) -> Response:
    return await _request(view, WorkerAction.DRAIN)


async def _resume(view: View) -> Response:
    return await _request(view, None)


async def _restart(view: View) -> Response:
    return await _request(view, WorkerAction.RESTART)


async def _request(view: View, action: WorkerAction | None) -> Response:
    reason = str((await view.form()).get("reason", "")).strip()
    (result,) = await request_workers(view.store, [view.path("id")], action, by=view.operator.name, reason=reason)
    return view.result(result)
