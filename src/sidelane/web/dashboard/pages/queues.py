"""Queues: how long their jobs wait, for what, and whose jobs are in line; pause, resume and drain."""

from http import HTTPStatus
from typing import Final

from fastapi import Response

from sidelane.admin.figures import History
from sidelane.admin.queues import drain_result, set_paused, wait_until_drained
from sidelane.model.errors import SidelaneError
from sidelane.model.history import Count
from sidelane.tasks.internal_queues import without_internal
from sidelane.web.dashboard.charts import PERIODS, Line, TimeChart, chosen_period, per_minute
from sidelane.web.dashboard.pause_form import pause_request
from sidelane.web.dashboard.site import Site, View

MAX_USERS: Final = 20
"""Users in line that a page shows."""


class UnknownQueue(SidelaneError):
    """The store has never seen a job or a worker of this queue."""

    status = HTTPStatus.NOT_FOUND


def add_pages(site: Site) -> None:
    """Add the pages and actions of queues."""
    site.get("/queues", _list)
    site.get("/queues/{name:path}", _queue)
    site.post("/queues/{name:path}/pause", _pause, action="queue.pause")
    site.post("/queues/{name:path}/resume", _resume, action="queue.resume")
    site.post("/queues/{name:path}/drain", _drain, action="queue.pause")


async def _list(view: View) -> Response:
    return await view.page("queues.html", current="queues", queues=await view.reads.queue_overviews())


async def _queue(view: View) -> Response:
    name, period = view.path("name"), chosen_period(view)
    queue = next((each for each in await view.reads.queue_overviews() if each.stats.name == name), None)
    if queue is None:
        raise UnknownQueue(f"The store has never seen a job or a worker of queue {name[:100]!r}.")
    history = await view.reads.history(PERIODS[period], queue=name)
    chart = history.by_queue().get(name)
    line, pause = await view.reads.line(name), (await view.reads.pauses()).queues.get(name)
    return await view.page(
        "queue.html", current="queues", queue=queue, pause=pause if queue.stats.paused else None,
        period=period, periods=PERIODS, line=line, users=line.users[:MAX_USERS],
        figures=history.all_queues.figures, tasks=without_internal(history.by_task()), charts=_charts(history) if chart else (),
        workers=[each for each in await view.reads.workers() if name in each.queues],
    )  # fmt: skip


def _charts(history: History) -> list[TimeChart]:
    chart, marks = history.all_queues, history.release_marks()
    rates = [
        Line("Arrived", per_minute(chart, Count.SUBMITTED, Count.REQUEUED), "line"),
        Line("Started", per_minute(chart, Count.STARTED), "area"),
        Line("Failed", per_minute(chart, Count.FAILED), "bad"),
    ]
    waits = [
        Line("p95", chart.durations(Count.WAIT, 0.95)),
        Line("Median", chart.durations(Count.WAIT, 0.5), "area"),
    ]
    period = history.period
    return [
        TimeChart(id="rates", title="Jobs a minute", period=period, lines=rates, marks=marks),
        TimeChart(id="waits", title="Wait until the start", period=period, lines=waits, marks=marks, unit="s"),
    ]


async def _pause(view: View) -> Response:
    request = await pause_request(view)
    (result,) = await set_paused(view.store, [view.path("name")], paused=True, request=request)
    return view.result(result)


async def _resume(view: View) -> Response:
    (result,) = await set_paused(view.store, [view.path("name")], paused=False)
    return view.result(result)


async def _drain(view: View) -> Response:
    """Pause a queue and tell whether its jobs still run. The page shows when none does."""
    name = view.path("name")
    (paused,) = await set_paused(view.store, [name], paused=True, request=await pause_request(view))
    left = await wait_until_drained(view.store, [name], 0, lambda running: None)
    result = drain_result(paused, left)
    return view.result(result)
