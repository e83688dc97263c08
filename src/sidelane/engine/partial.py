"""What a job that did not succeed had yielded by then: the text of its last attempt, read from its log."""

import json

from sidelane.model.event import ATTEMPT, TOKEN, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store


async def partial_text(store: Store, record: JobRecord) -> str:
    """Join the tokens after the log's last `attempt` event."""
    text: list[str] = []
    after: Cursor | None = None
    while reading := await store.read(record.id, after=after):
        for event in reading.events:
            if event.name == ATTEMPT:
                text.clear()
            elif event.name == TOKEN:
                text.append(json.loads(event.data)["text"])
            after = Cursor(event.epoch, event.number)
        if not reading.events or reading.events[-1].number >= reading.last:
            break
    return "".join(text)
