"""Google Pub/Sub keeps the contract of transports, and what is its own."""

import pytest

from sidelane.testing.conformance.transports.place import DeadLetters
from sidelane.testing.conformance.transports.suite import TransportConformance
from sidelane.transports.address import PubSub
from sidelane.transports.contract import Transport
from sidelane.transports.pubsub.transport import PubSubTransport
from tests.transports.pubsub import RunningPubSub


class PubSubWay:
    """One topic with its subscription, and where its dead letters go."""

    def __init__(self, address: PubSub, dead_letters: PubSub) -> None:
        self._address = address
        self._dead_letters = dead_letters

    def open(self) -> Transport:
        return PubSubTransport(self._address)

    def open_dead_letters(self) -> Transport:
        return PubSubTransport(self._dead_letters)


class PubSubPlace:
    """The tests' own service."""

    shortest_hold = 1.0

    def __init__(self, pubsub: RunningPubSub, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pubsub = pubsub
        self._monkeypatch = monkeypatch

    async def way(self, *, ordered: bool = False, dead_letters: DeadLetters = "none") -> PubSubWay:
        topic, dead_topic = self._pubsub.topic(), self._pubsub.topic()
        dead = PubSub(subscription=self._pubsub.subscription(dead_topic))
        policy = {"dead_letters": dead_topic} if dead_letters == "own" else {}
        subscription = self._pubsub.subscription(topic, enable_message_ordering=ordered, **policy)
        told = {"given": dead_topic, "missing": "not-there"}.get(dead_letters)
        return PubSubWay(PubSub(topic=topic, subscription=subscription, dead_letters=told), dead)

    def missing(self) -> Transport:
        return PubSubTransport(PubSub(topic="not-there", subscription="not-there-either"))

    def unreachable(self) -> Transport:
        self._monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
        return PubSubTransport(PubSub(topic="topic", subscription="subscription"))


class TestPubSub(TransportConformance):
    @pytest.fixture
    def place(self, pubsub: RunningPubSub, monkeypatch: pytest.MonkeyPatch) -> PubSubPlace:
        return PubSubPlace(pubsub, monkeypatch)
