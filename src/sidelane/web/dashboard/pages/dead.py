"""Dead letters: the jobs that failed for good, grouped by cause and release."""

from typing import Final

from fastapi import Response

from sidelane.admin.dead_letters import cause_key
from sidelane.admin.failure_causes import FailureCause, failure_causes
from sidelane.admin.shared_reads import MAX_DEAD_LETTERS
from sidelane.model.job import JobRecord, State
from sidelane.tasks.internal_queues import CALLBACK_TASK
from sidelane.web.dashboard.site import Site, View

MAX_JOBS: Final = 50
"""Jobs of one cause that its page lists, the newest."""


def add_pages(site: Site) -> None:
    """Add the list of causes, and the page of one."""
    site.get("/dead", _list)
    site.get("/dead/{cause}", _cause)


async def _list(view: View) -> Response:
    causes = [(cause_key(each), each) for each in await _causes(view)]
    searched = len(await view.reads.dead_letters())
    return await view.page(
        "dead.html", current="dead", causes=causes, searched=searched, more=searched == MAX_DEAD_LETTERS
    )


async def _cause(view: View) -> Response:
    cause = next((each for each in await _causes(view) if cause_key(each) == view.path("cause")), None)
    if cause is None:
        return await view.page("dead_cause.html", current="dead", cause=None, jobs=[], total=0)
    newest = sorted(cause.records, key=lambda record: -(record.ended or 0.0))[:MAX_JOBS]
    now = await view.store.get([record.id for record in newest])  # what was requeued meanwhile is not shown
    jobs = [record for record in now if isinstance(record, JobRecord) and record.state is State.FAILED]
    return await view.page("dead_cause.html", current="dead", cause=cause, jobs=jobs, total=len(cause.records))


async def _causes(view: View) -> list[FailureCause]:
    """Return the causes of the newest dead letters, without callbacks, which have another page."""
    return failure_causes(each for each in await view.reads.dead_letters() if each.spec.task != CALLBACK_TASK)
