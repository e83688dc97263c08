"""Receiving from SQS: deliveries, and the long poll they come with."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sidelane.model.errors import TransportError
from sidelane.model.message import Message
from sidelane.transports.contract import Delivery
from sidelane.transports.sqs import codec
from sidelane.transports.sqs.queue import SqsQueue

MAX_VISIBILITY = 12 * 3600
"""How long SQS lets a message be held from when it was received, in seconds, however often it is extended."""

DeadLetter = Callable[[Message, str], Awaitable[bool]]
"""Puts a message where dead letters go, with the reason; false where there is no such place."""

logger = logging.getLogger(__name__)


class SqsDelivery:
    """One message in the receiver's hands."""

    def __init__(self, received: Mapping[str, Any], connection: SqsQueue, bury: DeadLetter, hold: float) -> None:
        self.message = codec.from_entry(received)
        self.count = int(received.get("Attributes", {}).get("ApproximateReceiveCount", 1))
        self._handle: str = received["ReceiptHandle"]
        self._connection = connection
        self._bury = bury
        self._received = time.monotonic()
        self._until = self._received + hold

    @property
    def held(self) -> bool:
        """Whether it is still the receiver's."""
        return time.monotonic() < self._until

    async def ack(self) -> None:
        if self.held:
            _raise(await self._connection.delete(self._handle))
            self._until = -math.inf

    async def extend(self, seconds: float) -> None:
        now = time.monotonic()
        most = int(self._received + MAX_VISIBILITY - now) - 1
        seconds = min(math.ceil(seconds), most)
        if self.held and seconds > 0:
            _raise(await self._connection.change((self._handle, seconds)))
            self._until = now + seconds

    async def release(self, delay: float = 0.0) -> None:
        if self.held:
            _raise(await self._connection.change((self._handle, min(math.ceil(delay), MAX_VISIBILITY - 1))))
            self._until = -math.inf

    async def reject(self, reason: str) -> None:
        if self.held and await self._bury(self.message, reason):
            await self.ack()


class SqsReceiver:
    """The way in: one long poll at a time, which goes on when a `receive` is cancelled, so that the next one has what it brings."""

    def __init__(self, connection: SqsQueue, bury: DeadLetter, hold: float) -> None:
        self._connection = connection
        self._bury = bury
        self._hold = min(max(1, math.ceil(hold)), MAX_VISIBILITY)
        self._polling: asyncio.Task[list[SqsDelivery]] | None = None
        self._came: list[SqsDelivery] = []
        self._given: list[SqsDelivery] = []

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages and give 1 to `limit` of them."""
        while True:
            self._came = [delivery for delivery in self._came if delivery.held]
            if self._came:
                given, self._came = self._came[:limit], self._came[limit:]
                self._given = [delivery for delivery in self._given if delivery.held] + given
                return [*given]
            if self._polling is None:
                self._polling = asyncio.create_task(self._poll(limit))
            polling = self._polling
            await asyncio.wait({polling})
            if self._polling is polling:
                self._polling = None
                self._came += polling.result()

    async def close(self) -> None:
        """Stop, and let what is not acknowledged come again."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})
            if not self._polling.cancelled() and self._polling.exception() is None:
                self._came += self._polling.result()
        releases = (delivery.release() for delivery in (*self._given, *self._came))
        for failure in await asyncio.gather(*releases, return_exceptions=True):
            if isinstance(failure, TransportError):  # it comes again when its time is over
                logger.warning("a message could not be given back: %s", failure)

    async def _poll(self, limit: int) -> list[SqsDelivery]:
        received = await self._connection.receive(limit, self._hold)
        return [SqsDelivery(each, self._connection, self._bury, self._hold) for each in received]


def _raise(error: TransportError | None) -> None:
    if error is not None:
        raise error
