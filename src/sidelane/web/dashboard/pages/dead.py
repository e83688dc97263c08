"""Dead letters: the jobs that failed for good, grouped by cause and release."""

from collections.abc import Mapping
from typing import Final

from fastapi import Response

from sidelane.admin.bulk import chosen_jobs, filtered_dead_letters, filtered_jobs
from sidelane.admin.dead_letters import MAX_GROUPED, DeadLetterFilter, dead_letter_causes
from sidelane.admin.failure_causes import FailureCause
from sidelane.admin.jobs import JobFilter, JobView
from sidelane.model.job import JobRecord, Query, State
from sidelane.web.dashboard.pages.bulk import chosen_kind, preview
from sidelane.web.dashboard.site import Site, View

MAX_JOBS: Final = 50
"""Jobs of one cause that its page lists, the newest."""


def add_pages(site: Site) -> None:
    """Add the list of causes, the page of one, and the capture of their jobs for a bulk action."""
    site.get("/dead", _list)
    site.post("/dead", _capture, action=None)  # it changes no job
    site.get("/dead/{cause}", _cause)


async def _list(view: View) -> Response:
    newest = await view.reads.dead_letters()
    causes, searched = dead_letter_causes(newest), len(newest)
    return await view.page(
        "dead.html", current="dead", causes=causes.items(), searched=searched, more=searched == MAX_GROUPED
    )


async def _cause(view: View) -> Response:
    key = view.path("cause")
    cause = dead_letter_causes(await view.reads.dead_letters()).get(key)
    if cause is None:
        return await view.page("dead_cause.html", current="dead", cause=None, key=key, jobs=[], total=0)
    newest = sorted(cause.records, key=lambda record: -(record.ended or 0.0))[:MAX_JOBS]
    now = await view.store.get([record.id for record in newest])  # what was requeued meanwhile is not shown
    jobs = [record for record in now if isinstance(record, JobRecord) and record.state is State.FAILED]
    return await view.page("dead_cause.html", current="dead", cause=cause, key=key, jobs=jobs, total=len(cause.records))


async def _capture(view: View) -> Response:
    """Capture the selected jobs, those of the selected causes, or all dead letters but callbacks.

    On the page of one cause, all of it is captured if no job is selected.
    """
    form, kind = await view.form(), await chosen_kind(view)
    everything, ids = form.get("scope") == "all", [str(each) for each in form.getlist("job")]
    of_page = [str(each) for each in form.getlist("of")]
    keys = of_page if everything or of_page else [str(each) for each in form.getlist("cause")]
    if everything and not keys:
        selected = JobFilter.of(Query(), [JobView.FAILED], internal=False)
        return await preview(view, kind, filtered_jobs(view.store, selected), "state failed")
    if ids and not everything:
        return await preview(view, kind, chosen_jobs(view.store, ids), f"selected in the list ({len(ids)})")
    if not keys:
        return view.done(view.say("Select jobs first, or choose all that match."))
    known = dead_letter_causes(await view.reads.dead_letters())
    causes = {key: known[key] for key in keys if key in known}
    if not causes:
        return view.done(view.say("No job of this cause is left"))
    pages = filtered_dead_letters(view.store, _filter_of(causes))
    return await preview(view, kind, pages, "; ".join(map(_cause_text, causes.values())))


def _filter_of(causes: Mapping[str, FailureCause]) -> DeadLetterFilter:
    """Return the filter of these causes. The store applies the task and the release if they have only one."""
    tasks = {each.newest.spec.task for each in causes.values()}
    releases = {each.release for each in causes.values()}
    return DeadLetterFilter(
        causes=frozenset(causes),
        task=tasks.pop() if len(tasks) == 1 else None,
        release=releases.pop() or None if len(releases) == 1 else None,
    )


def _cause_text(cause: FailureCause) -> str:
    return " · ".join(
        filter(None, [cause.error, f"task {cause.newest.spec.task}", cause.release and f"release {cause.release}"])
    )
