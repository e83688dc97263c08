"""Google Pub/Sub."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sidelane.model.errors import TransportError
from sidelane.model.message import Message
from sidelane.transports.address import PubSub
from sidelane.transports.contract import Receiver


class PubSubTransport:
    """One topic, one subscription, or both."""

    largest = 10_000_000
    redelivers = 31 * 86_400.0

    def __init__(self, address: PubSub) -> None:
        self._address = address

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        raise NotImplementedError

    def receiving(self, *, hold: float = 30.0) -> AbstractAsyncContextManager[Receiver]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
