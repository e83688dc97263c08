"""Batches: how far each is, which of its jobs failed, and what follows it; pause, resume and cancel one."""

from fastapi import Response
from fastapi.responses import RedirectResponse

from sidelane.admin.actions import cancel_batch
from sidelane.admin.batches import MAX_JOBS, MAX_SEARCHED, jobs_of_batch
from sidelane.admin.pauses import set_batches_paused
from sidelane.client.event_stream import batch_record
from sidelane.model.ids import is_id
from sidelane.web.dashboard.pause_form import pause_request
from sidelane.web.dashboard.site import Site, View


def add_pages(site: Site) -> None:
    """Add the list of batches, the page of one, and its actions."""
    site.get("/batches", _list)
    site.get("/batches/{id}", _batch)
    site.post("/batches/{id}/pause", _pause, action="batch.pause")
    site.post("/batches/{id}/resume", _resume, action="batch.resume")
    site.post("/batches/{id}/cancel", _cancel, action="batch.cancel")


async def _list(view: View) -> Response:
    wanted = view.query.get("id", "").strip()
    if wanted and is_id(wanted) and await view.store.get_batch(wanted) is not None:
        return RedirectResponse(f"{view.base}batches/{wanted}", 303)
    return await view.page(
        "batches.html", current="batches", batches=await view.reads.batches(), wanted=wanted, searched=MAX_SEARCHED
    )


async def _batch(view: View) -> Response:
    record = await batch_record(view.store, view.path("id"))
    jobs = await jobs_of_batch(view.store, record.id)
    pause = (await view.reads.pauses()).batches.get(record.id) if record.paused else None
    return await view.page("batch.html", current="batches", batch=record, pause=pause, jobs=jobs, shown=MAX_JOBS)


async def _pause(view: View) -> Response:
    request = await pause_request(view)
    (result,) = await set_batches_paused(view.store, [view.path("id")], paused=True, request=request)
    return view.result(result)


async def _resume(view: View) -> Response:
    (result,) = await set_batches_paused(view.store, [view.path("id")], paused=False)
    return view.result(result)


async def _cancel(view: View) -> Response:
    result = await cancel_batch(view.store, view.path("id"))
    return view.result(result)
