"""A lane whose consumer refuses some messages, and copies of these."""

import json
from typing import Any

from sidelane import Message, Sidelane, Sqs
from sidelane.consumers.consumer import Consumer
from sidelane.consumers.put_aside import put_aside

REASON = "ValueError: not today"


class Intake:
    """A lane with a consumer that refuses messages as long as `open` is false."""

    def __init__(self, store: str, name: str = "requests") -> None:
        self.open = False
        self.lane = lane = Sidelane(store=store, settings={"lease_duration": 2.0, "shutdown_timeout": 0.0})

        @lane.task
        async def answer(content: str) -> str:
            return content

        @lane.consumer(Sqs("feedback"), name=name)
        def requests(message: Message) -> Any:
            if not self.open:
                raise ValueError("not today")
            return answer.options(user="ann").call(json.loads(message.body)["content"])

        self.answer, self.consumer = answer, requests

    async def put_aside(self, message: Message, *, consumer: Consumer | None = None) -> None:
        """Put a message aside, as the receiver of the consumer does."""
        await put_aside(self.lane.client, consumer or self.consumer, message, REASON, id_retention=600.0)


def message(message_id: str = "m1", content: str = "good", **attributes: str) -> Message:
    return Message(id=message_id, body=json.dumps({"content": content}, ensure_ascii=False), attributes=attributes)
