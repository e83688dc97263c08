"""What a job that did not succeed had yielded by then: the text of its last attempt, read from its log."""

import json

from sidelane.engine.following import whole_log
from sidelane.model.event import ATTEMPT, TOKEN
from sidelane.stores.contract import Store


async def partial_text(store: Store, job_id: str) -> str:
    """Join the tokens after the log's last `attempt` event."""
    text: list[str] = []
    for event in await whole_log(store, job_id):
        if event.name == ATTEMPT:
            text.clear()
        elif event.name == TOKEN:
            text.append(json.loads(event.data)["text"])
    return "".join(text)
