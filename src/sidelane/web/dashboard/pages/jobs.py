"""Jobs: a list with filters. The URL is the view, so that it can be kept and sent."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Final
from urllib.parse import urlencode

from fastapi import Response

from sidelane.admin.documents import error_text
from sidelane.admin.job_search import FoundJobs, search_jobs
from sidelane.admin.jobs import JobFilter, JobView, job_view
from sidelane.admin.timeline import WAITS, Phase, time_spent
from sidelane.model.durations import time_of
from sidelane.model.job import MAX_TEXT, JobRecord, Query, State
from sidelane.model.sentence import Sentence, sentence
from sidelane.tasks.internal_queues import without_internal
from sidelane.web.dashboard.site import Site, View

PAGE_SIZE: Final = 50

FIELDS: Final = ("state", "task", "queue", "user", "key", "label", "release", "since", "until", "text")
"""The parameters that select jobs."""

BEFORE: Final = "before"
"""The parameter with the sequence from which a page continues."""

VIEWS: Final = {view.replace(" ", "-"): view for view in JobView}

_SEQUENCE = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Row:
    """One job of the list. `waited` and `ran` are seconds, and `note` is why it failed or what it reports."""

    record: JobRecord
    view: JobView
    waited: float | None
    ran: float | None
    error: str


class FilterError(Exception):
    """A filter that makes no sense. `reason` says why."""

    def __init__(self, reason: Sentence) -> None:
        super().__init__(str(reason))
        self.reason = reason


def add_pages(site: Site) -> None:
    """Add the list of jobs."""
    site.get("/jobs", _list)


async def _list(view: View) -> Response:
    chosen = {name: view.query.get(name, "").strip()[:MAX_TEXT] for name in FIELDS}
    before = view.query.get(BEFORE, "")
    problem: Sentence | None = None
    found = FoundJobs([], 0, None, complete=True)
    now = time.time()
    try:
        found = await search_jobs(view.store, filter_of(chosen, before, now), PAGE_SIZE)
    except FilterError as error:
        problem = error.reason
    return await view.page(
        "jobs.html", current="jobs", chosen=chosen, first=not before, problem=problem, found=found, views=VIEWS,
        rows=[_row(record, now) for record in found.records], suggestions=await _suggestions(view),
        filtered=any(chosen.values()), newest=_url(chosen), older=_url(chosen, found.before) if found.before else None,
    )  # fmt: skip


def filter_of(chosen: Mapping[str, str], before: str, now: float) -> JobFilter:
    """Return the filter of the parameters of a URL. Raises `FilterError`."""
    if chosen["state"] and chosen["state"] not in VIEWS:
        raise FilterError(sentence("{value} is no state of a job. Choose one of the list.", value=chosen["state"]))
    if before and not _SEQUENCE.fullmatch(before):
        raise FilterError(sentence("The address of this page is damaged. Begin with the newest jobs."))
    name, equals, value = chosen["label"].partition("=")
    if chosen["label"] and not (name and equals):
        raise FilterError(sentence("{value} is no label. Write name=value.", value=chosen["label"]))
    since, until = _time(chosen["since"], now), _time(chosen["until"], now)
    if since is not None and until is not None and since >= until:
        raise FilterError(sentence("The period is empty: it ends before it begins."))
    query = Query(
        task=chosen["task"] or None, queue=chosen["queue"] or None, user=chosen["user"] or None, key=chosen["key"] or None,
        release=chosen["release"] or None, text=chosen["text"] or None, labels={name: value} if name else {},
        before=int(before) if before else None,
    )  # fmt: skip
    views = [VIEWS[chosen["state"]]] if chosen["state"] else []
    return replace(JobFilter.of(query, views, internal=False), since=since, until=until)


def _time(text: str, now: float) -> float | None:
    try:
        return time_of(text, now, UTC) if text else None
    except ValueError:
        hint = "{value} is no time. Write how long ago, e.g. 2h, or a time in UTC, e.g. 2026-05-01T09:30."
        raise FilterError(sentence(hint, value=text)) from None


async def _suggestions(view: View) -> Mapping[str, Sequence[str]]:
    """Return the values that fields suggest, from what is known without reading jobs."""
    workers = await view.reads.workers()
    tasks = {name for worker in workers for name in worker.tasks} | view.client.registry.tasks.keys()
    queues = {each.name: each for each in await view.reads.stats()}
    releases = {worker.release for worker in workers} - {""}
    return {
        "task": sorted(without_internal(dict.fromkeys(tasks))), "queue": sorted(without_internal(queues)),
        "release": sorted(releases),
    }  # fmt: skip


def _row(record: JobRecord, now: float) -> Row:
    spent = time_spent(record, now)
    waited = sum(spent.get(phase, 0.0) for phase in WAITS)
    ran = spent.get(Phase.RUNNING)
    failed = record.problem is not None or (record.failures and record.state is State.QUEUED)
    return Row(record, job_view(record, now), waited, ran, " ".join(error_text(record).split()) if failed else "")


def _url(chosen: Mapping[str, str], before: int | None = None) -> str:
    """Return the address of a page of the list, relative to the list itself."""
    fields = {name: value for name, value in chosen.items() if value}
    return f"?{urlencode(fields | ({} if before is None else {BEFORE: str(before)}))}"
