"""Dead letters: messages that cannot be processed are set aside, never lost."""

import pytest

from sidelane.conformance.transports.fixtures import (
    DeadLetters,
    TransportFactory,
    TransportSuite,
    assert_no_message,
    bodies,
    messages,
    opened,
    send,
    take,
)
from sidelane.model.message import Message


class DeadLettering(TransportSuite):
    """Messages that cannot be processed."""

    @pytest.mark.parametrize("dead_letters", ["given", "own"])
    async def test_a_dead_lettered_message_keeps_the_reason(
        self, factory: TransportFactory, dead_letters: DeadLetters
    ) -> None:
        channel = await factory.channel(dead_letters=dead_letters)
        async with opened(channel.open()) as transport, opened(channel.open_dead_letters()) as dead_letters_queue:
            sent = Message(body="not json", id="a", attributes={"from": "é"})
            await send(transport, sent)
            async with transport.open_receiver() as receiver:
                (delivery,) = await take(receiver)
                await delivery.dead_letter("The message is not JSON.")
                await delivery.dead_letter("And again.")
            async with transport.open_receiver() as receiver:
                await assert_no_message(receiver)
            async with dead_letters_queue.open_receiver() as receiver:
                (letter,) = await take(receiver)
                await letter.ack()
                assert letter.message.body == sent.body
                assert letter.message.attributes["from"] == "é"
                assert letter.message.attributes["reason"] == "The message is not JSON."
                await assert_no_message(receiver)

    async def test_a_long_reason_is_truncated(self, factory: TransportFactory) -> None:
        channel = await factory.channel(dead_letters="given")
        async with opened(channel.open()) as transport, opened(channel.open_dead_letters()) as dead_letters_queue:
            await send(transport, *messages("a"))
            async with transport.open_receiver() as receiver, dead_letters_queue.open_receiver() as letters:
                await (await take(receiver))[0].dead_letter("말" * 100_000)
                (letter,) = await take(letters)
                assert letter.message.attributes["reason"].startswith("말말말")

    @pytest.mark.parametrize("dead_letters", ["none", "missing"])
    async def test_without_a_dead_letter_queue_the_message_is_redelivered(
        self, factory: TransportFactory, dead_letters: DeadLetters, caplog: pytest.LogCaptureFixture
    ) -> None:
        channel = await factory.channel(dead_letters=dead_letters)
        async with opened(channel.open()) as transport:
            await send(transport, *messages("a"))
            async with transport.open_receiver() as receiver:
                (delivery,) = await take(receiver)
                await delivery.dead_letter("The message is not JSON.")
                assert "The message is not JSON." in caplog.text
                await assert_no_message(receiver)  # not at once, for it would come again and again
            async with transport.open_receiver() as receiver:
                assert bodies(await take(receiver)) == ["a"]
