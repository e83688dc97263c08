"""A Pub/Sub message in the receiver's hands."""

import time
from typing import Any, Protocol

from sidelane.model.message import Message


class DeliveryActions(Protocol):
    """What can be done about a delivery, by who received it."""

    async def acknowledge(self, delivery: "PubSubDelivery") -> None: ...
    async def hold(self, delivery: "PubSubDelivery", seconds: float) -> None: ...
    async def give_back(self, delivery: "PubSubDelivery", delay: float) -> None: ...
    async def bury(self, delivery: "PubSubDelivery", reason: str) -> None: ...


class PubSubDelivery:
    """One message, delivered once."""

    def __init__(self, received: Any, verbs: DeliveryActions, *, hold: float) -> None:
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
        self._verbs = verbs
        self._until = time.monotonic() + hold
        self._done = False

    @property
    def left(self) -> float:
        """How many seconds are left of its time; none when it is over, or it is done with."""
        return 0.0 if self._done else max(0.0, self._until - time.monotonic())

    def prolong(self, seconds: float) -> None:
        """Note that it has so much time from now."""
        self._until = time.monotonic() + seconds

    def end(self) -> None:
        """Note that it is in these hands no more."""
        self._done = True

    async def ack(self) -> None:
        if self.left:
            await self._verbs.acknowledge(self)

    async def extend(self, seconds: float) -> None:
        """Keep it for so long, 600 seconds at most."""
        if self.left:
            await self._verbs.hold(self, seconds)

    async def release(self, delay: float = 0.0) -> None:
        if self.left:
            await self._verbs.give_back(self, delay)

    async def reject(self, reason: str) -> None:
        if self.left:
            await self._verbs.bury(self, reason)
