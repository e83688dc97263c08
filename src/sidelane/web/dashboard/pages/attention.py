"""Attention, the front page: what needs a person, the queues against their targets, and the last day."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Response

from sidelane.admin.advice import ServiceAdvice
from sidelane.admin.figures import Figures, History
from sidelane.admin.findings.actions import mute_finding, unmute_finding
from sidelane.admin.findings.finding import digest
from sidelane.admin.overview import used_slots, waiting_jobs
from sidelane.model.durations import DAY, HOUR
from sidelane.model.history import Count
from sidelane.tasks.internal_queues import without_internal
from sidelane.web.dashboard.charts import Line, TimeChart, per_minute
from sidelane.web.dashboard.site import Site, View

SLOWEST: Final = 3
"""Tasks that are shown while nothing needs a person."""


def add_pages(site: Site) -> None:
    """Add the front page, and the actions on findings."""
    site.get("/", _attention)
    site.post("/findings/mute", _mute, action="finding.mute", target="key")
    site.post("/findings/unmute", _unmute, action="finding.unmute", target="key")


async def _attention(view: View) -> Response:
    findings = await view.reads.findings()
    day = await view.reads.history(DAY)
    queues = await view.reads.queue_overviews()
    open_findings = [each for each in findings if each.muted_until is None]
    return await view.page(
        "attention.html", current="attention", findings=open_findings, muted=[each for each in findings if each.muted_until],
        ids={each.key: f"finding-{digest(each.key)}" for each in findings}, causes={each.key: each for each in findings},
        alerts_to=urlsplit(view.client.settings.alert_url).hostname,
        figures=day.all_queues.figures, slots=used_slots(await view.reads.workers()), queues=queues,
        waiting=waiting_jobs(queues), day=_day_chart(day),
        slowest=[] if open_findings else await _slowest(view), advice=[] if open_findings else await _advice(view),
    )  # fmt: skip


def _day_chart(day: History) -> TimeChart:
    chart = day.all_queues
    lines = [
        Line("Ended", per_minute(chart, Count.SUCCEEDED, Count.FAILED, Count.CANCELLED), "area"),
        Line("Failed", per_minute(chart, Count.FAILED), "bad"),
    ]
    return TimeChart(id="day", title="Last 24 hours", period=day.period, lines=lines, marks=day.release_marks())


async def _slowest(view: View) -> list[tuple[str, float, float | None]]:
    """Return the tasks with the longest run times today: the name, the time that 95 % do not exceed, and that of yesterday."""
    days = await view.reads.history(2 * DAY)
    today_since, until = days.period.until - DAY, days.period.until
    found = []
    for name, chart in without_internal(days.by_task()).items():
        today, before = _run_p95(chart.between(today_since, until)), _run_p95(chart.between(0, today_since))
        if today is not None:
            found.append((name, today, before))
    return sorted(found, key=lambda each: -each[1])[:SLOWEST]


async def _advice(view: View) -> list[ServiceAdvice]:
    """Return the services that should have another number of processes."""
    return [each for each in (await view.reads.advice()).services if each.asks_for_change]


def _run_p95(figures: Figures) -> float | None:
    return None if figures.run is None else figures.run.p95


async def _mute(view: View) -> Response:
    result = await mute_finding(view.store, view.target, HOUR, known=await view.reads.findings())
    return view.result(result)


async def _unmute(view: View) -> Response:
    result = await unmute_finding(view.store, view.target)
    return view.result(result)
