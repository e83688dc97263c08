"""A consumer that refuses messages until it is opened, and copies of these. Nothing is received, so no broker is needed."""

import json
from typing import Any

from sidelane import Message, Sidelane, Sqs
from sidelane.consumers.consumer import Consumer
from sidelane.consumers.put_aside import declare_put_aside, put_aside

REASON = "ValueError: <b>not</b> today"


class Intake:
    """A consumer of a lane. It refuses messages as long as `open` is false, then makes jobs of the task `reply`."""

    def __init__(self, lane: Sidelane, name: str = "requests") -> None:
        self.open = False
        self.lane = lane

        @lane.task(name=f"reply-{name[:20]}")
        async def reply(content: str) -> str:
            return content

        def requests(message: Message) -> Any:
            if not self.open:
                raise ValueError("<b>not</b> today")
            return reply.options(user="ann").call(json.loads(message.body)["content"])

        self.reply = reply
        self.consumer = Consumer(requests, name, Sqs("feedback"), lane.registry)
        declare_put_aside(lane, self.consumer, lambda: lane.client)

    async def put_aside(self, message: Message) -> None:
        """Put a message aside, as the receiver of the consumer does."""
        await put_aside(self.lane.client, self.consumer, message, REASON, id_retention=600.0)


def message(message_id: str = "m1", content: str = "good", **attributes: str) -> Message:
    return Message(id=message_id, body=json.dumps({"content": content}, ensure_ascii=False), attributes=attributes)
