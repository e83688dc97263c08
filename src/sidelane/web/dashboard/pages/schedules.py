"""Schedules: when each runs, what it submits, and its runs; run it now, enable it, disable it, forget it."""

from typing import Final

from fastapi import Response

from sidelane.admin import schedules
from sidelane.admin.documents import parse_json
from sidelane.admin.schedule_text import schedule_text
from sidelane.model.errors import UnknownSchedule
from sidelane.model.schedule import ScheduleRecord
from sidelane.model.sentence import sentence
from sidelane.web.dashboard.masking import masked
from sidelane.web.dashboard.site import Site, View

NEXT_RUNS: Final = 5
NEWEST_JOBS: Final = 20


def add_pages(site: Site) -> None:
    """Add the list of schedules, the page of one, and their actions."""
    site.get("/schedules", _list)
    site.get("/schedules/{name}", _schedule)
    site.post("/schedules/{name}/run", _run, action="schedule.run")
    site.post("/schedules/{name}/enable", _enable, action="schedule.enable")
    site.post("/schedules/{name}/disable", _disable, action="schedule.disable")
    site.post("/schedules/{name}/forget", _forget, action="schedule.forget")


async def _list(view: View) -> Response:
    found = await view.store.list_schedules()
    rows = [
        (
            record,
            schedule_text(record.schedule),
            schedules.next_run(record),
            schedules.is_overdue(record, found.now),
        )
        for record in found.records
    ]
    return await view.page("schedules.html", current="schedules", rows=rows)


async def _schedule(view: View) -> Response:
    found = await view.store.list_schedules()
    record = _named(found.records, view.path("name"))
    jobs = await schedules.newest_jobs(view.store, record, NEWEST_JOBS)
    return await view.page(
        "schedule.html", current="schedules", record=record, schedule=record.schedule, jobs=jobs,
        when=schedule_text(record.schedule), next_runs=schedules.next_runs(record, NEXT_RUNS),
        overdue=schedules.is_overdue(record, found.now),
        arguments=masked(parse_json(record.schedule.spec.arguments), view.site.options.mask),
    )  # fmt: skip


async def _run(view: View) -> Response:
    record, created = await schedules.run_now(view.client, view.path("name"))
    text = "Submitted job {id}." if created else "Nothing was submitted: job {id} has the same unique key."
    return view.done(sentence(text, id=record.id))


async def _enable(view: View) -> Response:
    return await _set_enabled(view, enabled=True)


async def _disable(view: View) -> Response:
    return await _set_enabled(view, enabled=False)


async def _set_enabled(view: View, *, enabled: bool) -> Response:
    (result,) = await schedules.set_enabled(view.store, [view.path("name")], enabled=enabled)
    return view.result(result)


async def _forget(view: View) -> Response:
    (result,) = await schedules.forget(view.store, [view.path("name")])
    return view.result(result, to=f"{view.base}schedules")


def _named(records: tuple[ScheduleRecord, ...], name: str) -> ScheduleRecord:
    for record in records:
        if record.schedule.name == name:
            return record
    raise UnknownSchedule(sentence("There is no schedule {name!r}.", name=name))
