"""External worker as others write it: it knows the messages and nothing of the store."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sidelane.model.message import Message
from sidelane.transports.contract import Delivery, Transport

Answer = dict[str, Any]
"""Data of a completion without job and token."""

Behave = Callable[["ExternalWorker", dict[str, Any]], Coroutine[Any, Any, None]]
"""What the worker does with the data of a dispatched job."""


class ExternalWorker:
    """Receives dispatched jobs and calls `behave` with each."""

    def __init__(self, dispatched_jobs: Transport, replies: Transport, behave: Behave) -> None:
        self._jobs = dispatched_jobs
        self._replies = replies
        self._behave = behave
        self.taken: list[dict[str, Any]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with self._jobs.open_receiver(visibility_timeout=30.0) as receiver:
            while True:
                for delivery in await receiver.receive(100):
                    task = asyncio.create_task(self._take(delivery))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)

    async def _take(self, delivery: Delivery) -> None:
        dispatched = json.loads(delivery.message.body)
        self.taken.append(dispatched)
        await delivery.ack()
        await self._behave(self, dispatched["data"])

    async def idle(self) -> None:
        """Wait until no job is running."""
        while self._running:
            await asyncio.wait(self._running)

    async def complete(self, dispatched: dict[str, Any], answer: Answer, *, token: str | None = None) -> None:
        """Send a completion."""
        data = {"job": dispatched["job"], "token": token or dispatched["token"], **answer}
        await self.send("sidelane.job.completed", data)

    async def send_events(self, dispatched: dict[str, Any], ordinal: int, *events: dict[str, Any]) -> None:
        """Send events of a job."""
        data = {"job": dispatched["job"], "token": dispatched["token"], "ordinal": ordinal, "events": list(events)}
        await self.send("sidelane.job.events", data)

    async def send(self, kind: str, data: Any) -> None:
        event = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "external", "type": kind, "data": data}
        await self.put(json.dumps(event))

    async def put(self, body: str) -> None:
        """Send any message."""
        answers = await self._replies.send([Message(body=body, id=uuid.uuid4().hex)])
        assert answers == [None]


@asynccontextmanager
async def working(dispatched_jobs: Transport, replies: Transport, behave: Behave) -> AsyncIterator[ExternalWorker]:
    """Run an external worker."""
    external = ExternalWorker(dispatched_jobs, replies, behave)
    running = asyncio.create_task(external.run())
    try:
        yield external
    finally:
        running.cancel()
        await asyncio.wait([running, *external._running], timeout=5)
        for task in external._running:
            task.cancel()
        await dispatched_jobs.close()
        await replies.close()
