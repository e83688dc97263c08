"""Bulk actions: what would be done to which jobs, how far it is, and what was left alone and why."""

import time
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Response

from sidelane.admin.bulk import (
    MAX_AT_ONCE,
    PACES,
    capture,
    chosen_jobs,
    confirm,
    filtered_jobs,
    read_action,
    recent_actions,
    stop,
)
from sidelane.client.bulk_actions import BulkAction, BulkKind
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import MAX_TEXT, JobRecord
from sidelane.model.sentence import Sentence, sentence
from sidelane.web.dashboard.pages.jobs import FIELDS, FilterError, filter_of
from sidelane.web.dashboard.site import Site, View

DEFAULT_PACE: Final = PACES[1]

MAX_FILTER: Final = 8_000
"""Characters of the parameters that select jobs."""

TITLES: Final = {
    BulkKind.CANCEL: ("Cancel 1 job", "Cancel {count} jobs"),
    BulkKind.REQUEUE: ("Requeue 1 job", "Requeue {count} jobs"),
    BulkKind.PURGE: ("Purge 1 job", "Purge {count} jobs"),
}

EFFECTS: Final = {
    BulkKind.CANCEL: "Queued jobs end at once. Running ones are asked to stop, and keep the text that they have sent.",
    BulkKind.REQUEUE: "The jobs go back to their queues, with fresh retries. Their callbacks are sent again when they end.",
    BulkKind.PURGE: "The jobs are deleted with their logs. This cannot be undone.",
}


def add_pages(site: Site) -> None:
    """Add the list of bulk actions, the page of one, and what an operator does with it."""
    site.get("/bulk", _list)
    site.post("/bulk", _capture, action=None)  # it changes no job
    site.get("/bulk/{id}", _action)
    site.post("/bulk/{id}/stop", _stop, action="bulk.stop")
    for kind in BulkKind:
        site.post(f"/bulk/{{id}}/{kind}", _confirm, action=f"bulk.{kind}")


async def _list(view: View) -> Response:
    actions = [(each.action, each.state, title_of(each.action)) for each in await recent_actions(view.store)]
    return await view.page("bulk.html", current="jobs", actions=actions)


async def _capture(view: View) -> Response:
    """Capture the jobs that are selected, or all that match the filter of the list, and show what would be done to them."""
    form, kind = await view.form(), await chosen_kind(view)
    if form.get("scope") == "all":
        chosen = _chosen(str(form.get("filter", ""))[:MAX_FILTER])
        try:
            pages = filtered_jobs(view.store, filter_of(chosen, "", time.time()))
        except FilterError as error:
            raise ArgumentsError(error.reason) from error
        text = " · ".join(f"{field} {value}" for field, value in chosen.items() if value) or "all jobs"
    else:
        ids = [str(each) for each in form.getlist("job")]
        if not ids:
            return view.done(sentence("Select jobs first, or choose all that match."))
        pages, text = chosen_jobs(view.store, ids), f"selected in the list ({len(ids)})"
    return await preview(view, kind, pages, text)


async def chosen_kind(view: View) -> BulkKind:
    """Return what the form wants to do with jobs. Raises `ArgumentsError` and `NotAllowed`."""
    name = str((await view.form()).get("action", ""))
    if name not in set(BulkKind):
        raise ArgumentsError(sentence("Choose what to do with the jobs."))
    kind = BulkKind(name)
    view.require(f"bulk.{kind}")
    return kind


async def preview(view: View, kind: BulkKind, pages: AsyncIterable[Sequence[JobRecord]], text: str) -> Response:
    """Capture jobs, and show what would be done to them. `text` is the filter in words."""
    action = await capture(view.store, kind, pages, filter_text=text, by=view.operator.name)
    return view.done("", to=f"{view.base}bulk/{action.id}")


def _chosen(text: str) -> Mapping[str, str]:
    """Return the filter of a list from the parameters of its URL."""
    parameters = dict(parse_qsl(text.removeprefix("?")))
    return {name: parameters.get(name, "").strip()[:MAX_TEXT] for name in FIELDS}


async def _action(view: View) -> Response:
    found = await read_action(view.store, view.path("id"))
    return await view.page(
        "bulk_action.html", current="jobs", action=found.action, state=found.state, heading=title_of(found.action),
        effect=EFFECTS[found.action.kind], paces=PACES, default_pace=DEFAULT_PACE,
        as_job=found.action.count > MAX_AT_ONCE,
    )  # fmt: skip


async def _confirm(view: View) -> Response:
    form, action_id = await view.form(), view.path("id")
    before = (await read_action(view.store, action_id)).action
    if not view.request.url.path.endswith(f"/{before.kind}"):
        raise ArgumentsError(sentence("This is another action. Go back to its page and try again."))
    view.target = f"{title_of(before)}: {before.filter}"
    pace = next((each for each in PACES if str(each) == form.get("pace")), None)
    action = await confirm(
        view.client, action_id, by=view.operator.name, reason=str(form.get("reason", "")), pace=pace
    )  # fmt: skip
    text = "{action}: {count} done" if action.ended else "{action}: started"
    return view.done(
        sentence(text, action=title_of(action), count=f"{action.done:,}"), to=f"{view.base}bulk/{action_id}"
    )


async def _stop(view: View) -> Response:
    action = await stop(view.store, view.path("id"), by=view.operator.name)
    view.target = f"{title_of(action)}: {action.filter}"
    message = sentence("{action}: stopped after {count}", action=title_of(action), count=f"{action.handled:,}")
    return view.done(message, to=f"{view.base}bulk/{action.id}")


def title_of(action: BulkAction) -> Sentence:
    """Return what an action does to how many jobs."""
    one, many = TITLES[action.kind]
    return sentence(one) if action.count == 1 else sentence(many, count=f"{action.count:,}")
