"""An outside worker, as others write them: it knows the messages and nothing of the store."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sidelane.model.message import Message
from sidelane.transports.contract import Delivery, Transport

Answer = dict[str, Any]
"""The data of a completion, without the job and the token."""

Behave = Callable[["ExternalWorker", dict[str, Any]], Coroutine[Any, Any, None]]
"""What the worker does with the data of an offer."""


class ExternalWorker:
    """Takes offers and behaves."""

    def __init__(self, offers: Transport, replies: Transport, behave: Behave) -> None:
        self._offers = offers
        self._replies = replies
        self._behave = behave
        self.taken: list[dict[str, Any]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with self._offers.open_receiver(visibility_timeout=30.0) as receiver:
            while True:
                for delivery in await receiver.receive(100):
                    task = asyncio.create_task(self._take(delivery))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)

    async def _take(self, delivery: Delivery) -> None:
        offer = json.loads(delivery.message.body)
        self.taken.append(offer)
        await delivery.ack()
        await self._behave(self, offer["data"])

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def complete(self, offer: dict[str, Any], answer: Answer, *, token: str | None = None) -> None:
        """Answer an offer."""
        data = {"job": offer["job"], "token": token or offer["token"], **answer}
        await self.send("sidelane.job.completed", data)

    async def tell(self, offer: dict[str, Any], ordinal: int, *events: dict[str, Any]) -> None:
        """Tell events of a job."""
        data = {"job": offer["job"], "token": offer["token"], "ordinal": ordinal, "events": list(events)}
        await self.send("sidelane.job.events", data)

    async def send(self, kind: str, data: Any) -> None:
        event = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "outside", "type": kind, "data": data}
        await self.put(json.dumps(event))

    async def put(self, body: str) -> None:
        """Send whatever it is."""
        answers = await self._replies.send([Message(body=body, id=uuid.uuid4().hex)])
        assert answers == [None]


@asynccontextmanager
async def working(offers: Transport, replies: Transport, behave: Behave) -> AsyncIterator[ExternalWorker]:
    """Have an outside worker at work."""
    outside = ExternalWorker(offers, replies, behave)
    running = asyncio.create_task(outside.run())
    try:
        yield outside
    finally:
        running.cancel()
        await asyncio.wait([running, *outside._under_way], timeout=5)
        for task in outside._under_way:
            task.cancel()
        await offers.close()
        await replies.close()
