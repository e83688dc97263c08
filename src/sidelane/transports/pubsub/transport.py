"""Transport of Google Pub/Sub: one topic, one subscription, or both."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from google.pubsub_v1 import types

from sidelane.model.errors import TransportError, TransportMisconfigured
from sidelane.model.message import Message
from sidelane.telemetry.events import MessageAction, MessagesHandled
from sidelane.telemetry.port import Telemetry
from sidelane.transports.contract import VISIBILITY_TIMEOUT, Receiver
from sidelane.transports.endpoints import PubSub
from sidelane.transports.pubsub.connection import CALL_TIMEOUT, RETRY, Connection
from sidelane.transports.pubsub.errors import CLIENT_ERRORS, to_transport_error
from sidelane.transports.pubsub.publisher import MAX_BYTES, PublishCall
from sidelane.transports.pubsub.receiver import PubSubDelivery, PubSubReceiver

MAX_TEXT_BYTES = 1_024
MAX_ATTRIBUTES = 100
"""Maximum bytes of an attribute, and maximum attributes of a message."""


class PubSubTransport:
    """One topic, one subscription, or both."""

    max_message_size = MAX_BYTES - 10_000  # Pub/Sub also counts the framing of a message and its attributes
    redelivery_window = 31 * 86_400.0

    def __init__(self, endpoint: PubSub, telemetry: Telemetry | None = None) -> None:
        self._endpoint = endpoint
        self._telemetry = telemetry or Telemetry()
        self._connection = Connection(endpoint.project, endpoint.endpoint)
        self._dead_letters: str | None = None  # the path of the topic, once it is known

    async def connect(self) -> None:
        """Do nothing, because the limits of all topics are the same."""

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        topic = self._endpoint.topic
        if topic is None:
            return [TransportMisconfigured(f"{self._endpoint}: add topic=… to send.") for _ in messages]
        too_large = {
            index: TransportMisconfigured(f"A message of {size:,} bytes: Pub/Sub accepts {self.max_message_size:,}.")
            for index, message in enumerate(messages)
            if (size := message.size) > self.max_message_size
        }

        async def publish(some: Sequence[Any]) -> None:
            await self._publish(topic, some)

        sending = PublishCall(messages, publish)
        await sending.run([index for index in range(len(messages)) if index not in too_large])
        return [(too_large | sending.answers)[index] for index in range(len(messages))]

    @asynccontextmanager
    async def open_receiver(self, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> AsyncIterator[Receiver]:
        """Open a receiver. Visibility timeouts are whole seconds, from 10 to 600.

        Raises `TransportUnavailable` or `TransportMisconfigured`, the latter e.g. if the endpoint has no subscription.
        """
        name = self._endpoint.subscription
        if name is None:
            raise TransportMisconfigured(f"{self._endpoint}: add subscription=… to receive.")
        try:
            path = await self._connection.path("subscriptions", name)
            receiver = PubSubReceiver(
                await self._connection.subscriber(), path, visibility_timeout=visibility_timeout,
                publish_dead_letter=self._publish_dead_letter, report=self._report,
            )  # fmt: skip
        except CLIENT_ERRORS as error:
            raise to_transport_error(error, f"subscription {name}", needs="roles/pubsub.subscriber") from error
        try:
            yield receiver
        finally:
            await receiver.close()

    async def close(self) -> None:
        await self._connection.close()

    async def _publish(self, topic: str, messages: Sequence[Any]) -> None:
        """Publish in one request. Raises `TransportUnavailable` or `TransportMisconfigured`."""
        try:
            client = await self._connection.publisher()
            path = await self._connection.path("topics", topic)
            request = types.PublishRequest(topic=path, messages=messages)
            await client.publish(request=request, retry=RETRY, timeout=CALL_TIMEOUT)
        except CLIENT_ERRORS as error:
            raise to_transport_error(error, f"topic {topic}", needs="roles/pubsub.publisher") from error
        self._report(MessageAction.SENT, messages)

    def _report(self, action: MessageAction, items: Sequence[Any]) -> None:
        """Report one request about these messages, or about these acknowledgement ids."""
        if self._telemetry.wants(MessagesHandled):
            size = sum(len(item.data) for item in items if not isinstance(item, str))
            self._telemetry.report(
                MessagesHandled(endpoint=str(self._endpoint), action=action, count=len(items), requests=1, bytes=size)
            )

    async def _publish_dead_letter(self, delivery: PubSubDelivery, reason: str) -> None:
        """Publish a dead letter.

        Raises `TransportMisconfigured` if there is no topic for it, and otherwise the errors of `_publish`.
        """
        topic = await self._dead_letter_topic()
        attributes = dict(list(delivery.raw.attributes.items())[: MAX_ATTRIBUTES - 1])
        attributes["reason"] = reason.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
        dead_letter = types.PubsubMessage(
            data=delivery.raw.data, attributes=attributes, ordering_key=delivery.raw.ordering_key
        )
        await self._publish(topic, [dead_letter])

    async def _dead_letter_topic(self) -> str:
        """Return the dead-letter topic of the endpoint, or else of the subscription's policy."""
        name = self._dead_letters or self._endpoint.dead_letters
        if name is None:
            name = await self._policy_topic()
        self._dead_letters = name
        return name

    async def _policy_topic(self) -> str:
        subscription = self._endpoint.subscription or ""
        try:
            path = await self._connection.path("subscriptions", subscription)
            client = await self._connection.subscriber()
            found = await client.get_subscription(subscription=path, retry=RETRY, timeout=CALL_TIMEOUT)
        except CLIENT_ERRORS as error:
            raise to_transport_error(error, f"subscription {subscription}", needs="roles/pubsub.viewer") from error
        topic = str(found.dead_letter_policy.dead_letter_topic)
        if not topic:
            raise TransportMisconfigured(
                f"Subscription {subscription} has no dead-letter topic: add dead_letters=…, or set its policy."
            )
        return topic
