"""Callbacks: whether they reach their receivers, and why not; deliver one again."""

import re
from typing import Final
from urllib.parse import urlencode

from fastapi import Response

from sidelane.admin.actions import redeliver
from sidelane.admin.callbacks import MAX_SEARCHED, newest_callbacks
from sidelane.model.job import MAX_TEXT
from sidelane.model.worker import QueueStats
from sidelane.tasks.internal_queues import CALLBACK_QUEUE
from sidelane.web.dashboard.site import Site, View

PAGE_SIZE: Final = 50

_SEQUENCE = re.compile(r"[0-9]{1,15}")


def add_pages(site: Site) -> None:
    """Add the list of callbacks, and its action."""
    site.get("/callbacks", _list)
    site.post("/callbacks/{id}/redeliver", _redeliver, action="callback.redeliver")


async def _list(view: View) -> Response:
    receiver, text = view.query.get("receiver", "").strip()[:MAX_TEXT], view.query.get("before", "")
    before = int(text) if _SEQUENCE.fullmatch(text) else None
    page = await newest_callbacks(view.store, PAGE_SIZE, receiver=receiver or None, before=before)
    queue = next(
        (each for each in await view.reads.stats() if each.name == CALLBACK_QUEUE), QueueStats(name=CALLBACK_QUEUE)
    )
    chosen = {"receiver": receiver} if receiver else {}
    older = None if page.before is None else f"?{urlencode({**chosen, 'before': page.before})}"
    return await view.page(
        "callbacks.html", current="callbacks", callbacks=page.callbacks, queue=queue, receiver=receiver, first=before is None,
        failing=await view.reads.failing_receivers(), older=older,
        searched=MAX_SEARCHED, newest=f"?{urlencode(chosen)}" if chosen else "",
    )  # fmt: skip


async def _redeliver(view: View) -> Response:
    (result,) = await redeliver(view.client, [view.path("id")])
    return view.result(result)
