"""What a job that did not succeed had yielded by then: the text of its last attempt, read from its log."""

import json

from sidelane.client.event_stream import read_all
from sidelane.model.event import ATTEMPT, TOKEN
from sidelane.stores.contract import Store


async def partial_text(store: Store, job_id: str) -> str:
    """Join the tokens after the log's last `attempt` event."""
    text: list[str] = []
    for event in await read_all(store, job_id):
        if event.name == ATTEMPT:
            text.clear()
        elif event.name == TOKEN:
            text.append(json.loads(event.data)["text"])
    return "".join(text)
