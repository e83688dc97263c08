"""Pub/Sub receiver: receives one message of each ordering key at a time, and no more messages than were requested.

Deadlines are extended only by the caller, so that the messages of a dead process are delivered again. If a message is nacked,
later messages of its ordering key are nacked too.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.model.message import Message
from sidelane.telemetry.events import MessageAction
from sidelane.transports.contract import Delivery
from sidelane.transports.pubsub.acks import AckBatcher, Report, whole_deadline
from sidelane.transports.pubsub.errors import to_transport_error
from sidelane.transports.pubsub.streaming_pull import MAX_OUTSTANDING_BYTES, StreamingPull

MAX_QUEUED = 1_000
"""Maximum number of messages that wait in memory for earlier messages of their groups."""

logger = logging.getLogger(__name__)


class PubSubDelivery:
    """One arrival of a message."""

    def __init__(self, received: Any, receiver: "PubSubReceiver", *, visibility_timeout: float) -> None:
        self.ack_id: str = received.ack_id
        self.count: int = max(1, received.delivery_attempt)
        self.raw = received.message
        body = self.raw.data.decode(errors="replace")
        self.readable = body.encode() == self.raw.data
        self.message = Message(
            body=body,
            id=self.raw.message_id,
            attributes=dict(self.raw.attributes),
            group=self.raw.ordering_key or None,
        )
        self._receiver = receiver
        self._deadline = time.monotonic() + visibility_timeout
        self._done = False

    @property
    def left(self) -> float:
        """Seconds until the message's deadline; 0 after the deadline, and after the message was acknowledged or released."""
        return 0.0 if self._done else max(0.0, self._deadline - time.monotonic())

    def set_deadline(self, seconds: float) -> None:
        """Record that the message's deadline was extended to this many seconds from now."""
        self._deadline = time.monotonic() + seconds

    def end(self) -> None:
        """Record that the message was acknowledged or released."""
        self._done = True

    async def ack(self) -> None:
        if self.left:
            await self._receiver.acknowledge(self)

    async def extend(self, seconds: float) -> None:
        """Set the message's deadline to this many seconds from now, at most 600."""
        if self.left:
            await self._receiver.extend(self, seconds)

    async def release(self, delay: float = 0.0) -> None:
        if self.left:
            await self._receiver.release(self, delay)

    async def dead_letter(self, reason: str) -> None:
        if self.left:
            await self._receiver.dead_letter(self, reason)


PublishDeadLetter = Callable[[PubSubDelivery, str], Awaitable[None]]


