"""Sending: messages arrive unchanged, and errors say what is wrong."""

import asyncio

from sidelane.conformance.transports.fixtures import (
    TIMEOUT,
    TransportFactory,
    TransportSuite,
    assert_no_message,
    bodies,
    messages,
    opened,
    send,
    take,
)
from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.model.message import Message
from sidelane.transports.contract import Transport


class Sends(TransportSuite):
    """Messages arrive unchanged."""

    async def test_a_message_is_received_with_its_body_and_attributes(self, transport: Transport) -> None:
        attributes = {"content-type": "text/plain", "name": "말하다 \U0001f600 é", "long": "x" * 1000}
        await send(transport, Message(body='{"text": "말하다 \U0001f600"}', id="a", attributes=attributes))
        async with transport.open_receiver() as receiver:
            (delivery,) = await take(receiver)
        assert delivery.message.body == '{"text": "말하다 \U0001f600"}'
        assert delivery.message.attributes == attributes
        assert delivery.message.id

    async def test_attributes_may_be_many_and_hold_any_text(self, transport: Transport) -> None:
        attributes = {f"a{number}": str(number) for number in range(20)} | {"empty": "", "이름": "v", "a..b": "\x01\n"}
        await send(transport, Message(body="x", attributes=attributes))
        async with transport.open_receiver() as receiver:
            (delivery,) = await take(receiver)
        assert delivery.message.attributes == attributes

    async def test_a_message_may_have_the_maximum_size(self, transport: Transport) -> None:
        await transport.connect()
        body = "é" * (transport.max_message_size // 2)
        await send(transport, Message(body=body))
        async with transport.open_receiver() as receiver:
            assert bodies(await take(receiver)) == [body]

    async def test_a_message_that_is_too_large_fails_alone(self, transport: Transport) -> None:
        await transport.connect()
        first, second, third = await transport.send(
            [*messages("a"), Message(body="é" * (transport.max_message_size // 2 + 1)), *messages("b")]
        )
        assert (first, third) == (None, None)
        assert isinstance(second, TransportMisconfigured)
        assert f"{transport.max_message_size:,}" in str(second)
        async with transport.open_receiver() as receiver:
            assert bodies(await take(receiver, 2)) == ["a", "b"]

    async def test_many_messages_are_sent_received_and_acknowledged_in_one_call(self, transport: Transport) -> None:
        many = [f"{number:02}" for number in range(45)]
        await send(transport, *messages(*many))
        async with transport.open_receiver() as receiver:
            taken = await take(receiver, len(many))
            assert bodies(taken) == many
            assert len({delivery.message.id for delivery in taken}) == len(many)
            await asyncio.gather(*(delivery.ack() for delivery in taken))
        async with transport.open_receiver() as receiver:
            await assert_no_message(receiver)

    async def test_concurrent_sends_all_succeed(self, transport: Transport) -> None:
        await asyncio.gather(*(send(transport, *messages(f"{number:02}")) for number in range(30)))
        async with transport.open_receiver() as receiver:
            assert len(set(bodies(await take(receiver, 30)))) == 30

    async def test_an_empty_send_returns_an_empty_list(self, transport: Transport) -> None:
        assert await transport.send([]) == []


class SendErrors(TransportSuite):
    """Errors name the cause."""

    async def failures(self, transport: Transport) -> list[BaseException | None]:
        """Send two messages and receive, and give what is said of each."""
        errors: list[BaseException | None] = list(await transport.send(messages("a", "b")))
        try:
            async with asyncio.timeout(TIMEOUT), transport.open_receiver() as receiver:
                await receiver.receive(1)
        except TransportError as error:
            errors.append(error)
        return errors

    async def test_a_missing_queue_is_misconfigured_and_named(self, factory: TransportFactory) -> None:
        async with opened(factory.missing()) as transport:
            errors = await self.failures(transport)
        assert [type(error) for error in errors] == [TransportMisconfigured] * 3
        assert all(str(error).endswith(".") for error in errors)

    async def test_a_server_that_cannot_be_reached_is_unavailable(self, factory: TransportFactory) -> None:
        async with opened(factory.unreachable()) as transport:
            errors = await self.failures(transport)
        assert [type(error) for error in errors] == [TransportUnavailable] * 3
        assert all(str(error).endswith(".") for error in errors)
