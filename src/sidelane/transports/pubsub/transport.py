"""One address of Google Pub/Sub, opened."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from google.pubsub_v1 import types

from sidelane.model.errors import TransportError, TransportMisconfigured
from sidelane.model.message import Message
from sidelane.transports.contract import Receiver
from sidelane.transports.endpoints import PubSub
from sidelane.transports.pubsub.connection import ONE_TRY, TRYING, Connection
from sidelane.transports.pubsub.delivery import PubSubDelivery
from sidelane.transports.pubsub.errors import FAULTS, fault
from sidelane.transports.pubsub.publisher import MAX_BYTES, PublishCall
from sidelane.transports.pubsub.receiver import PubSubReceiver

LONGEST_TEXT = 1_024
MOST_ATTRIBUTES = 100
"""Bytes of an attribute, attributes of a message."""


class PubSubTransport:
    """One topic, one subscription, or both."""

    largest = MAX_BYTES - 10_000  # Pub/Sub counts the frames of a message and its attributes too
    redelivers = 31 * 86_400.0

    def __init__(self, address: PubSub) -> None:
        self._address = address
        self._connection = Connection(address.project, address.endpoint)
        self._dead_letters: str | None = None  # the path of the topic, once it is known

    async def reach(self) -> None:
        """Do nothing: every topic takes the same."""

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        topic = self._address.topic
        if topic is None:
            return [TransportMisconfigured(f"{self._address}: give a topic to send to.") for _ in messages]
        too_large = {
            place: TransportMisconfigured(f"A message of {size:,} bytes: Pub/Sub takes {self.largest:,}.")
            for place, message in enumerate(messages)
            if (size := message.size) > self.largest
        }

        async def publish(some: Sequence[Any]) -> None:
            await self._publish(topic, some)

        sending = PublishCall(messages, publish)
        await sending.run([place for place in range(len(messages)) if place not in too_large])
        return [(too_large | sending.answers)[place] for place in range(len(messages))]

    @asynccontextmanager
    async def receiving(self, *, hold: float = 30.0) -> AsyncIterator[Receiver]:
        """Open the way in; messages are held for whole seconds, 10 to 600. Raises `TransportUnusable` too."""
        name = self._address.subscription
        if name is None:
            raise TransportMisconfigured(f"{self._address}: give a subscription to receive from.")
        try:
            path = await self._connection.path("subscriptions", name)
            receiver = PubSubReceiver(await self._connection.subscriber(), path, hold=hold, put_aside=self._put_aside)
        except FAULTS as error:
            raise fault(error, f"subscription {name}", needs="roles/pubsub.subscriber") from error
        try:
            yield receiver
        finally:
            await receiver.close()

    async def close(self) -> None:
        await self._connection.close()

    async def _publish(self, topic: str, messages: Sequence[Any]) -> None:
        """Publish in one request. Raises `TransportUnavailable` and `TransportUnusable`."""
        try:
            client = await self._connection.publisher()
            path = await self._connection.path("topics", topic)
            request = types.PublishRequest(topic=path, messages=messages)
            await client.publish(request=request, retry=TRYING, timeout=ONE_TRY)
        except FAULTS as error:
            raise fault(error, f"topic {topic}", needs="roles/pubsub.publisher") from error

    async def _put_aside(self, delivery: PubSubDelivery, reason: str) -> None:
        """Publish a dead letter. Raises `TransportUnavailable`, and `TransportUnusable` where there is no place for it."""
        topic = await self._place_of_dead_letters()
        attributes = dict(list(delivery.raw.attributes.items())[: MOST_ATTRIBUTES - 1])
        attributes["reason"] = reason.encode()[:LONGEST_TEXT].decode(errors="ignore")
        letter = types.PubsubMessage(
            data=delivery.raw.data, attributes=attributes, ordering_key=delivery.raw.ordering_key
        )
        await self._publish(topic, [letter])

    async def _place_of_dead_letters(self) -> str:
        """Find the topic that the address names, or else the subscription's dead-letter policy."""
        name = self._dead_letters or self._address.dead_letters
        if name is None:
            name = await self._policy()
        self._dead_letters = name
        return name

    async def _policy(self) -> str:
        subscription = self._address.subscription or ""
        try:
            path = await self._connection.path("subscriptions", subscription)
            client = await self._connection.subscriber()
            about = await client.get_subscription(subscription=path, retry=TRYING, timeout=ONE_TRY)
        except FAULTS as error:
            raise fault(error, f"subscription {subscription}", needs="roles/pubsub.viewer") from error
        topic = str(about.dead_letter_policy.dead_letter_topic)
        if not topic:
            raise TransportMisconfigured(
                f"Subscription {subscription} has no dead-letter topic: give `dead_letters`, or set its policy."
            )
        return topic
