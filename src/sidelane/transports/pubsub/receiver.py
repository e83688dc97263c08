"""Receiving: messages as they come, one of each group at a time, and no more of them than were asked for.

Nobody renews a deadline here but who holds the message: what a dead process held comes again when its time is over. What waits
behind an earlier one of its group shares that one's fate.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.transports.contract import Delivery
from sidelane.transports.pubsub.acks import AckBatcher, whole
from sidelane.transports.pubsub.delivery import PubSubDelivery
from sidelane.transports.pubsub.errors import fault
from sidelane.transports.pubsub.streaming_pull import MOST_BYTES, StreamingPull

WAITING = 1_000
"""How many messages may wait here behind earlier ones of their groups."""

DeadLetter = Callable[[PubSubDelivery, str], Awaitable[None]]

logger = logging.getLogger(__name__)


class PubSubReceiver:
    """An open way in. `put_aside` publishes a dead letter, and raises `TransportError` where it cannot."""

    def __init__(self, client: SubscriberAsyncClient, path: str, *, hold: float, put_aside: DeadLetter) -> None:
        self._client = client
        self._path = path
        self._acknowledging = AckBatcher(client, path)
        self._hold = whole(max(1.0, hold))
        self._put_aside = put_aside
        self._name = uuid.uuid4().hex  # the service knows a stream's successor by it
        self._stream: StreamingPull | None = None
        self._changed = asyncio.Event()
        self._arrived: dict[str, PubSubDelivery] = {}  # by message id, and in the order they came
        self._held: dict[str, PubSubDelivery] = {}  # by acknowledgement id, what was handed out
        self._first: dict[str, PubSubDelivery] = {}  # by group, the one in hand for which its others wait

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            self._changed.clear()
            self._forget_what_is_over()
            if ready := self._ready(limit):
                if usable := await self._readable(await self._hand_out(ready)):
                    return [*usable]
                continue
            await self._open(limit)
            await self._changed.wait()

    async def close(self) -> None:
        """End the stream, and release what was received."""
        if self._stream is not None:
            await self._stream.close()
        left = [one for one in (*self._held.values(), *self._arrived.values()) if one.left]
        self._held.clear()
        self._arrived.clear()
        try:
            await self._acknowledging.modify([one.ack_id for one in left], 0)
        except TransportError as error:
            logger.info("%s Messages of %s come again when their time is over.", error, self._path)
        for delivery in left:
            delivery.end()

    # --- what comes

    async def _open(self, limit: int) -> None:
        """See that a stream is open, through which `limit` messages can come beside those that are here.

        Raises `TransportUnavailable` and `TransportUnusable`.
        """
        wanted = limit + len(self._held) + min(len(self._arrived), WAITING)
        stream = self._stream
        if stream is not None and stream.ended:
            self._stream = None
            why: TransportError = TransportUnavailable(f"Pub/Sub ended the stream of {self._path}.")
            if stream.failure is not None:
                why = fault(stream.failure, f"subscription {self._path}", needs="roles/pubsub.subscriber")
            if isinstance(why, TransportMisconfigured) or not stream.lived:
                raise why from stream.failure
        elif stream is not None and stream.most < wanted:
            await stream.close()  # how much may be outstanding is said once
            self._stream = None
            if self._arrived:
                wanted *= 2  # what waits for its group would have it closed and opened time and again
        if self._stream is None:
            request = types.StreamingPullRequest(
                subscription=self._path,
                stream_ack_deadline_seconds=self._hold,
                client_id=self._name,
                max_outstanding_messages=wanted,
                max_outstanding_bytes=MOST_BYTES,
            )
            self._stream = StreamingPull(self._client, request, on_messages=self._arrive, on_end=self._changed.set)

    async def _arrive(self, messages: Iterable[Any]) -> None:
        for received in messages:
            delivery = PubSubDelivery(received, self, hold=self._hold)
            first = self._before(delivery)
            if first and first.message.id == delivery.message.id:
                self._leave(first)  # it comes again, so its time is over, and those behind it come again too
            self._arrived.pop(delivery.message.id, None)
            self._arrived[delivery.message.id] = delivery
            if (first := self._before(delivery)) and first.left > self._hold:
                with suppress(TransportError):  # then it comes again
                    await self._prolong([delivery], first.left)
        self._changed.set()

    def _ready(self, limit: int) -> list[PubSubDelivery]:
        """Choose what can be handed out: of each group the first, while none of it is in hand."""
        groups, ready = set(self._first), list[PubSubDelivery]()
        for delivery in self._arrived.values():
            if len(ready) == limit:
                break
            group = delivery.message.group
            if group is None or group not in groups:
                ready.append(delivery)
            if group is not None:
                groups.add(group)
        return ready

    async def _hand_out(self, ready: Sequence[PubSubDelivery]) -> list[PubSubDelivery]:
        """Give messages out, with most of their time before them."""
        await self._prolong([one for one in ready if one.left < self._hold * 2 / 3], self._hold)
        given = [one for one in ready if self._arrived.get(one.message.id) is one]  # else it has come again meanwhile
        for delivery in given:
            del self._arrived[delivery.message.id]
            self._held[delivery.ack_id] = delivery
            if delivery.message.group:
                self._first[delivery.message.group] = delivery
        return given

    async def _readable(self, given: Sequence[PubSubDelivery]) -> list[PubSubDelivery]:
        """Put aside what is no text, which nobody could read."""
        for delivery in given:
            if not delivery.readable:
                await delivery.reject("The message is not UTF-8 text.")
        return [one for one in given if one.readable]

    def _forget_what_is_over(self) -> None:
        for delivery in [one for one in self._held.values() if not one.left]:
            self._leave(delivery)
        self._arrived = {id_: one for id_, one in self._arrived.items() if one.left}

    # --- what becomes of it

    async def acknowledge(self, delivery: PubSubDelivery) -> None:
        await self._acknowledging.acknowledge(delivery.ack_id)
        self._let_go(delivery)

    async def hold(self, delivery: PubSubDelivery, seconds: float) -> None:
        await self._prolong([delivery, *self._behind(delivery)], seconds)

    async def give_back(self, delivery: PubSubDelivery, delay: float) -> None:
        together = [delivery, *self._behind(delivery)]
        self._leave(delivery)
        await self._acknowledging.modify([one.ack_id for one in together], delay)

    async def bury(self, delivery: PubSubDelivery, reason: str) -> None:
        try:
            await self._put_aside(delivery, reason)
        except TransportUnavailable:
            raise
        except TransportError as error:
            logger.error("A message of %s cannot be used and stays: %s %s", self._path, reason, error)
        else:
            await self.acknowledge(delivery)

    async def _prolong(self, deliveries: Sequence[PubSubDelivery], seconds: float) -> None:
        await self._acknowledging.modify([one.ack_id for one in deliveries], max(1.0, seconds))
        for delivery in deliveries:
            delivery.prolong(whole(max(1.0, seconds)))

    def _before(self, delivery: PubSubDelivery) -> PubSubDelivery | None:
        """Find the one in hand for which a message has to wait."""
        return self._first.get(delivery.message.group) if delivery.message.group else None

    def _behind(self, delivery: PubSubDelivery) -> list[PubSubDelivery]:
        """Find what waits here for a message of its group."""
        if self._before(delivery) is not delivery:
            return []
        return [one for one in self._arrived.values() if self._before(one) is delivery]

    def _leave(self, delivery: PubSubDelivery) -> None:
        """Let a message go unacknowledged, and with it those behind it: they come again after it."""
        for one in self._behind(delivery):
            self._arrived.pop(one.message.id, None)
        self._let_go(delivery)

    def _let_go(self, delivery: PubSubDelivery) -> None:
        """It is in nobody's hands here, and no longer in the way of its group."""
        delivery.end()
        self._held.pop(delivery.ack_id, None)
        if delivery.message.group and self._before(delivery) is delivery:
            del self._first[delivery.message.group]
        self._changed.set()
