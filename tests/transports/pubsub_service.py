"""What each method of Pub/Sub does: topics and subscriptions, and how they go wrong when they are told to."""

import asyncio
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2

from tests.transports.pubsub_topics import Subscription

LARGEST = 10_000_000
MOST = 1_000
"""Bytes and messages of one publish request."""

Code = grpc.StatusCode


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: grpc.StatusCode, send_error: str, status: status_pb2.Status | None = None) -> None:
        super().__init__(send_error)
        self.code, self.send_error, self.status = code, send_error, status


class Service:
    """Topics and subscriptions, and how they go wrong when told to."""

    def __init__(self) -> None:
        self.topics: dict[str, Any] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.lose = 0.0  # how likely a published message is never delivered
        self.duplicate = 0.0  # how likely it is delivered twice
        self.forget = 0.0  # how likely an acknowledgement does not count
        self.fail: dict[str, str] = {}  # by the name of a method, the status it answers with
        self.cuts = asyncio.Event()  # set, and replaced, when all streams are to end
        self.count: dict[str, int] = {}

    # --- Publisher

    async def create_topic(self, topic: Any) -> Any:
        check(
            re.fullmatch(r"projects/[^/]+/topics/[A-Za-z][\w.~+%-]{2,254}", topic.name), f"Invalid name {topic.name!r}"
        )
        if topic.name in self.topics:
            raise Refused(Code.ALREADY_EXISTS, "Topic already exists")
        self.topics[topic.name] = topic
        return topic

    async def get_topic(self, request: Any) -> Any:
        return self._topic(request.topic)

    async def delete_topic(self, request: Any) -> Any:
        del self.topics[self._topic(request.topic).name]
        for subscription in self.subscriptions.values():
            if subscription.spec.topic == request.topic:
                subscription.spec.topic = "_deleted-topic_"
        return Empty()

    async def publish(self, request: Any) -> Any:
        self._topic(request.topic)
        check(0 < len(request.messages) <= MOST, "A request has 1 to 1000 messages")
        check(request.ByteSize() <= LARGEST, "Request payload size exceeds the limit: 10485760 bytes.")
        check(len({message.ordering_key for message in request.messages}) == 1, "One ordering key in one request")
        for message in request.messages:
            check(message.data or message.attributes, "Some messages are empty")
            check(len(message.attributes) <= 100, "A message has at most 100 attributes")
            texts = {**message.attributes}.items()
            check(all(len(k.encode()) <= 256 and len(v.encode()) <= 1024 for k, v in texts), "An attribute is too long")
        return types.PublishResponse.pb()(message_ids=[self._put(request.topic, m) for m in request.messages])

    # --- Subscriber

    async def create_subscription(self, spec: Any) -> Any:
        named = re.fullmatch(r"projects/[^/]+/subscriptions/[A-Za-z][\w.~+%-]{2,254}", spec.name)
        check(named, f"Invalid name {spec.name!r}")
        if spec.name in self.subscriptions:
            raise Refused(Code.ALREADY_EXISTS, "Subscription already exists")
        self._topic(spec.topic)
        spec.ack_deadline_seconds = spec.ack_deadline_seconds or 10
        check(1 <= spec.ack_deadline_seconds <= 600, "Invalid ack_deadline_seconds")
        if spec.HasField("dead_letter_policy"):
            policy = spec.dead_letter_policy
            policy.max_delivery_attempts = policy.max_delivery_attempts or 5
            check(5 <= policy.max_delivery_attempts <= 100, "max_delivery_attempts is from 5 to 100")
            self._topic(policy.dead_letter_topic)
        self.subscriptions[spec.name] = Subscription(spec, self._bury)
        return spec

    async def get_subscription(self, request: Any) -> Any:
        return self._subscription(request.subscription).spec

    async def delete_subscription(self, request: Any) -> Any:
        gone = self.subscriptions.pop(self._subscription(request.subscription).spec.name)
        gone.gone = True
        gone.wake()
        return Empty()

    async def pull(self, request: Any) -> Any:
        check(request.max_messages > 0, "max_messages must be greater than 0")
        subscription, until = self._subscription(request.subscription), time.monotonic() + 2
        deadline = subscription.spec.ack_deadline_seconds
        while not (taken := subscription.take("", request.max_messages, deadline)) and time.monotonic() < until:
            if request.return_immediately:
                break
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                    await subscription.changed()
            except TimeoutError:
                break
        return types.PullResponse.pb()(received_messages=[received(subscription, *one) for one in taken])

    async def acknowledge(self, request: Any) -> Any:
        subscription = self._subscription(request.subscription)
        forgotten = {one for one in request.ack_ids if random.random() < self.forget}
        remembered = [one for one in request.ack_ids if one not in forgotten]
        self._tell(subscription, subscription.acknowledge(remembered), forgotten)
        return Empty()

    async def modify_ack_deadline(self, request: Any) -> Any:
        check(0 <= request.ack_deadline_seconds <= 600, "Invalid ack_deadline_seconds")
        subscription = self._subscription(request.subscription)
        self._tell(subscription, subscription.modify(request.ack_ids, request.ack_deadline_seconds))
        return Empty()

    async def streaming_pull(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        first = await anext(requests)
        subscription = self._subscription(first.subscription)
        check(1 <= first.stream_ack_deadline_seconds <= 600, "Invalid stream_ack_deadline_seconds")
        taker, most, most_bytes = (
            first.client_id or uuid.uuid4().hex,
            first.max_outstanding_messages,
            first.max_outstanding_bytes,
        )
        deadline = [first.stream_ack_deadline_seconds]
        about = types.StreamingPullResponse.SubscriptionProperties.pb()(
            exactly_once_delivery_enabled=subscription.spec.enable_exactly_once_delivery,
            message_ordering_enabled=subscription.spec.enable_message_ordering,
        )
        await context.send_initial_metadata(())
        listening = asyncio.create_task(self._listen(subscription, requests, deadline))
        cut = asyncio.create_task(self.cuts.wait())
        try:
            while not listening.done():
                if subscription.gone:
                    raise Refused(Code.NOT_FOUND, f"Resource not found (resource={short(first.subscription)}).")
                if cut.done():
                    raise Refused(Code.UNAVAILABLE, "The service was unable to fulfill your request.")
                count, size = subscription.outstanding(taker)
                room = most - count if most > 0 else MOST
                if most_bytes > 0 and size >= most_bytes:
                    room = 0
                if taken := subscription.take(taker, room, deadline[0]) if room > 0 else []:
                    answer = types.StreamingPullResponse.pb()(subscription_properties=about)
                    answer.received_messages.extend(received(subscription, *one) for one in taken)
                    yield answer
                else:
                    change = asyncio.create_task(subscription.changed())
                    await asyncio.wait([listening, cut, change], return_when=asyncio.FIRST_COMPLETED)
                    change.cancel()
            listening.result()
        finally:
            listening.cancel()
            cut.cancel()

    async def _listen(self, subscription: Subscription, requests: AsyncIterator[Any], deadline: list[int]) -> None:
        async for request in requests:
            check(not (request.subscription or request.max_outstanding_messages), "Only the first request says that")
            deadline[0] = request.stream_ack_deadline_seconds or deadline[0]
            subscription.acknowledge(request.ack_ids)
            for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
                subscription.modify([ack_id], seconds)

    # --- inside

    def _topic(self, name: str) -> Any:
        if name not in self.topics:
            raise Refused(Code.NOT_FOUND, f"Resource not found (resource={short(name)}).")
        return self.topics[name]

    def _subscription(self, name: str) -> Subscription:
        if name not in self.subscriptions:
            raise Refused(Code.NOT_FOUND, f"Resource not found (resource={short(name)}).")
        return self.subscriptions[name]

    def _put(self, topic: str, message: Any) -> str:
        message.message_id = str(random.getrandbits(53))
        message.publish_time.GetCurrentTime()
        if random.random() >= self.lose:
            for subscription in self.subscriptions.values():
                if subscription.spec.topic == topic:
                    for _ in range(2 if random.random() < self.duplicate else 1):
                        subscription.put(message)
        return str(message.message_id)

    def _bury(self, topic: str, letter: Any) -> bool:
        if topic in self.topics:
            self._put(topic, letter)
        return topic in self.topics

    def _tell(self, subscription: Subscription, unknown: Iterable[str], forgotten: Iterable[str] = ()) -> None:
        """Say which ids did not count, as exactly-once delivery does."""
        send_error = dict.fromkeys(unknown, "PERMANENT_FAILURE_INVALID_ACK_ID")
        send_error |= dict.fromkeys(forgotten, "TRANSIENT_FAILURE_INTERNAL")
        if send_error and subscription.spec.enable_exactly_once_delivery:
            info = error_details_pb2.ErrorInfo(
                reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com", metadata=send_error
            )
            status = status_pb2.Status(
                code=Code.FAILED_PRECONDITION.value[0], message="Some acknowledgement ids did not count"
            )
            status.details.add().Pack(info)
            raise Refused(Code.FAILED_PRECONDITION, status.message, status)


def check(fine: object, send_error: str) -> None:
    if not fine:
        raise Refused(Code.INVALID_ARGUMENT, send_error)


def short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def received(subscription: Subscription, ack_id: str, kept: Any) -> Any:
    make = types.ReceivedMessage.pb()
    return make(ack_id=ack_id, message=kept.message, delivery_attempt=subscription.attempt(kept))
