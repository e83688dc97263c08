"""Dead letters: the jobs that failed for good, grouped by cause and release."""

from typing import Final

from fastapi import Response

from sidelane.admin.dead_letters import MAX_GROUPED, dead_letter_causes
from sidelane.model.job import JobRecord, State
from sidelane.web.dashboard.site import Site, View

MAX_JOBS: Final = 50
"""Jobs of one cause that its page lists, the newest."""


def add_pages(site: Site) -> None:
    """Add the list of causes, and the page of one."""
    site.get("/dead", _list)
    site.get("/dead/{cause}", _cause)


async def _list(view: View) -> Response:
    newest = await view.reads.dead_letters()
    causes, searched = dead_letter_causes(newest), len(newest)
    return await view.page(
        "dead.html", current="dead", causes=causes.items(), searched=searched, more=searched == MAX_GROUPED
    )


async def _cause(view: View) -> Response:
    cause = dead_letter_causes(await view.reads.dead_letters()).get(view.path("cause"))
    if cause is None:
        return await view.page("dead_cause.html", current="dead", cause=None, jobs=[], total=0)
    newest = sorted(cause.records, key=lambda record: -(record.ended or 0.0))[:MAX_JOBS]
    now = await view.store.get([record.id for record in newest])  # what was requeued meanwhile is not shown
    jobs = [record for record in now if isinstance(record, JobRecord) and record.state is State.FAILED]
    return await view.page("dead_cause.html", current="dead", cause=cause, jobs=jobs, total=len(cause.records))
