"""Ordering: messages of one group are delivered one after another."""

from collections import defaultdict

from sidelane.conformance.transports.fixtures import (
    TransportFactory,
    TransportSuite,
    bodies,
    messages,
    opened,
    send,
    take,
)
from sidelane.model.message import Message


class MessageGroups(TransportSuite):
    """Groups, if the channel supports them."""

    async def test_messages_of_one_group_arrive_in_order(self, factory: TransportFactory) -> None:
        numbers = [f"{number:02}" for number in range(12)]
        async with opened((await factory.channel(ordered=True)).open()) as transport:
            await send(transport, *(each for n in numbers for g in "ab" for each in messages(n + g, group=g)))
            came = defaultdict(list)
            async with transport.open_receiver() as receiver:
                for _ in range(24):
                    (delivery,) = await take(receiver)
                    came[delivery.message.group].append(delivery.message.body)
                    await delivery.ack()
            assert came == {group: [number + group for number in numbers] for group in "ab"}

    async def test_an_unacknowledged_message_delays_its_own_group_only(self, factory: TransportFactory) -> None:
        async with opened((await factory.channel(ordered=True)).open()) as transport:
            await send(transport, *messages("a1", "a2", group="a"), *messages("b1", "b2", group="b"))
            async with transport.open_receiver() as receiver:
                (unacknowledged,) = await take(receiver)
                other = "b" if unacknowledged.message.group == "a" else "a"
                for number in "12":
                    (delivery,) = await take(receiver)
                    assert delivery.message.body == f"{other}{number}"
                    await delivery.ack()
                await unacknowledged.ack()
                assert bodies(await take(receiver)) == [f"{unacknowledged.message.group}2"]

    async def test_messages_without_a_group_go_there_too_and_wait_for_no_other(self, factory: TransportFactory) -> None:
        async with opened((await factory.channel(ordered=True)).open()) as transport:
            await send(transport, *messages("a", "b"), Message(body="c"), Message(body="c"))
            async with transport.open_receiver() as receiver:
                one_by_one = [(await take(receiver))[0] for _ in range(4)]
                assert bodies(one_by_one) == ["a", "b", "c", "c"]
