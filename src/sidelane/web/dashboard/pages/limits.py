"""Limits: which are full, which jobs use one, and which wait for it; change a number, and restore it."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from fastapi import Response

from sidelane.admin.limits import (
    LimitChange,
    change_in_force,
    change_limit,
    fullest_first,
    jobs_of_limit,
    planned_override,
    restore_limit,
)
from sidelane.model.durations import duration_of
from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.limit_override import LimitOverride
from sidelane.model.sentence import Sentence
from sidelane.web.dashboard.site import Site, View

MAX_LIMITS: Final = 100
"""Limits that the list shows, the fullest."""

MAX_USING: Final = 20
"""Jobs that use a limit which its page lists, the newest."""

PAGE_SIZE: Final = 50
"""Jobs that wait for a limit which one page lists."""

_POSITION = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,15})")

DURATIONS: Final = ("1h", "8h", "24h", "")
"""For how long a number may be changed; "" is until an operator restores it."""


FIELDS: Final = ("keys", "number", "for", "reason")
"""What the form of a change asks for."""

ALL_KEYS: Final = "all"
"""The choice that changes a limit for all keys, rather than for the key of the page."""


def add_pages(site: Site) -> None:
    """Add the list of limits, the page of one, and their actions. Ids may contain any characters, so they are parameters."""
    site.get("/limits", _list)
    site.get("/limits/one", _limit)
    site.post("/limits/one/change", _change, action="limit.change")
    site.post("/limits/one/restore", _restore, action="limit.restore")


async def _list(view: View) -> Response:
    prefix = view.query.get("name", "").strip()
    limits = fullest_first(each for each in await view.reads.limits() if each.id.startswith(prefix))
    changed = await view.reads.changed_limits()
    changes = {each.id: change_in_force(changed, each.id) for each in limits[:MAX_LIMITS]}
    return await view.page(
        "limits.html", current="limits", limits=limits[:MAX_LIMITS], total=len(limits), prefix=prefix, changes=changes,
        changed=[each for each in changed if each.override.id.startswith(prefix)],
    )  # fmt: skip


async def _limit(view: View) -> Response:
    """Show one limit, or the limits of one name. With a number, ask whether to change it."""
    limit_id = view.query.get("id", "")
    position = _POSITION.fullmatch(view.query.get("after", ""))
    after = (int(position[1]), int(position[2])) if position else None
    jobs = await jobs_of_limit(view.store, limit_id, after=after, count=PAGE_SIZE)
    limit = next((each for each in await view.reads.limits() if each.id == limit_id), None)
    change = change_in_force(await view.reads.changed_limits(), limit_id)
    planned, error = await _planned(view)
    return await view.page(
        "limit.html", current="limits", id=limit_id, limit=limit, declared=jobs.declared, running=jobs.running[:MAX_USING],
        waiting=jobs.waiting, first=after is None,
        next=jobs.next and urlencode({"id": limit_id, "after": f"{jobs.next[0]}.{jobs.next[1]}"}),
        change=change, planned=planned, error=error, durations=DURATIONS,
        asked={name: view.query.get(name, "") for name in FIELDS},
    )  # fmt: skip


async def _planned(view: View) -> tuple[LimitOverride | None, Sentence | str]:
    """Return what the form of the page asks for, or what is wrong with it."""
    if "number" not in view.query:
        return None, ""
    limit_id = view.query.get("id", "")
    if view.query.get("keys") == ALL_KEYS:
        limit_id = limit_id.partition("/")[0]
    try:
        return await planned_override(view.store, limit_id, _change_in(view, view.query)), ""
    except SidelaneError as error:
        return None, error.sentence or str(error)


def _change_in(view: View, form: Mapping[str, object]) -> LimitChange:
    """Return the change that a form asks for. Raises `ArgumentsError`."""
    number, text, reason = (str(form.get(name, "")).strip() for name in ("number", "for", "reason"))
    try:
        seconds = duration_of(text) if text else None
    except ValueError as error:
        raise ArgumentsError(str(error)) from error
    return LimitChange(number=number, by=view.operator.name, reason=reason, seconds=seconds)


async def _change(view: View) -> Response:
    result = await change_limit(view.store, view.target, _change_in(view, await view.form()))
    page = f"{view.base}limits/one?id={quote(view.target, safe='')}"
    return view.result(result, to=page)


async def _restore(view: View) -> Response:
    result = await restore_limit(view.store, view.target)
    return view.result(result)
