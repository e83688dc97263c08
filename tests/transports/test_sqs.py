"""SQS meets the transport contract, on a server that speaks it; and what is its own."""

from dataclasses import dataclass

import pytest

from sidelane.testing.conformance.transports.place import DeadLetters
from sidelane.testing.conformance.transports.suite import TransportConformance
from sidelane.transports.address import Sqs
from sidelane.transports.sqs.transport import SqsTransport
from tests.transports.moto import Moto

# aiohttp says so of every request over a mebibyte; its writing takes less than a millisecond
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


@dataclass(frozen=True, slots=True)
class SqsWay:
    """One queue, and that of its dead letters."""

    address: Sqs
    dead_letters: str | None

    def open(self) -> SqsTransport:
        return SqsTransport(self.address)

    def open_dead_letters(self) -> SqsTransport:
        assert self.dead_letters is not None
        return SqsTransport(Sqs(self.dead_letters))


@dataclass(frozen=True, slots=True)
class SqsPlace:
    """Queues of a server."""

    moto: Moto
    shortest_hold: float = 1.0

    async def way(self, *, ordered: bool = False, dead_letters: DeadLetters = "none") -> SqsWay:
        buried = self.moto.queue(fifo=ordered) if dead_letters in ("given", "own") else None
        url = self.moto.queue(fifo=ordered, dead_letters=buried if dead_letters == "own" else None)
        given = "nowhere" if dead_letters == "missing" else buried
        return SqsWay(Sqs(url, dead_letters=None if dead_letters == "own" else given), buried)

    def missing(self) -> SqsTransport:
        return SqsTransport(Sqs("nowhere"))

    def unreachable(self) -> SqsTransport:
        return SqsTransport(Sqs("any", endpoint_url="http://127.0.0.1:1"))


class TestSqs(TransportConformance):
    """The whole contract."""

    @pytest.fixture
    def place(self, moto: Moto) -> SqsPlace:
        return SqsPlace(moto)
