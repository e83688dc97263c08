"""Message queues with dead letters for tests, on SQS and on Pub/Sub."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from sidelane import PubSub, Sqs
from sidelane.transports.contract import Endpoint
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub


class MessageQueue(Protocol):
    """What applications at the other end of a queue do."""

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint to receive from."""
        ...

    @property
    def sender(self) -> Endpoint:
        """Endpoint to send to."""
        ...

    def publish(self, body: str, **attributes: str) -> None: ...
    def left(self) -> bool:
        """Return whether a message is left, even one in flight."""
        ...

    def dead_letter(self) -> tuple[str, str]:
        """Return body and reason of a dead letter, which arrives soon."""
        ...


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """A queue of SQS."""

    moto: Moto
    url: str
    dead: str

    @property
    def endpoint(self) -> Sqs:
        return Sqs(self.url)

    @property
    def sender(self) -> Sqs:
        return self.endpoint

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
class PubSubQueue:
    """A topic of Pub/Sub with a subscription."""

    pubsub: RunningPubSub
    topic: str
    subscription: str
    dead: str

    @property
    def endpoint(self) -> PubSub:
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


def sqs_queue(moto: Moto) -> SqsQueue:
    """Create a queue with a dead-letter queue."""
    dead = moto.queue()
    return SqsQueue(moto, moto.queue(dead_letters=dead), dead)


def pubsub_queue(pubsub: RunningPubSub) -> PubSubQueue:
    """Create a topic with a subscription, and the same for dead letters."""
    topic, dead_topic = pubsub.topic(), pubsub.topic()
    dead = pubsub.subscription(dead_topic)
    return PubSubQueue(pubsub, topic, pubsub.subscription(topic, dead_letters=dead_topic), dead)


@pytest.fixture(params=["sqs", "pubsub"])
def new_queue(request: pytest.FixtureRequest) -> Callable[[], MessageQueue]:
    """Return a function that makes queues of each kind."""
    if request.param == "sqs":
        moto: Moto = request.getfixturevalue("moto")
        return lambda: sqs_queue(moto)
    pubsub: RunningPubSub = request.getfixturevalue("pubsub")
    return lambda: pubsub_queue(pubsub)


@pytest.fixture
def queue(new_queue: Callable[[], MessageQueue]) -> MessageQueue:
    """A queue of each kind."""
    return new_queue()


@pytest.fixture
def queues(new_queue: Callable[[], MessageQueue]) -> tuple[MessageQueue, MessageQueue]:
    """Two queues of each kind."""
    return new_queue(), new_queue()
