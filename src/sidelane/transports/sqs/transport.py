"""The transport of one SQS queue."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from sidelane.model.errors import TransportError, TransportMisconfigured
from sidelane.model.message import Message
from sidelane.transports.contract import Receiver
from sidelane.transports.endpoints import Sqs
from sidelane.transports.sqs.queue import LEGACY_MAX_SIZE, RETENTION, SqsQueue, connect
from sidelane.transports.sqs.receiver import SqsReceiver

REASON = 1000
"""How many characters of a reason go with a rejected message."""

logger = logging.getLogger(__name__)


class SqsTransport:
    """One queue, reached with the first call."""

    def __init__(self, address: Sqs) -> None:
        self._address = address
        self._connection: SqsQueue | None = None
        self._connecting = asyncio.Lock()
        self._dead_letters: SqsTransport | None = None

    @property
    def largest(self) -> int:
        """How many bytes a message may have: what every queue takes, and what this one takes once it was asked."""
        return LEGACY_MAX_SIZE if self._connection is None else self._connection.largest

    @property
    def redelivers(self) -> float:
        """How long the queue keeps a message, in seconds; before it was asked, the longest that any does."""
        return RETENTION if self._connection is None else self._connection.retention

    async def reach(self) -> None:
        await self._connected()

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        try:
            connection = await self._connected()
            return list(await asyncio.gather(*(connection.send(message) for message in messages)))
        except TransportError as error:
            return [error] * len(messages)

    def receiving(self, *, hold: float = 30.0) -> AbstractAsyncContextManager[Receiver]:
        return self._receiving(hold)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        if self._dead_letters is not None:
            await self._dead_letters.close()

    @asynccontextmanager
    async def _receiving(self, hold: float) -> AsyncIterator[Receiver]:
        receiver = SqsReceiver(await self._connected(), self._bury, hold)
        try:
            yield receiver
        finally:
            await receiver.close()

    async def _connected(self) -> SqsQueue:
        async with self._connecting:
            if self._connection is None:
                self._connection = await connect(self._address)
            return self._connection

    async def _bury(self, message: Message, reason: str) -> bool:
        """Send a message to the dead letters, with the reason; false where that cannot be. Raises `TransportUnavailable`."""
        target = (await self._connected()).dead_letters
        if target is None:
            logger.error(
                "a message in %s cannot be used and stays, for it has no dead-letter queue: %s", self._address, reason
            )
            return False
        if self._dead_letters is None:
            self._dead_letters = SqsTransport(replace(self._address, queue=target, dead_letters=None))
        letter = replace(message, attributes={**message.attributes, "reason": reason[:REASON]})
        (error,) = await self._dead_letters.send([letter])
        if isinstance(error, TransportMisconfigured):
            logger.error("a message in %s cannot be used and stays: %s (%s)", self._address, reason, error)
            return False
        if error is not None:
            raise error
        return True
