"""Messages: where they come from and go to, what was sent to external workers, and what was put aside; requeue and purge it."""

import re
from typing import Final

from fastapi import Response

from sidelane.admin.documents import parse_json
from sidelane.admin.messages import endpoint_uses, newest_dispatches
from sidelane.admin.put_aside import (
    consumer_of,
    message_of,
    purge_messages,
    put_aside_copy,
    put_aside_page,
    reason_of,
    requeue_messages,
)
from sidelane.model.worker import QueueStats
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.web.dashboard.masking import masked
from sidelane.web.dashboard.site import Site, View

MAX_BODY: Final = 20_000
"""Characters of a body that a page shows."""

_NUMBER = re.compile(r"[0-9]{1,15}")


def add_pages(site: Site) -> None:
    """Add the page of messages, that of one message which was put aside, and its actions."""
    site.get("/messages", _messages)
    site.get("/messages/{id}", _message)
    site.post("/messages/{id}/requeue", _requeue, action="message.requeue")
    site.post("/messages/{id}/purge", _purge, action="message.purge")


async def _messages(view: View) -> Response:
    number = view.query.get("before", "")
    before = int(number) if _NUMBER.fullmatch(number) else None
    uses = endpoint_uses(view.site.lane, await view.reads.workers())
    queue = next(
        (each for each in await view.reads.stats() if each.name == DISPATCH_QUEUE), QueueStats(name=DISPATCH_QUEUE)
    )
    page = await put_aside_page(view.store, before=before)
    return await view.page(
        "messages.html", current="messages", uses=uses, queue=queue, dispatches=await newest_dispatches(view.store),
        put_aside=page.messages, first=before is None, older=None if page.before is None else f"?before={page.before}",
    )  # fmt: skip


async def _message(view: View) -> Response:
    copy = await put_aside_copy(view.store, view.path("id"))
    message, mask = message_of(copy), view.site.options.mask
    body = str(masked(message.body, mask))
    return await view.page(
        "message.html", current="messages", copy=copy, message=message, reason=reason_of(copy), consumer=consumer_of(copy),
        job=parse_json(copy.result), body=body[:MAX_BODY],
        left_out=max(0, len(body) - MAX_BODY), attributes=masked(dict(message.attributes), mask),
    )  # fmt: skip


async def _requeue(view: View) -> Response:
    (result,) = await requeue_messages(view.store, [view.path("id")])
    return view.result(result)


async def _purge(view: View) -> Response:
    (result,) = await purge_messages(view.store, [view.path("id")])
    return view.result(result, to=f"{view.base}messages")
