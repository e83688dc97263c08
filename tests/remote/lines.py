"""A line that messages come in by, with a place for those that cannot be used: on SQS and on Pub/Sub alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from sidelane import PubSub, Sqs
from sidelane.transports.endpoints import Address
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub


class Line(Protocol):
    """What others do at the far end of a line."""

    @property
    def address(self) -> Address:
        """Where messages come in."""
        ...

    @property
    def sender(self) -> Address:
        """Where they are sent to."""
        ...

    def publish(self, body: str, **attributes: str) -> None: ...
    def left(self) -> bool:
        """Tell whether a message is left, in hand or not."""
        ...

    def dead_letter(self) -> tuple[str, str]:
        """Take a message that could not be used, and give its body and the reason; it is there soon."""
        ...


@dataclass(frozen=True, slots=True)
class SqsLine:
    """A queue of SQS."""

    moto: Moto
    url: str
    dead: str

    @property
    def address(self) -> Sqs:
        return Sqs(self.url)

    @property
    def sender(self) -> Sqs:
        return self.address

    def publish(self, body: str, **attributes: str) -> None:
        values = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
        self.moto.sqs.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=values)

    def left(self) -> bool:
        return self.moto.count(self.url) > 0

    def dead_letter(self) -> tuple[str, str]:
        found = self.moto.sqs.receive_message(QueueUrl=self.dead, WaitTimeSeconds=10, MessageAttributeNames=["All"])
        (message,) = found["Messages"]
        return message["Body"], message["MessageAttributes"]["reason"]["StringValue"]


@dataclass(frozen=True, slots=True)
class PubSubLine:
    """A topic of Pub/Sub with a subscription."""

    pubsub: RunningPubSub
    topic: str
    subscription: str
    dead: str

    @property
    def address(self) -> PubSub:
        return PubSub(subscription=self.subscription)

    @property
    def sender(self) -> PubSub:
        return PubSub(topic=self.topic)

    def publish(self, body: str, **attributes: str) -> None:
        self.pubsub.publish(self.topic, body, **attributes)

    def left(self) -> bool:
        return self.pubsub.left(self.subscription) > 0

    def dead_letter(self) -> tuple[str, str]:
        (message,) = self.pubsub.pull(self.dead)
        return message.data.decode(), message.attributes["reason"]


def sqs_line(moto: Moto) -> SqsLine:
    """Make a queue with one for dead letters."""
    dead = moto.queue()
    return SqsLine(moto, moto.queue(dead_letters=dead), dead)


def pubsub_line(pubsub: RunningPubSub) -> PubSubLine:
    """Make a topic with a subscription, and one for dead letters."""
    topic, dead_topic = pubsub.topic(), pubsub.topic()
    dead = pubsub.subscription(dead_topic)
    return PubSubLine(pubsub, topic, pubsub.subscription(topic, dead_letters=dead_topic), dead)


@pytest.fixture(params=["sqs", "pubsub"])
def new_line(request: pytest.FixtureRequest) -> Callable[[], Line]:
    """Make lines of each kind."""
    if request.param == "sqs":
        moto: Moto = request.getfixturevalue("moto")
        return lambda: sqs_line(moto)
    pubsub: RunningPubSub = request.getfixturevalue("pubsub")
    return lambda: pubsub_line(pubsub)


@pytest.fixture
def line(new_line: Callable[[], Line]) -> Line:
    """A line of each kind."""
    return new_line()


@pytest.fixture
def lines(new_line: Callable[[], Line]) -> tuple[Line, Line]:
    """Two lines of each kind."""
    return new_line(), new_line()
