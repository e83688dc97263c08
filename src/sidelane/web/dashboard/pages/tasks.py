"""Tasks: how they wait and run, how soon they speak, what they cost, and why they fail on which release; pause and resume."""

from http import HTTPStatus

from fastapi import Response

from sidelane.admin.figures import Chart, History
from sidelane.admin.pauses import set_tasks_paused
from sidelane.model.errors import SidelaneError
from sidelane.model.history import Count
from sidelane.tasks.internal_queues import without_internal
from sidelane.web.dashboard.charts import PERIODS, Line, TimeChart, chosen_period, per_minute
from sidelane.web.dashboard.pause_form import pause_request
from sidelane.web.dashboard.site import Site, View


class UnknownTask(SidelaneError):
    """No live worker has this task, and it has no history in this period."""

    status = HTTPStatus.NOT_FOUND


def add_pages(site: Site) -> None:
    """Add the pages and actions of tasks."""
    site.get("/tasks", _list)
    site.get("/tasks/{name:path}", _task)
    site.post("/tasks/{name:path}/pause", _pause, action="task.pause")
    site.post("/tasks/{name:path}/resume", _resume, action="task.resume")


async def _list(view: View) -> Response:
    period = chosen_period(view)
    history = await view.reads.history(PERIODS[period])
    tasks = without_internal(history.by_task(await _known_tasks(view)))
    paused = (await view.reads.pauses()).tasks
    return await view.page("tasks.html", current="tasks", tasks=tasks, paused=paused, period=period, periods=PERIODS)


async def _task(view: View) -> Response:
    name, period = view.path("name"), chosen_period(view)
    history = await view.reads.history(PERIODS[period], task=name)
    known = [name] if name in await _known_tasks(view) else []
    chart = history.by_task(known).get(name)
    if chart is None:
        raise UnknownTask(f"No live worker has a task {name[:100]!r}, and no job of it ran in this period.")
    causes = await view.reads.failure_causes(name, history.period.since)
    return await view.page(
        "task.html", current="tasks", name=name, pause=(await view.reads.pauses()).tasks.get(name),
        period=period, periods=PERIODS, figures=chart.figures, causes=causes,
        releases={release: each for release, each in chart.releases.items() if release}, charts=_charts(history, chart),
        queues=sorted({cell.series.queue for cell in history.cells if cell.series.queue}),
    )  # fmt: skip


async def _pause(view: View) -> Response:
    request = await pause_request(view)
    (result,) = await set_tasks_paused(view.store, [view.path("name")], paused=True, request=request)
    return view.result(result)


async def _resume(view: View) -> Response:
    (result,) = await set_tasks_paused(view.store, [view.path("name")], paused=False)
    return view.result(result)


async def _known_tasks(view: View) -> set[str]:
    return {name for worker in await view.reads.workers() for name in worker.tasks}


def _charts(history: History, chart: Chart) -> list[TimeChart]:
    ended = [
        Line("Ended", per_minute(chart, Count.SUCCEEDED, Count.FAILED, Count.CANCELLED), "area"),
        Line("Failed", per_minute(chart, Count.FAILED), "bad"),
    ]
    runs = [
        Line("p95", chart.durations(Count.RUN, 0.95)),
        Line("Median", chart.durations(Count.RUN, 0.5), "area"),
    ]
    marks, period = history.release_marks(), history.period
    return [
        TimeChart(id="ended", title="Jobs a minute", period=period, lines=ended, marks=marks),
        TimeChart(id="runs", title="Run time", period=period, lines=runs, marks=marks, unit="s"),
    ]
