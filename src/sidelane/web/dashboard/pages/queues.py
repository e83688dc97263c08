"""Queues: how long their jobs wait, and for what; pause and resume."""

from fastapi import Response

from sidelane.admin.figures import Chart
from sidelane.admin.queues import set_paused
from sidelane.model.durations import HOUR
from sidelane.model.history import Count
from sidelane.tasks.internal_queues import INTERNAL_PREFIX
from sidelane.web.dashboard.pause_form import pause_request
from sidelane.web.dashboard.site import Site, View


def add_pages(site: Site) -> None:
    """Add the pages and actions of queues."""
    site.get("/queues", _list)
    site.post("/queues/{name}/pause", _pause, action="queue.pause")
    site.post("/queues/{name}/resume", _resume, action="queue.resume")


async def _list(view: View) -> Response:
    stats = [each for each in await view.reads.stats() if not each.name.startswith(INTERNAL_PREFIX)]
    charts = (await view.reads.history(HOUR)).by_queue()
    slots: dict[str, int] = {}
    for worker in await view.reads.workers():
        for name, limit in worker.queues.items():
            slots[name] = slots.get(name, 0) + limit
    rows = [(each, charts.get(each.name), slots.get(each.name, 0), _started(charts.get(each.name))) for each in stats]
    return await view.page("queues.html", current="queues", rows=rows)


def _started(chart: Chart | None) -> list[int]:
    return [] if chart is None else chart.values(Count.STARTED)


async def _pause(view: View) -> Response:
    request = await pause_request(view)
    (result,) = await set_paused(view.store, [view.path("name")], paused=True, request=request)
    return view.done(f"{result.name}: {result.message}")


async def _resume(view: View) -> Response:
    (result,) = await set_paused(view.store, [view.path("name")], paused=False)
    return view.done(f"{result.name}: {result.message}")
