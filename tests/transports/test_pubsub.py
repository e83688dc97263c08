"""Google Pub/Sub meets the transport contract; and what is particular to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sidelane.conformance.transports.fixtures import (
    DeadLetters,
    assert_no_message,
    bodies,
    messages,
    opened,
    send,
    take,
)
from sidelane.conformance.transports.suite import TransportConformance
from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.model.message import Message
from sidelane.transports.contract import Transport
from sidelane.transports.endpoints import PubSub
from sidelane.transports.factory import TransportPool
from sidelane.transports.pubsub import streaming_pull
from sidelane.transports.pubsub.publisher import PublishCall
from sidelane.transports.pubsub.receiver import PubSubDelivery
from sidelane.transports.pubsub.transport import PubSubTransport
from tests.transports.pubsub import PROJECT, RunningPubSub, subscription_path, topic_path

T = TypeVar("T")


class PubSubWay:
    """A topic with its subscription and its dead letters."""

    def __init__(self, address: PubSub, dead_letters: PubSub) -> None:
        self._address = address
        self._dead_letters = dead_letters

    def open(self) -> Transport:
        return PubSubTransport(self._address)

    def open_dead_letters(self) -> Transport:
        return PubSubTransport(self._dead_letters)


class PubSubPlace:
    """The tests' own service."""

    min_visibility_timeout = 1.0

    def __init__(self, pubsub: RunningPubSub, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pubsub = pubsub
        self._monkeypatch = monkeypatch

    async def channel(self, *, ordered: bool = False, dead_letters: DeadLetters = "none") -> PubSubWay:
        topic, dead_topic = self._pubsub.topic(), self._pubsub.topic()
        dead = PubSub(subscription=self._pubsub.subscription(dead_topic))
        policy = {"dead_letters": dead_topic} if dead_letters == "own" else {}
        subscription = self._pubsub.subscription(topic, enable_message_ordering=ordered, **policy)
        told = {"given": dead_topic, "missing": "not-there"}.get(dead_letters)
        return PubSubWay(PubSub(topic=topic, subscription=subscription, dead_letters=told), dead)

    def missing(self) -> Transport:
        return PubSubTransport(PubSub(topic="not-there", subscription="not-there-either"))

    def unreachable(self) -> Transport:
        self._monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
        return PubSubTransport(PubSub(topic="topic", subscription="subscription"))


class TestPubSub(TransportConformance):
    @pytest.fixture
    def factory(self, pubsub: RunningPubSub, monkeypatch: pytest.MonkeyPatch) -> PubSubPlace:
        return PubSubPlace(pubsub, monkeypatch)


@pytest.fixture
def factory(pubsub: RunningPubSub, monkeypatch: pytest.MonkeyPatch) -> PubSubPlace:
    return PubSubPlace(pubsub, monkeypatch)


@pytest.fixture
async def transport(factory: PubSubPlace) -> AsyncIterator[Transport]:
    async with opened((await factory.channel()).open()) as transport:
        yield transport


@pytest.fixture
async def ordered(factory: PubSubPlace) -> AsyncIterator[Transport]:
    """A way that keeps order, and counts deliveries."""
    async with opened((await factory.channel(ordered=True, dead_letters="own")).open()) as transport:
        yield transport


class TestGroups:
    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_queued_messages_of_a_group_are_extended_with_the_first(self, ordered: Transport, when: str) -> None:
        """Whether it has arrived before that one's time is extended, or after."""
        await send(ordered, *messages("a1", "a2", group="a"))
        async with ordered.open_receiver(visibility_timeout=1) as receiver:
            (first,) = await take(receiver)
            if when == "before":
                await assert_no_message(receiver)
            await first.extend(5)
            await assert_no_message(receiver, 1.3)  # longer than what waits was received for
            await first.ack()
            (second,) = await take(receiver)
            assert (second.message.body, second.count) == ("a2", 1)

    async def test_released_message_is_delivered_before_later_ones_of_its_group(self, ordered: Transport) -> None:
        await send(ordered, *messages("a1", "a2", "a3", group="a"))
        async with ordered.open_receiver() as receiver:
            (first,) = await take(receiver)
            await assert_no_message(receiver)  # by now the others have arrived
            await first.release()
            assert await in_order(receiver) == ["a1", "a2", "a3"]

    async def test_expired_message_is_delivered_before_later_ones_of_its_group(self, ordered: Transport) -> None:
        await send(ordered, *messages("a1", "a2", "a3", group="a"))
        async with ordered.open_receiver(visibility_timeout=1) as receiver:
            await take(receiver)
            assert await in_order(receiver) == ["a1", "a2", "a3"]

    async def test_long_group_does_not_block_others(self, ordered: Transport) -> None:
        await send(ordered, *messages(*(f"a{number:02}" for number in range(40)), group="a"))
        await send(ordered, *messages("b", group="b"))
        async with ordered.open_receiver() as receiver:
            assert [bodies(await take(receiver)) for _ in "ab"] == [["a00"], ["b"]]

    async def test_failed_message_stops_the_later_ones_of_its_group(self) -> None:
        went: list[int] = []

        async def publish(some: Sequence[Any]) -> None:
            if len(went) == 1:
                raise TransportUnavailable("The wire is cut.")
            went.append(len(some))

        large = Message(body="x" * 6_000_000, group="a")  # one in a request
        sending = PublishCall([large] * 3, publish)
        await sending.run([0, 1, 2])
        assert went == [1]
        assert sending.answers[0] is None
        assert "wire is cut" in str(sending.answers[1])
        assert "earlier message" in str(sending.answers[2])


class TestStreams:
    async def test_no_more_messages_are_received_than_asked_for(
        self, pubsub: RunningPubSub, transport: PubSubTransport
    ) -> None:
        await send(transport, *messages(*map(str, range(20))))
        async with transport.open_receiver() as receiver:
            taken = await take(receiver, 3)
            subscription = transport._endpoint.subscription or ""
            others = await asyncio.to_thread(pubsub.pull, subscription, 17)  # as another process does
            assert len({one.message.body for one in taken} | {one.data.decode() for one in others}) == 20

    async def test_stream_ended_by_the_service_is_reopened(
        self, pubsub: RunningPubSub, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming_pull, "STABLE_AFTER", 0.0)
        async with transport.open_receiver(
            visibility_timeout=1.0
        ) as receiver:  # after which unread messages are redelivered
            for body in "ab":
                receiving = asyncio.create_task(take(receiver))
                await send(transport, *messages(body))
                (delivery,) = await receiving
                assert delivery.message.body == body
                pubsub.cut()
                await delivery.ack()  # which the stream is not needed for
            await assert_no_message(receiver)

    @pytest.mark.long
    async def test_outage_is_reported_and_receiving_resumes(self, pubsub: RunningPubSub, transport: Transport) -> None:
        await send(transport, *messages("kept"))
        async with transport.open_receiver() as receiver:
            (delivery,) = await take(receiver)
            pubsub.down()
            with pytest.raises(TransportUnavailable, match=r"cannot be reached .* subscription"):
                await delivery.ack()
            with pytest.raises(TransportUnavailable):
                await assert_no_message(receiver, 5)
            [send_error] = await transport.send(messages("not now"))
            assert isinstance(send_error, TransportUnavailable)
            pubsub.up()
            await until_up(delivery.ack)
            [send_error] = await until_up(lambda: transport.send(messages("now")))
            assert send_error is None
            assert bodies(await until_up(lambda: receiver.receive(1))) == ["now"]

    def test_closed_transport_opens_again_on_another_event_loop(self, pubsub: RunningPubSub) -> None:
        address = PubSub(topic=pubsub.topic())
        address = PubSub(topic=address.topic, subscription=pubsub.subscription(address.topic or ""))
        transports = TransportPool()

        async def round_trip() -> None:
            transport = await transports.get(address)
            await send(transport, *messages("a"))
            async with transport.open_receiver() as receiver:
                await (await take(receiver))[0].ack()
            await transports.close()

        for _ in range(2):
            asyncio.run(round_trip())

    async def test_thousand_messages_are_sent_in_two_requests(
        self, pubsub: RunningPubSub, transport: Transport
    ) -> None:
        before = pubsub.calls()["Publish"]
        await send(transport, *messages(*map(str, range(1_050))))
        assert pubsub.calls()["Publish"] - before == 2


class TestExactlyOnce:
    async def test_acknowledgement_waits_for_the_confirmation_of_the_service(self, pubsub: RunningPubSub) -> None:
        topic = pubsub.topic()
        address = PubSub(topic=topic, subscription=pubsub.subscription(topic, enable_exactly_once_delivery=True))
        async with (
            opened(PubSubTransport(address)) as transport,
            transport.open_receiver(visibility_timeout=1) as receiver,
        ):
            await send(transport, *messages("a"))
            (delivery,) = await take(receiver)
            pubsub.misbehave(forget=1.0)
            with pytest.raises(TransportUnavailable):
                await delivery.ack()
            pubsub.misbehave()
            await delivery.ack()
            await send(transport, *messages("late"))
            (delivery,) = await take(receiver)
            assert isinstance(delivery, PubSubDelivery)
            await asyncio.sleep(1.1)
            delivery.set_deadline(10)  # as if the clock here were slower than the service's
            await delivery.ack()  # which is not its holder's any more, and no error
            assert bodies(await take(receiver)) == ["late"]


class TestDeadLetters:
    async def test_message_that_is_not_text_is_dead_lettered_unchanged(self, pubsub: RunningPubSub) -> None:
        topic, dead_topic = pubsub.topic(), pubsub.topic()
        dead = pubsub.subscription(dead_topic)
        address = PubSub(topic=topic, subscription=pubsub.subscription(topic), dead_letters=topic_path(dead_topic))
        pubsub.publish(topic, b"\xff\xfe", kind="bytes")
        pubsub.publish(topic, "text")
        async with opened(PubSubTransport(address)) as transport, transport.open_receiver() as receiver:
            assert bodies(await take(receiver)) == ["text"]
            receiving = asyncio.create_task(assert_no_message(receiver, 5))
            (letter,) = await asyncio.to_thread(pubsub.pull, dead)
            receiving.cancel()
        assert (letter.data, dict(letter.attributes)) == (
            b"\xff\xfe",
            {"kind": "bytes", "reason": "The message is not UTF-8 text."},
        )

    async def test_message_is_not_acknowledged_if_its_dead_letter_cannot_be_sent(
        self, pubsub: RunningPubSub, factory: PubSubPlace
    ) -> None:
        async with opened((await factory.channel(dead_letters="given")).open()) as transport:
            await send(transport, *messages("a"))
            async with transport.open_receiver() as receiver:
                (delivery,) = await take(receiver)
                pubsub.misbehave(fail={"Publish": "UNAVAILABLE"})
                with pytest.raises(TransportUnavailable):
                    await delivery.dead_letter("unusable")
            async with transport.open_receiver() as receiver:
                assert bodies(await take(receiver)) == ["a"]


class TestErrors:
    async def test_refused_message_does_not_block_the_others(self, transport: Transport) -> None:
        bad = Message(body="bad", attributes={"long": "x" * 1_025})
        send_error = await transport.send([*messages("a"), bad, *messages("b"), Message(body="")])
        assert [type(one) for one in send_error] == [
            type(None),
            TransportMisconfigured,
            type(None),
            TransportMisconfigured,
        ]
        assert "too long" in str(send_error[1])
        async with transport.open_receiver() as receiver:
            assert bodies(await take(receiver, 2)) == ["a", "b"]

    async def test_missing_role_is_named(self, pubsub: RunningPubSub, transport: Transport) -> None:
        pubsub.misbehave(fail=dict.fromkeys(("Publish", "StreamingPull"), "PERMISSION_DENIED"))
        [send_error] = await transport.send(messages("a"))
        assert "roles/pubsub.publisher" in str(send_error)
        assert "roles/pubsub.subscriber" in str(await refusal(transport))

    @pytest.mark.parametrize(
        "address",
        [PubSub(topic="topic", subscription="subscription"), PubSub(subscription="projects/p/subscriptions/s")],
    )
    async def test_missing_credentials_are_explained(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: PubSub
    ) -> None:
        monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
        async with opened(PubSubTransport(address)) as transport:
            assert "GOOGLE_APPLICATION_CREDENTIALS" in str(await refusal(transport))
            [send_error] = await transport.send(messages("a"))
            assert isinstance(send_error, TransportMisconfigured)

    async def test_missing_project_is_explained(self, pubsub: RunningPubSub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
        subscription = pubsub.subscription(pubsub.topic())
        async with opened(PubSubTransport(PubSub(subscription=subscription))) as transport:
            assert "GOOGLE_CLOUD_PROJECT" in str(await refusal(transport))
        for address in (
            PubSub(subscription=subscription_path(subscription)),
            PubSub(subscription=subscription, project=PROJECT),
        ):
            async with opened(PubSubTransport(address)) as transport, transport.open_receiver() as receiver:
                await assert_no_message(receiver)

    async def test_missing_topic_or_subscription_is_explained(self, pubsub: RunningPubSub) -> None:
        async with opened(PubSubTransport(PubSub(subscription="in"))) as transport:
            [send_error] = await transport.send(messages("a"))
            assert "add topic=…" in str(send_error)
        async with opened(PubSubTransport(PubSub(topic="out"))) as transport:
            assert "add subscription=…" in str(await refusal(transport))


async def in_order(receiver: Any) -> list[str]:
    """Take three messages one after the other, and acknowledge them."""
    came = []
    for _ in range(3):
        (delivery,) = await take(receiver)
        came.append(delivery.message.body)
        await delivery.ack()
    return came


async def until_up(act: Callable[[], Awaitable[T]]) -> T:
    """Receive as a receive loop does: again after a while after an error."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await act()
            except TransportUnavailable:
                await asyncio.sleep(0.05)


async def refusal(transport: Transport) -> TransportError:
    """Receive, and return the error."""

    async def receive() -> None:
        async with transport.open_receiver() as receiver:
            await receiver.receive(1)

    with pytest.raises(TransportMisconfigured) as caught:
        await until_up(receive)
    return caught.value
