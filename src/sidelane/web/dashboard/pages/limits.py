"""Limits: which are full, which jobs use one, and which wait for it."""

from typing import Final

from fastapi import Response

from sidelane.admin.limits import fullest_first, jobs_of_limit
from sidelane.web.dashboard.site import Site, View

MAX_LIMITS: Final = 100
"""Limits that the list shows, the fullest."""

MAX_JOBS: Final = 20
"""Jobs that use a limit, and jobs that wait for it, which its page lists, the newest."""


def add_pages(site: Site) -> None:
    """Add the list of limits, and the page of one. Ids of limits may contain any characters, so they are parameters."""
    site.get("/limits", _list)
    site.get("/limits/one", _limit)


async def _list(view: View) -> Response:
    prefix = view.query.get("name", "").strip()
    limits = fullest_first(each for each in await view.reads.limits() if each.id.startswith(prefix))
    return await view.page(
        "limits.html", current="limits", limits=limits[:MAX_LIMITS], total=len(limits), prefix=prefix
    )


async def _limit(view: View) -> Response:
    limit_id = view.query.get("id", "")
    jobs = await jobs_of_limit(view.store, limit_id)
    limit = next((each for each in await view.reads.limits() if each.id == limit_id), None)
    return await view.page(
        "limit.html", current="limits", id=limit_id, limit=limit, declared=jobs.declared, running=jobs.running[:MAX_JOBS],
        waiting=jobs.waiting[:MAX_JOBS],
    )  # fmt: skip
