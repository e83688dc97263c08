"""The tests' own Pub/Sub service does what the real one does, as far as the real clients can tell."""

import threading
import time

import pytest
from google.api_core import exceptions

from tests.transports.pubsub import RunningPubSub, subscription_path, topic_path


def attempts(pubsub: RunningPubSub, subscription: str) -> list[tuple[str, int, str]]:
    """Pull what there is, unacknowledged: body, delivery attempt, acknowledgement id."""
    answer = pubsub.subscriber.pull(subscription=subscription_path(subscription), max_messages=10, timeout=10)
    return [(one.message.data.decode(), one.delivery_attempt, one.ack_id) for one in answer.received_messages]


def nack(pubsub: RunningPubSub, subscription: str, ack_id: str) -> None:
    path = subscription_path(subscription)
    pubsub.subscriber.modify_ack_deadline(subscription=path, ack_ids=[ack_id], ack_deadline_seconds=0)


def test_acknowledged_message_is_not_redelivered(pubsub: RunningPubSub) -> None:
    subscription = pubsub.subscription(topic := pubsub.topic(), ack_deadline_seconds=1)
    published = pubsub.publish(topic, "one", kind="test")
    message = pubsub.pull(subscription)[0]
    assert (message.data, dict(message.attributes), message.message_id) == (b"one", {"kind": "test"}, published)
    time.sleep(1.1)  # longer than the deadline
    assert pubsub.empty(subscription)


def test_unacknowledged_message_is_redelivered_after_its_deadline(pubsub: RunningPubSub) -> None:
    subscription = pubsub.subscription(topic := pubsub.topic(), ack_deadline_seconds=1)
    pubsub.publish(topic, "one")
    [(_, attempt, _)] = attempts(pubsub, subscription)
    assert attempt == 0  # the service counts only under a dead-letter policy
    assert pubsub.empty(subscription)
    assert [body for body, _, _ in attempts(pubsub, subscription)] == ["one"]  # a pull waits for two seconds


def test_message_is_dead_lettered_after_five_deliveries(
    pubsub: RunningPubSub,
) -> None:
    dead = pubsub.subscription(dead_topic := pubsub.topic())
    subscription = pubsub.subscription(topic := pubsub.topic(), dead_letters=dead_topic)
    pubsub.publish(topic, "poison", kind="test")
    for attempt in range(1, 6):
        [(body, counted, ack_id)] = attempts(pubsub, subscription)
        assert (body, counted) == ("poison", attempt)
        nack(pubsub, subscription, ack_id)
    letter = pubsub.pull(dead)[0]
    assert letter.data == b"poison"
    assert letter.attributes["kind"] == "test"
    assert letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert letter.attributes["CloudPubSubDeadLetterSourceSubscription"] == subscription
    assert pubsub.empty(subscription)


def test_messages_of_one_key_are_in_order_and_redelivered_from_the_failed_one(pubsub: RunningPubSub) -> None:
    subscription = pubsub.subscription(topic := pubsub.topic(), enable_message_ordering=True)
    for body in ("a1", "a2", "b1", "a3"):
        pubsub.publish(topic, body, group=body[0])
    first = attempts(pubsub, subscription)
    assert [body for body, _, _ in first] == ["a1", "a2", "b1", "a3"]
    ids = {body: ack_id for body, _, ack_id in first}
    pubsub.subscriber.acknowledge(
        subscription=subscription_path(subscription), ack_ids=[ids["a1"], ids["a3"], ids["b1"]]
    )
    nack(pubsub, subscription, ids["a2"])
    assert [body for body, _, _ in attempts(pubsub, subscription)] == [
        "a2",
        "a3",
    ]  # a3 too, although it was acknowledged


def test_real_subscriber_streams_with_flow_control(pubsub: RunningPubSub) -> None:
    subscription = pubsub.subscription(topic := pubsub.topic())
    for number in range(20):
        pubsub.publish(topic, str(number))
    seen, enough = list[str](), threading.Event()

    def take(message: object) -> None:
        seen.append(message.data.decode())  # type: ignore[attr-defined]
        message.ack()  # type: ignore[attr-defined]
        if len(seen) == 20:
            enough.set()

    from google.cloud.pubsub_v1.types import FlowControl

    pulling = pubsub.subscriber.subscribe(subscription_path(subscription), take, FlowControl(max_messages=3))
    try:
        assert enough.wait(10)
    finally:
        pulling.cancel()
        pulling.result(timeout=10)
    assert sorted(map(int, seen)) == list(range(20))


def test_errors_are_those_of_the_service(pubsub: RunningPubSub) -> None:
    topic = pubsub.topic()
    with pytest.raises(exceptions.AlreadyExists):
        pubsub.topic(topic)
    with pytest.raises(exceptions.NotFound, match="resource=nothing"):
        pubsub.publish("nothing", "x")
    with pytest.raises(exceptions.NotFound):
        pubsub.subscription("nothing")
    with pytest.raises(exceptions.InvalidArgument):
        pubsub.publisher.publish(topic_path(topic), b"").result(timeout=10)
    subscription = pubsub.subscription(topic)
    pubsub.subscriber.delete_subscription(subscription=subscription_path(subscription))
    with pytest.raises(exceptions.NotFound):
        pubsub.pull(subscription)


def test_server_restarts_with_its_messages(pubsub: RunningPubSub) -> None:
    subscription = pubsub.subscription(topic := pubsub.topic())
    pubsub.publish(topic, "kept")
    pubsub.down()
    with pytest.raises(exceptions.ServiceUnavailable):
        pubsub.publisher.get_topic(topic=topic_path(topic), retry=None, timeout=2)
    pubsub.up()
    assert pubsub.pull(subscription)[0].data == b"kept"


def test_server_loses_and_duplicates_on_demand(pubsub: RunningPubSub) -> None:
    subscription = pubsub.subscription(topic := pubsub.topic())
    pubsub.misbehave(lose=1.0)
    pubsub.publish(topic, "lost")
    pubsub.misbehave(duplicate=1.0)
    pubsub.publish(topic, "twice")
    assert [message.data for message in pubsub.pull(subscription, 2)] == [b"twice", b"twice"]
    pubsub.misbehave(fail={"Publish": "PERMISSION_DENIED"})
    with pytest.raises(exceptions.PermissionDenied):
        pubsub.publish(topic, "denied")
