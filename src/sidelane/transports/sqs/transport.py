"""Transport of one SQS queue."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sidelane.model.errors import TransportError, TransportMisconfigured
from sidelane.model.message import Message
from sidelane.telemetry.port import Telemetry
from sidelane.transports.contract import VISIBILITY_TIMEOUT, Receiver
from sidelane.transports.endpoints import Sqs
from sidelane.transports.sqs.queue import LEGACY_MAX_SIZE, MAX_RETENTION, SqsQueue, connect
from sidelane.transports.sqs.receiver import SqsReceiver

MAX_REASON_LENGTH = 1000
"""Maximum characters of the reason of a dead letter."""

logger = logging.getLogger(__name__)


class SqsTransport:
    """One queue, connected at its first use."""

    def __init__(self, endpoint: Sqs, telemetry: Telemetry | None = None) -> None:
        self._endpoint = endpoint
        self._telemetry = telemetry or Telemetry()
        self._queue: SqsQueue | None = None
        self._lock = asyncio.Lock()
        self._dead_letters: SqsTransport | None = None

    @property
    def max_message_size(self) -> int:
        """Maximum bytes of a message. Before the queue is connected, this is the maximum of any queue."""
        return LEGACY_MAX_SIZE if self._queue is None else self._queue.max_message_size

    @property
    def redelivery_window(self) -> float:
        """Seconds that the queue keeps a message. Before the queue is connected, this is the maximum of SQS."""
        return MAX_RETENTION if self._queue is None else self._queue.retention

    async def connect(self) -> None:
        await self._connected()

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        try:
            queue = await self._connected()
            return list(await asyncio.gather(*(queue.send(message) for message in messages)))
        except TransportError as error:
            return [error] * len(messages)

    async def close(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            await queue.close()
        if self._dead_letters is not None:
            await self._dead_letters.close()

    @asynccontextmanager
    async def open_receiver(self, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> AsyncIterator[Receiver]:
        receiver = SqsReceiver(await self._connected(), self._send_dead_letter, visibility_timeout)
        try:
            yield receiver
        finally:
            await receiver.close()

    async def _connected(self) -> SqsQueue:
        async with self._lock:
            if self._queue is None:
                self._queue = await connect(self._endpoint, self._telemetry)
            return self._queue

    async def _send_dead_letter(self, message: Message, reason: str) -> bool:
        """Send a message to the dead-letter queue. Return False if this is impossible. Raises `TransportUnavailable`."""
        target = (await self._connected()).dead_letters
        if target is None:
            logger.error(
                "a message in %s cannot be used and stays, because there is no dead-letter queue: %s",
                self._endpoint,
                reason,
            )
            return False
        if self._dead_letters is None:
            self._dead_letters = SqsTransport(replace(self._endpoint, queue=target, dead_letters=None), self._telemetry)
        dead_letter = replace(message, attributes={**message.attributes, "reason": reason[:MAX_REASON_LENGTH]})
        (error,) = await self._dead_letters.send([dead_letter])
        if isinstance(error, TransportMisconfigured):
            logger.error("a message in %s cannot be used and stays: %s (%s)", self._endpoint, reason, error)
            return False
        if error is not None:
            raise error
        return True
