"""Messages: where they come from and go to, what was sent to external workers, and what was put aside."""

from fastapi import Response

from sidelane.admin.messages import endpoint_uses, newest_dispatches, put_aside_messages
from sidelane.model.worker import QueueStats
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.web.dashboard.site import Site, View


def add_pages(site: Site) -> None:
    """Add the page of messages."""
    site.get("/messages", _messages)


async def _messages(view: View) -> Response:
    uses = endpoint_uses(view.site.lane, await view.reads.workers())
    queue = next(
        (each for each in await view.reads.stats() if each.name == DISPATCH_QUEUE), QueueStats(name=DISPATCH_QUEUE)
    )
    return await view.page(
        "messages.html", current="messages", uses=uses, queue=queue, dispatches=await newest_dispatches(view.store),
        put_aside=await put_aside_messages(view.store),
    )  # fmt: skip
