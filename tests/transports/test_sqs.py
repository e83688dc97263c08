"""SQS meets the transport contract; and what is particular to it."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

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
from sidelane.model.errors import MissingExtra, TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.model.message import Message
from sidelane.transports.contract import Transport
from sidelane.transports.endpoints import Sqs
from sidelane.transports.factory import TransportPool
from sidelane.transports.sqs.transport import SqsTransport
from tests.transports.moto import Moto

# aiohttp says so of every request over a mebibyte; its writing takes less than a millisecond
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


@dataclass(frozen=True, slots=True)
class SqsWay:
    """One queue, and that of its dead letters."""

    address: Sqs
    dead_letters: str | None

    def open(self) -> SqsTransport:
        return SqsTransport(self.address)

    def open_dead_letters(self) -> SqsTransport:
        assert self.dead_letters is not None
        return SqsTransport(Sqs(self.dead_letters))


@dataclass(frozen=True, slots=True)
class SqsPlace:
    """Queues of a server."""

    moto: Moto
    min_visibility_timeout: float = 1.0

    async def channel(self, *, ordered: bool = False, dead_letters: DeadLetters = "none") -> SqsWay:
        buried = self.moto.queue(fifo=ordered) if dead_letters in ("given", "own") else None
        url = self.moto.queue(fifo=ordered, dead_letters=buried if dead_letters == "own" else None)
        given = "nowhere" if dead_letters == "missing" else buried
        return SqsWay(Sqs(url, dead_letters=None if dead_letters == "own" else given), buried)

    def missing(self) -> SqsTransport:
        return SqsTransport(Sqs("nowhere"))

    def unreachable(self) -> SqsTransport:
        return SqsTransport(Sqs("any", endpoint_url="http://127.0.0.1:1"))


class TestSqs(TransportConformance):
    """The whole contract."""

    @pytest.fixture
    def factory(self, moto: Moto) -> SqsPlace:
        return SqsPlace(moto)


class Server:
    """An HTTP server that gives every request the same answer."""

    def __init__(self, status: int, code: str) -> None:
        body = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "The words of the service."}}'.encode()
        head = (
            f"HTTP/1.1 {status} Said\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._answer = head.encode() + body if status else b""
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answer)
        writer.close()


async def send_error(address: Sqs) -> TransportError:
    """Send one message, and return its error."""
    async with opened(SqsTransport(address)) as transport:
        (error,) = await transport.send(messages("a"))
    assert error is not None
    return error


class TestErrors:
    """Errors of the service and its client become one of two errors, with a sentence."""

    @pytest.mark.parametrize(
        ("status", "code", "kind", "words"),
        [
            (403, "AccessDeniedException", TransportMisconfigured, "need sqs:SendMessage on it"),
            (400, "InvalidClientTokenId", TransportMisconfigured, "AWS does not accept the credentials"),
            (400, "SomethingNew", TransportMisconfigured, "SomethingNew, The words of the service."),
            (400, "RequestThrottled", TransportUnavailable, "accepts no requests for now: RequestThrottled."),
            (503, "ServiceUnavailable", TransportUnavailable, "accepts no requests for now"),
            (0, "", TransportUnavailable, "cannot be reached"),
        ],
    )
    async def test_error_of_the_service_is_explained(
        self, moto: Moto, status: int, code: str, kind: type[TransportError], words: str
    ) -> None:
        async with Server(status, code).listening() as server:
            error = await send_error(Sqs(f"{server.url}/123456789012/offers"))
        assert type(error) is kind
        assert words in str(error)
        assert "SQS queue" in str(error)

    async def test_service_that_does_not_answer_times_out(self, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sidelane.transports.sqs.queue.CALL_TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as listening:  # it takes connections, and that is all
            error = await send_error(Sqs(f"http://127.0.0.1:{listening.getsockname()[1]}/123456789012/offers"))
        assert type(error) is TransportUnavailable
        assert str(error).endswith("does not answer.")

    @pytest.fixture
    def nothing_set(self, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/nowhere")

    @pytest.mark.usefixtures("nothing_set")
    async def test_missing_credentials_are_named(self) -> None:
        error = await send_error(Sqs("offers", region="eu-west-1"))
        assert type(error) is TransportMisconfigured
        assert "AWS_ACCESS_KEY_ID" in str(error)

    @pytest.mark.usefixtures("nothing_set")
    async def test_missing_region_is_named(self) -> None:
        error = await send_error(Sqs("offers"))
        assert type(error) is TransportMisconfigured
        assert "AWS_REGION" in str(error)

    async def test_missing_profile_is_named(self, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        error = await send_error(Sqs("offers"))
        assert type(error) is TransportMisconfigured
        assert "AWS_PROFILE" in str(error)

    async def test_invalid_endpoint_url_is_refused(self, moto: Moto) -> None:
        assert type(await send_error(Sqs("offers", endpoint_url="elsewhere"))) is TransportMisconfigured

    async def test_missing_driver_names_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("sidelane.transports.sqs.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "aiobotocore.session", None)
        with pytest.raises(MissingExtra, match=r"pip install 'sidelane\[sqs\]'"):
            await TransportPool().get(Sqs("offers"))


class TestQueues:
    """What is particular to queues of SQS."""

    @pytest.fixture
    def url(self, moto: Moto) -> str:
        return moto.queue()

    async def test_queue_is_found_by_name_and_by_url(self, url: str) -> None:
        async with (
            opened(SqsTransport(Sqs(url))) as by_url,
            opened(SqsTransport(Sqs(url.rpartition("/")[2]))) as by_name,
        ):
            await send(by_name, *messages("a"))
            async with by_url.open_receiver() as receiver:
                assert bodies(await take(receiver)) == ["a"]

    async def test_queue_url_contains_its_region(self, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        address = Sqs("https://sqs.eu-west-3.amazonaws.com/123456789012/offers", endpoint_url=moto.url)
        async with opened(SqsTransport(address)) as transport:
            (error,) = await transport.send(messages("a"))
        assert "does not exist there" in str(error)  # so it was asked for, in some region

    async def test_queue_attributes_set_message_size_and_redelivery_window(self, moto: Moto, url: str) -> None:
        told = {"MaximumMessageSize": "2048", "MessageRetentionPeriod": "3600"}
        moto.sqs.set_queue_attributes(QueueUrl=url, Attributes=told)
        async with opened(SqsTransport(Sqs(url))) as transport:
            assert (transport.max_message_size, transport.redelivery_window) == (262_144, 14 * 86_400.0)
            await transport.connect()
            assert (transport.max_message_size, transport.redelivery_window) == (2048, 3600.0)
            await send(transport, Message(body="x" * 2000, attributes={"name": "x" * 38}))
            (error,) = await transport.send([Message(body="x" * 2000, attributes={"name": "x" * 39})])
            assert isinstance(error, TransportMisconfigured)
            assert "2,049 bytes" in str(error)

    async def test_concurrent_calls_join_into_batches_of_ten(self, moto: Moto, url: str) -> None:
        async with opened(SqsTransport(Sqs(url))) as transport, transport.open_receiver() as receiver:
            before = moto.requests()
            await asyncio.gather(*(send(transport, *messages(str(number))) for number in range(30)))
            assert moto.requests() - before <= 5
            taken = await take(receiver, 30)
            before = moto.requests()
            await asyncio.gather(*(delivery.extend(60) for delivery in taken))
            await asyncio.gather(*(delivery.ack() for delivery in taken))
            assert moto.requests() - before <= 10
        assert moto.count(url) == 0

    async def test_oversized_batches_are_split(self, moto: Moto, url: str) -> None:
        async with opened(SqsTransport(Sqs(url))) as transport:
            await send(transport, *messages("first"))
            before = moto.requests()
            await send(transport, *(Message(body="x" * 400_000) for _ in range(5)))
            assert moto.requests() - before <= 3  # one alone, then two and two
        assert moto.count(url) == 6

    async def test_unsendable_message_does_not_block_the_others(self, moto: Moto, url: str) -> None:
        async with opened(SqsTransport(Sqs(url))) as transport:
            refused = [Message(body=""), Message(body="a\x00b"), Message(body="\ud800")]
            first, *errors, last = await transport.send([*messages("a"), *refused, *messages("z")])
        assert (first, last) == (None, None)
        assert [str(error) for error in errors] == [
            "The body of the message is empty, which SQS does not accept.",
            *["The body of the message has characters that SQS does not accept."] * 2,
        ]
        assert moto.count(url) == 2

    async def test_unreadable_attributes_are_left_unchanged(self, moto: Moto, url: str) -> None:
        deep = {"DataType": "String", "StringValue": "[" * 50_000}
        moto.sqs.send_message(QueueUrl=url, MessageBody="a", MessageAttributes={"sidelane.attributes": deep})
        async with opened(SqsTransport(Sqs(url))) as transport, transport.open_receiver() as receiver:
            (delivery,) = await take(receiver)
        assert delivery.message.attributes == {"sidelane.attributes": deep["StringValue"]}

    async def test_foreign_message_is_read_with_its_attributes(self, moto: Moto, url: str) -> None:
        moto.sqs.send_message(
            QueueUrl=url,
            MessageBody="plain",
            MessageAttributes={
                "count": {"DataType": "Number", "StringValue": "3"},
                "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
                "sidelane.attributes": {"DataType": "String", "StringValue": "[not ours"},
            },
        )
        async with opened(SqsTransport(Sqs(url))) as transport, transport.open_receiver() as receiver:
            (delivery,) = await take(receiver)
        assert delivery.message.body == "plain"
        assert delivery.message.attributes == {"count": "3", "raw": "AP8=", "sidelane.attributes": "[not ours"}

    async def test_visibility_timeout_is_at_most_twelve_hours(self, url: str) -> None:
        async with opened(SqsTransport(Sqs(url))) as transport:
            await send(transport, *messages("a"))
            async with transport.open_receiver(visibility_timeout=1e6) as receiver:
                (delivery,) = await take(receiver)
                await delivery.extend(1e6)
                await delivery.ack()

    async def test_redrive_policy_dead_letters_the_message(self, moto: Moto) -> None:
        buried = moto.queue()
        url = moto.queue(dead_letters=buried, losses=2)
        async with opened(SqsTransport(Sqs(url))) as transport, transport.open_receiver() as receiver:
            await send(transport, *messages("a"))
            for _ in range(2):
                await (await take(receiver))[0].release()
            await assert_no_message(receiver)
        assert (moto.count(url), moto.count(buried)) == (0, 1)

    async def test_reopened_lane_uses_transports_on_another_event_loop(self, url: str) -> None:
        transports = TransportPool()

        async def once(body: str) -> None:
            transport = await transports.get(Sqs(url))
            await send(transport, *messages(body))
            async with transport.open_receiver() as receiver:
                (delivery,) = await take(receiver)
                await delivery.ack()
            await transports.close()

        for body in "ab":
            await asyncio.to_thread(asyncio.run, once(body))


class TestFifo:
    """FIFO queues: order by group, and one message for each id."""

    @pytest.fixture
    async def transport(self, moto: Moto) -> AsyncIterator[Transport]:
        async with opened(SqsTransport(Sqs(moto.queue(fifo=True)))) as transport:
            yield transport

    async def test_messages_with_the_same_id_are_deduplicated(self, transport: Transport) -> None:
        long = "말" * 100
        sent = [
            Message(body=body, id=name) for body, name in (("a", "1"), ("b", long), ("a", "1"), ("c", long), ("d", "2"))
        ]
        await send(transport, *sent)
        async with transport.open_receiver() as receiver:
            assert bodies(await take(receiver, 3)) == ["a", "b", "d"]
            await assert_no_message(receiver)

    async def test_invalid_group_is_refused(self, transport: Transport) -> None:
        one, other = await transport.send([*messages("a", group="그룹"), *messages("b", group="g" * 129)])
        for error in (one, other):
            assert isinstance(error, TransportMisconfigured)
            assert "group" in str(error)

    async def test_dead_letters_keep_their_group(self, moto: Moto) -> None:
        buried = moto.queue(fifo=True)
        address = Sqs(moto.queue(fifo=True), dead_letters=buried)
        async with opened(SqsTransport(address)) as transport, opened(SqsTransport(Sqs(buried))) as letters:
            await send(transport, *messages("a", group="g"))
            async with transport.open_receiver() as receiver, letters.open_receiver() as dead:
                await (await take(receiver))[0].dead_letter("It is not JSON.")
                (letter,) = await take(dead)
        assert (letter.message.group, letter.message.attributes["reason"]) == ("g", "It is not JSON.")
