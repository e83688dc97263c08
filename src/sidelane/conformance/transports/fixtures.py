"""Fixtures and helpers for tests of transports."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import pytest

from sidelane.model.message import Message
from sidelane.transports.contract import Delivery, Receiver, Transport

TIMEOUT = 10.0
"""Seconds to wait for an expected message."""

IDLE_TIME = 0.3
"""Seconds without a message after which a test assumes that none comes."""

DeadLetters = Literal["none", "given", "own", "missing"]
"""Where dead letters go: nowhere; to the endpoint's setting; to the service's own setting; to a missing queue."""


class Channel(Protocol):
    """A new, empty queue, or topic with subscription."""

    def open(self) -> Transport:
        """Open another transport to it. The suite closes what it opens."""
        ...

    def open_dead_letters(self) -> Transport:
        """Open a transport to its dead letters."""
        ...


class TransportFactory(Protocol):
    """A messaging service under test."""

    @property
    def min_visibility_timeout(self) -> float:
        """The shortest visibility timeout, in seconds."""
        ...

    async def channel(self, *, ordered: bool = False, dead_letters: DeadLetters = "none") -> Channel:
        """Create a channel; `ordered` keeps the order within each group."""
        ...

    def missing(self) -> Transport:
        """Open an endpoint that does not exist."""
        ...

    def unreachable(self) -> Transport:
        """Open an endpoint without a server."""
        ...


def messages(*bodies: str, group: str | None = None) -> list[Message]:
    return [Message(body=body, id=f"id-{body}", group=group) for body in bodies]


async def send(transport: Transport, *sent: Message) -> None:
    """Send messages that must succeed."""
    assert await transport.send(sent) == [None] * len(sent)


async def take(receiver: Receiver, count: int = 1) -> list[Delivery]:
    """Receive `count` messages that must come."""
    taken: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT):
        while len(taken) < count:
            some = await receiver.receive(count - len(taken))
            assert 1 <= len(some) <= count - len(taken)
            taken += some
    return taken


async def assert_no_message(receiver: Receiver, seconds: float = IDLE_TIME) -> None:
    """Check that no message comes."""
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


class TransportSuite:
    """Base of the suite's classes. The class that tests a transport defines the fixture `factory`."""

    @pytest.fixture
    async def transport(self, factory: TransportFactory) -> AsyncIterator[Transport]:
        async with opened((await factory.channel()).open()) as transport:
            yield transport