class PubSubReceiver:
    """Receives from one subscription. `publish_dead_letter` raises `TransportError` if it cannot publish.

    `report` is called with what each request did with messages.
    """

    def __init__(
        self,
        client: SubscriberAsyncClient,
        path: str,
        *,
        visibility_timeout: float,
        publish_dead_letter: PublishDeadLetter,
        report: Report,
    ) -> None:
        self._client = client
        self._path = path
        self._acks = AckBatcher(client, path, report)
        self._report = report
        self._visibility_timeout = whole_deadline(max(1.0, visibility_timeout))
        self._publish_dead_letter = publish_dead_letter
        self._name = uuid.uuid4().hex  # so that the service recognizes the next stream
        self._stream: StreamingPull | None = None
        self._changed = asyncio.Event()
        self._arrived: dict[str, PubSubDelivery] = {}  # by message id, in order of arrival
        self._in_flight: dict[str, PubSubDelivery] = {}  # by acknowledgement id: returned to the caller
        self._head_of_group: dict[
            str, PubSubDelivery
        ] = {}  # by group: the message in flight, for which later ones wait

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            self._changed.clear()
            self._drop_expired()
            if ready := self._ready(limit):
                if readable := await self._readable(await self._take(ready)):
                    return [*readable]
                continue
            await self._open(limit)
            await self._changed.wait()

    async def close(self) -> None:
        """Close the stream, and release the messages that were received."""
        if self._stream is not None:
            await self._stream.close()
        left = [one for one in (*self._in_flight.values(), *self._arrived.values()) if one.left]
        self._in_flight.clear()
        self._arrived.clear()
        try:
            await self._acks.modify([one.ack_id for one in left], 0)
        except TransportError as error:
            logger.info("%s Messages of %s are delivered again after their deadlines.", error, self._path)
        for delivery in left:
            delivery.end()

    # --- arrival

    async def _open(self, limit: int) -> None:
        """Open a stream through which `limit` more messages can arrive, if there is none.

        Raises `TransportUnavailable` or `TransportMisconfigured`.
        """
        wanted = limit + len(self._in_flight) + min(len(self._arrived), MAX_QUEUED)
        stream = self._stream
        if stream is not None and stream.ended:
            self._stream = None
            error: TransportError = TransportUnavailable(f"Pub/Sub ended the stream of {self._path}.")
            if stream.failure is not None:
                error = to_transport_error(
                    stream.failure, f"subscription {self._path}", needs="roles/pubsub.subscriber"
                )
            if isinstance(error, TransportMisconfigured) or not stream.was_open:
                raise error from stream.failure
        elif stream is not None and stream.max_outstanding < wanted:
            await stream.close()  # this cannot change while a stream is open
            self._stream = None
            if self._arrived:
                wanted *= 2  # messages waiting for their group would reopen it again and again
        if self._stream is None:
            request = types.StreamingPullRequest(
                subscription=self._path,
                stream_ack_deadline_seconds=self._visibility_timeout,
                client_id=self._name,
                max_outstanding_messages=wanted,
                max_outstanding_bytes=MAX_OUTSTANDING_BYTES,
            )
            self._stream = StreamingPull(self._client, request, on_messages=self._arrive, on_end=self._changed.set)

    async def _arrive(self, messages: Sequence[Any]) -> None:
        self._report(MessageAction.RECEIVED, [received.message for received in messages])
        for received in messages:
            delivery = PubSubDelivery(received, self, visibility_timeout=self._visibility_timeout)
            first = self._head(delivery)
            if first and first.message.id == delivery.message.id:
                self._abandon(first)  # a redelivery: its deadline has passed, and later ones are redelivered too
            self._arrived.pop(delivery.message.id, None)
            self._arrived[delivery.message.id] = delivery
            if (first := self._head(delivery)) and first.left > self._visibility_timeout:
                with suppress(TransportError):  # then it is delivered again
                    await self._extend([delivery], first.left)
        self._changed.set()

    def _ready(self, limit: int) -> list[PubSubDelivery]:
        """Return the messages that can be processed now: the first message of each group that has none in flight."""
        groups, ready = set(self._head_of_group), list[PubSubDelivery]()
        for delivery in self._arrived.values():
            if len(ready) == limit:
                break
            group = delivery.message.group
            if group is None or group not in groups:
                ready.append(delivery)
            if group is not None:
                groups.add(group)
        return ready

    async def _take(self, ready: Sequence[PubSubDelivery]) -> list[PubSubDelivery]:
        """Mark messages as in flight, with most of their visibility timeout left."""
        await self._extend(
            [one for one in ready if one.left < self._visibility_timeout * 2 / 3], self._visibility_timeout
        )
        taken = [one for one in ready if self._arrived.get(one.message.id) is one]  # else it was redelivered meanwhile
        for delivery in taken:
            del self._arrived[delivery.message.id]
            self._in_flight[delivery.ack_id] = delivery
            if delivery.message.group:
                self._head_of_group[delivery.message.group] = delivery
        return taken

    async def _readable(self, taken: Sequence[PubSubDelivery]) -> list[PubSubDelivery]:
        """Dead-letter messages that are not text."""
        for delivery in taken:
            if not delivery.readable:
                await delivery.dead_letter("The message is not UTF-8 text.")
        return [one for one in taken if one.readable]

    def _drop_expired(self) -> None:
        for delivery in [one for one in self._in_flight.values() if not one.left]:
            self._abandon(delivery)
        self._arrived = {id_: one for id_, one in self._arrived.items() if one.left}

    # --- completion

    async def acknowledge(self, delivery: PubSubDelivery) -> None:
        await self._acks.acknowledge(delivery.ack_id)
        self._end(delivery)

    async def extend(self, delivery: PubSubDelivery, seconds: float) -> None:
        await self._extend([delivery, *self._queued_after(delivery)], seconds)

    async def release(self, delivery: PubSubDelivery, delay: float) -> None:
        together = [delivery, *self._queued_after(delivery)]
        self._abandon(delivery)
        await self._acks.modify([one.ack_id for one in together], delay)

    async def dead_letter(self, delivery: PubSubDelivery, reason: str) -> None:
        try:
            await self._publish_dead_letter(delivery, reason)
        except TransportUnavailable:
            raise
        except TransportError as error:
            logger.error("a message of %s cannot be used and stays: %s %s", self._path, reason, error)
        else:
            await self.acknowledge(delivery)

    async def _extend(self, deliveries: Sequence[PubSubDelivery], seconds: float) -> None:
        await self._acks.modify([one.ack_id for one in deliveries], max(1.0, seconds))
        for delivery in deliveries:
            delivery.set_deadline(whole_deadline(max(1.0, seconds)))

    def _head(self, delivery: PubSubDelivery) -> PubSubDelivery | None:
        """Return the message in flight for which a message of its group waits."""
        return self._head_of_group.get(delivery.message.group) if delivery.message.group else None

    def _queued_after(self, delivery: PubSubDelivery) -> list[PubSubDelivery]:
        """Return the messages that wait for this message of their group."""
        if self._head(delivery) is not delivery:
            return []
        return [one for one in self._arrived.values() if self._head(one) is delivery]

    def _abandon(self, delivery: PubSubDelivery) -> None:
        """Drop a message, and the messages that wait for it, without acknowledgements.

        The waiting messages are delivered again after it.
        """
        for one in self._queued_after(delivery):
            self._arrived.pop(one.message.id, None)
        self._end(delivery)

    def _end(self, delivery: PubSubDelivery) -> None:
        """End a delivery, and unblock its group."""
        delivery.end()
        self._in_flight.pop(delivery.ack_id, None)
        if delivery.message.group and self._head(delivery) is delivery:
            del self._head_of_group[delivery.message.group]
        self._changed.set()
