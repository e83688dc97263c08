"""Workers and API processes: what each runs, how it is, and how those that died ended."""

from http import HTTPStatus

from fastapi import Response

from sidelane.admin.queues import without_worker
from sidelane.admin.workers import in_order, jobs_of_exit
from sidelane.model.worker import API, WORKER
from sidelane.tasks.internal_queues import without_internal
from sidelane.web.dashboard.site import Site, View


def add_pages(site: Site) -> None:
    """Add the list of processes, and the page of one."""
    site.get("/workers", _list)
    site.get("/workers/{id}", _worker)


async def _list(view: View) -> Response:
    live = in_order(await view.reads.workers())
    return await view.page(
        "workers.html", current="workers", workers=[each for each in live if each.kind == WORKER],
        processes=[each for each in live if each.kind == API], running=await view.reads.running(),
        exits=await view.reads.exits(), unserved=without_worker(await view.reads.stats(), live),
        without_internal=without_internal, advice=await view.reads.advice(),
    )  # fmt: skip


async def _worker(view: View) -> Response:
    worker_id = view.path("id")
    worker = next((each for each in await view.reads.workers() if each.id == worker_id), None)
    died = next((each for each in await view.reads.exits() if each.id == worker_id), None)
    known = worker is not None or died is not None
    return await view.page(
        "worker.html", HTTPStatus.OK if known else HTTPStatus.NOT_FOUND, current="workers", id=worker_id, worker=worker,
        died=died, running=(await view.reads.running()).get(worker_id, ()),
        lost=[] if died is None else await jobs_of_exit(view.store, died), without_internal=without_internal,
    )  # fmt: skip
