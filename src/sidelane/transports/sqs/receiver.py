"""SQS receiver: one long poll at a time, and the deliveries that it returns."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sidelane.model.errors import TransportError
from sidelane.model.message import Message
from sidelane.transports.contract import Delivery
from sidelane.transports.endpoints import Sqs
from sidelane.transports.sqs import codec
from sidelane.transports.sqs.queue import SqsQueue

MAX_VISIBILITY = Sqs.max_visibility

SendDeadLetter = Callable[[Message, str], Awaitable[bool]]
"""Sends a message to the dead-letter queue with the reason; returns False if there is none."""

logger = logging.getLogger(__name__)


class SqsDelivery:
    """One arrival of a message."""

    def __init__(
        self, received: Mapping[str, Any], queue: SqsQueue, send_dead_letter: SendDeadLetter, visibility_timeout: float
    ) -> None:
        self.message = codec.from_entry(received)
        self.count = int(received.get("Attributes", {}).get("ApproximateReceiveCount", 1))
        self._handle: str = received["ReceiptHandle"]
        self._queue = queue
        self._send_dead_letter = send_dead_letter
        self._received = time.monotonic()
        self._deadline = self._received + visibility_timeout

    @property
    def valid(self) -> bool:
        """Whether the message's visibility timeout has not ended."""
        return time.monotonic() < self._deadline

    async def ack(self) -> None:
        if self.valid:
            _raise(await self._queue.delete(self._handle))
            self._deadline = -math.inf

    async def extend(self, seconds: float) -> None:
        now = time.monotonic()
        max_seconds = int(self._received + MAX_VISIBILITY - now) - 1
        seconds = min(math.ceil(seconds), max_seconds)
        if self.valid and seconds > 0:
            _raise(await self._queue.change((self._handle, seconds)))
            self._deadline = now + seconds

    async def release(self, delay: float = 0.0) -> None:
        if self.valid:
            _raise(await self._queue.change((self._handle, min(math.ceil(delay), MAX_VISIBILITY - 1))))
            self._deadline = -math.inf

    async def dead_letter(self, reason: str) -> None:
        if self.valid and await self._send_dead_letter(self.message, reason):
            await self.ack()


class SqsReceiver:
    """Receives with one long poll at a time.

    The poll continues when `receive` is cancelled, and the next call returns its messages.
    """

    def __init__(self, queue: SqsQueue, send_dead_letter: SendDeadLetter, visibility_timeout: float) -> None:
        self._queue = queue
        self._send_dead_letter = send_dead_letter
        self._visibility_timeout = min(max(1, math.ceil(visibility_timeout)), MAX_VISIBILITY)
        self._polling: asyncio.Task[list[SqsDelivery]] | None = None
        self._buffer: list[SqsDelivery] = []
        self._in_flight: list[SqsDelivery] = []

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages and return 1 to `limit` of them."""
        while True:
            self._buffer = [delivery for delivery in self._buffer if delivery.valid]
            if self._buffer:
                received, self._buffer = self._buffer[:limit], self._buffer[limit:]
                self._in_flight = [delivery for delivery in self._in_flight if delivery.valid] + received
                return [*received]
            if self._polling is None:
                self._polling = asyncio.create_task(self._poll(limit))
            polling = self._polling
            await asyncio.wait({polling})
            if self._polling is polling:
                self._polling = None
                self._buffer += polling.result()

    async def close(self) -> None:
        """Stop receiving, and release the messages that are not acknowledged."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})
            if not self._polling.cancelled() and self._polling.exception() is None:
                self._buffer += self._polling.result()
        releases = (delivery.release() for delivery in (*self._in_flight, *self._buffer))
        for failure in await asyncio.gather(*releases, return_exceptions=True):
            if isinstance(failure, TransportError):  # it is delivered again after its visibility timeout
                logger.warning("a message could not be released: %s", failure)

    async def _poll(self, limit: int) -> list[SqsDelivery]:
        received = await self._queue.receive(limit, self._visibility_timeout)
        return [SqsDelivery(each, self._queue, self._send_dead_letter, self._visibility_timeout) for each in received]


def _raise(error: TransportError | None) -> None:
    if error is not None:
        raise error
