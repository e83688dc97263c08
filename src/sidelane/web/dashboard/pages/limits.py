"""Limits: which are full, which jobs use one, and which wait for it."""

import re
from typing import Final
from urllib.parse import urlencode

from fastapi import Response

from sidelane.admin.limits import fullest_first, jobs_of_limit
from sidelane.web.dashboard.site import Site, View

MAX_LIMITS: Final = 100
"""Limits that the list shows, the fullest."""

MAX_USING: Final = 20
"""Jobs that use a limit which its page lists, the newest."""

PAGE_SIZE: Final = 50
"""Jobs that wait for a limit which one page lists."""

_POSITION = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,15})")


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
    position = _POSITION.fullmatch(view.query.get("after", ""))
    after = (int(position[1]), int(position[2])) if position else None
    jobs = await jobs_of_limit(view.store, limit_id, after=after, count=PAGE_SIZE)
    limit = next((each for each in await view.reads.limits() if each.id == limit_id), None)
    return await view.page(
        "limit.html", current="limits", id=limit_id, limit=limit, declared=jobs.declared, running=jobs.running[:MAX_USING],
        waiting=jobs.waiting, first=after is None,
        next=jobs.next and urlencode({"id": limit_id, "after": f"{jobs.next[0]}.{jobs.next[1]}"}),
    )  # fmt: skip
