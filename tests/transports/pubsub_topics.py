"""What a Pub/Sub service does with messages, without the wire: subscriptions, deadlines, order, dead letters."""

import asyncio
import itertools
import math
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from google.pubsub_v1 import types

PubsubMessage = types.PubsubMessage.pb()

DEAD_LETTER = "CloudPubSubDeadLetterSource"
"""What the attributes begin with that the service adds to what it forwards to a dead-letter topic."""


@dataclass(slots=True, eq=False)
class Kept:
    """One message of one subscription, until it is acknowledged."""

    message: Any
    failures: int = 0  # negative acknowledgements and expired deadlines
    not_before: float = -math.inf
    ack_id: str = ""  # while it is out
    until: float = -math.inf
    taker: str = ""
    done: bool = False  # acknowledged, but earlier ones of its key are not


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscription: `spec` is what it was made with, `forward` takes a dead letter and tells whether it went."""

    spec: Any
    forward: Callable[[str, Any], bool]
    _kept: dict[int, Kept] = field(default_factory=dict)
    _out: dict[str, tuple[int, Kept]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _waiting: WeakSet[asyncio.Event] = field(default_factory=WeakSet)
    gone: bool = False

    def put(self, message: Any) -> None:
        self._kept[next(self._numbers)] = Kept(message)
        self.wake()

    def take(self, taker: str, limit: int, deadline: float) -> list[tuple[str, Kept]]:
        """Hand out up to `limit` messages, in their order where they have a key and the subscription orders them."""
        self._expire()
        now, held_up, taken = time.monotonic(), set[str](), list[tuple[str, Kept]]()
        for number, kept in self._kept.items():
            if len(taken) >= limit:
                break
            key = kept.message.ordering_key if self.spec.enable_message_ordering else ""
            if kept.done or key in held_up:
                continue
            if not kept.ack_id and kept.not_before <= now:
                kept.ack_id, kept.until, kept.taker = uuid.uuid4().hex, now + deadline, taker
                self._out[kept.ack_id] = number, kept
                taken.append((kept.ack_id, kept))
            elif key and (not kept.ack_id or not taker or kept.taker != taker):
                held_up.add(key)
        return taken

    def attempt(self, kept: Kept) -> int:
        """What the service says of how often it was delivered: nothing without a dead-letter policy."""
        return kept.failures + 1 if self.spec.HasField("dead_letter_policy") else 0

    def outstanding(self, taker: str) -> tuple[int, int]:
        """Give how many messages, and how many bytes, a stream has not answered yet."""
        self._expire()
        sizes = [kept.message.ByteSize() for _, kept in self._out.values() if kept.taker == taker]
        return len(sizes), sum(sizes)

    @property
    def left(self) -> int:
        """How many messages are not acknowledged, whoever has them."""
        return sum(not kept.done for kept in self._kept.values())

    def acknowledge(self, ack_ids: Iterable[str]) -> list[str]:
        """Be done with messages. Gives the ids that do not count (any more)."""
        return self._each(ack_ids, self._acknowledge)

    def modify(self, ack_ids: Iterable[str], seconds: int) -> list[str]:
        """Give messages so much time from now; none gives them back. Gives the ids that do not count (any more)."""

        def change(number: int, kept: Kept) -> None:
            if seconds:
                kept.until = time.monotonic() + seconds
            else:
                self._give_back(number, kept)

        return self._each(ack_ids, change)

    def changed(self) -> Coroutine[Any, Any, None]:
        """Wait until there may be something to take. Changes count from the call on, not from its first step in a task."""
        event = asyncio.Event()
        self._waiting.add(event)
        return self._wait(event)

    async def _wait(self, event: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._soonest()):
                await event.wait()

    def wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _each(self, ack_ids: Iterable[str], change: Callable[[int, Kept], None]) -> list[str]:
        self._expire()
        unknown = []
        for ack_id in ack_ids:
            found = self._out.get(ack_id)
            if found:
                change(*found)
            else:
                unknown.append(ack_id)
        self.wake()
        return unknown

    def _acknowledge(self, number: int, kept: Kept) -> None:
        del self._out[kept.ack_id]
        kept.ack_id, kept.done = "", True
        ordered = self._of_key(kept) or {number: kept}
        for factory, one in ordered.items():
            if not one.done:
                break
            del self._kept[factory]

    def _give_back(self, number: int, kept: Kept) -> None:
        """Count a failure. What comes after it under its key is delivered again too, even where it was acknowledged."""
        kept.failures += 1
        self._let_go(kept)
        policy, retries = self.spec.dead_letter_policy, self.spec.retry_policy
        if self.attempt(kept) > policy.max_delivery_attempts and self.attempt(kept) and self._bury(kept):
            kept.done = True
            del self._kept[number]
            return
        if self.spec.HasField("retry_policy"):
            backoff = retries.minimum_backoff.ToTimedelta().total_seconds() * 2 ** (kept.failures - 1)
            longest = retries.maximum_backoff.ToTimedelta().total_seconds() or 600.0
            kept.not_before = time.monotonic() + min(backoff, longest)
        for factory, later in self._of_key(kept).items():
            if factory > number:
                self._let_go(later)
                later.done = False

    def _bury(self, kept: Kept) -> bool:
        _, project, _, name = self.spec.name.split("/")
        letter = PubsubMessage()
        letter.CopyFrom(kept.message)
        letter.attributes[DEAD_LETTER + "DeliveryCount"] = str(kept.failures)
        letter.attributes[DEAD_LETTER + "Subscription"] = name
        letter.attributes[DEAD_LETTER + "SubscriptionProject"] = project
        letter.attributes[DEAD_LETTER + "TopicPublishTime"] = kept.message.publish_time.ToJsonString()
        return self.forward(self.spec.dead_letter_policy.dead_letter_topic, letter)

    def _let_go(self, kept: Kept) -> None:
        self._out.pop(kept.ack_id, None)
        kept.ack_id = kept.taker = ""

    def _of_key(self, kept: Kept) -> dict[int, Kept]:
        """Find all of a message's key, in their order; nothing where there is no order to keep."""
        key = kept.message.ordering_key
        if not (key and self.spec.enable_message_ordering):
            return {}
        return {number: one for number, one in self._kept.items() if one.message.ordering_key == key}

    def _expire(self) -> None:
        now = time.monotonic()
        for number, kept in list(self._out.values()):
            if kept.ack_id and kept.until <= now:
                self._give_back(number, kept)

    def _soonest(self) -> float | None:
        """How long it takes at most until something happens by itself."""
        now = time.monotonic()
        times = [kept.until for _, kept in self._out.values()]
        times += [kept.not_before for kept in self._kept.values() if kept.not_before > now]
        return max(0.0, min(times) - now) if times else None
