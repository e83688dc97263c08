"""Amazon SQS."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import aiobotocore  # noqa: F401

from sidelane.model.errors import TransportError
from sidelane.model.message import Message
from sidelane.transports.address import Sqs
from sidelane.transports.contract import Receiver


class SqsTransport:
    """One queue."""

    largest = 262_144
    redelivers = 14 * 86_400.0

    def __init__(self, address: Sqs) -> None:
        self._address = address

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        raise NotImplementedError

    def receiving(self, *, hold: float = 30.0) -> AbstractAsyncContextManager[Receiver]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
