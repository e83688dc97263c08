"""Where the messages of a transport under test go, and the steps of the suite's sentences."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import pytest

from sidelane.model.message import Message
from sidelane.transports.contract import Delivery, Receiver, Transport

PATIENCE = 10.0
"""How long what must come may take, in seconds."""

QUIET = 0.3
"""How long nothing must come for, in seconds, before a test believes that nothing does."""

DeadLetters = Literal["none", "given", "own", "missing"]
"""Where rejected messages go: nowhere; where the address says; where the service itself was told; to what is not there."""


class Way(Protocol):
    """One queue, or one topic with its subscription: new, and empty."""

    def open(self) -> Transport:
        """Open it once more, as another process does. The suite closes what it opens."""
        ...

    def open_dead_letters(self) -> Transport:
        """Open where its rejected messages go, to receive from there."""
        ...


class TransportPlace(Protocol):
    """A messaging service under test."""

    @property
    def shortest_hold(self) -> float:
        """The shortest time for which a message can be held, in seconds."""
        ...

    async def way(self, *, ordered: bool = False, dead_letters: DeadLetters = "none") -> Way:
        """Set up a new way; `ordered`: so that it keeps the order of each group."""
        ...

    def missing(self) -> Transport:
        """Open the address of something that is not there."""
        ...

    def unreachable(self) -> Transport:
        """Open an address at which no server listens."""
        ...


def messages(*bodies: str, group: str | None = None) -> list[Message]:
    return [Message(body=body, id=f"id-{body}", group=group) for body in bodies]


async def send(transport: Transport, *sent: Message) -> None:
    """Send what must go."""
    assert await transport.send(sent) == [None] * len(sent)


async def take(receiver: Receiver, count: int = 1) -> list[Delivery]:
    """Receive so many messages, which must come."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(taken) < count:
            some = await receiver.receive(count - len(taken))
            assert 1 <= len(some) <= count - len(taken)
            taken += some
    return taken


async def nothing(receiver: Receiver, seconds: float = QUIET) -> None:
    """See that no message comes."""
    try:
        async with asyncio.timeout(seconds):
            came = await receiver.receive(10)
    except TimeoutError:
        return
    raise AssertionError(f"{bodies(came)} came, where nothing should")


def bodies(deliveries: Sequence[Delivery]) -> list[str]:
    return sorted(delivery.message.body for delivery in deliveries)


@asynccontextmanager
async def opened(transport: Transport) -> AsyncIterator[Transport]:
    try:
        yield transport
    finally:
        await transport.close()


class Subject:
    """One subject of the suite. The class that tests a transport brings the fixture `place`."""

    @pytest.fixture
    async def transport(self, place: TransportPlace) -> AsyncIterator[Transport]:
        async with opened((await place.way()).open()) as transport:
            yield transport
