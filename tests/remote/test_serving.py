"""A worker over messages: what it makes of offers, and what it replies."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from sidelane import Event, Offer, Reply, State
from sidelane.engine.embedding import embedded
from sidelane.engine.following import whole_log
from sidelane.engine.worker import Worker
from sidelane.model.ids import new_id
from sidelane.remote.messages import offer_message, read_reply
from sidelane.transports.opening import Transports
from tests.remote import studio
from tests.remote.lines import Line
from tests.system.waiting import until


@dataclass(slots=True)
class Customer:
    """Whoever makes offers and hears what becomes of them."""

    offers: Line
    replies: Line
    heard: list[Reply] = field(default_factory=list)

    def offer(self, task: str, given: Any = None, **said: Any) -> Offer:
        """Make an offer."""
        job = new_id()
        offer = Offer(
            **{"job": job, "task": task, "attempt": 1, "input": given, "timeout": 60.0, "token": f"t-{job}", **said}
        )
        self.offers.publish(offer_message(offer).body)
        return offer

    async def listen(self) -> None:
        """Hear replies, for ever."""
        transports = Transports()
        try:
            async with (await transports.to(self.replies.address)).receiving() as receiver:
                while True:
                    for delivery in await receiver.receive(10):
                        self.heard.append(read_reply(delivery.message))
                        await delivery.ack()
        finally:
            await transports.close()

    def end(self, offer: Offer) -> Reply | None:
        """Give the reply that ended an offer, once it is there."""
        ends = [reply for reply in self.heard if reply.ends and reply.job == offer.job]
        assert len(ends) < 2
        assert all(reply.token == offer.token for reply in ends)
        return ends[0] if ends else None

    async def ended(self, offer: Offer) -> Reply:
        """Wait for the end of an offer."""
        await until(lambda: self.end(offer) is not None, f"the end of {offer.task}")
        end = self.end(offer)
        assert end is not None
        return end

    def events(self, offer: Offer) -> list[tuple[str, Any]]:
        """Give the events of an offer in the order of their ordinals, which have no holes."""
        numbered: dict[int, tuple[str, Any]] = {}
        for reply in self.heard:
            if reply.job == offer.job:
                assert reply.ordinal is not None
                for place, event in enumerate(reply.events):
                    numbered[reply.ordinal + place] = (event.name, event.data)
        assert sorted(numbered) == list(range(1, len(numbered) + 1))
        return [numbered[number] for number in sorted(numbered)]


@pytest.fixture
async def customer(lines: tuple[Line, Line]) -> AsyncIterator[Customer]:
    made = Customer(*lines)
    listening = asyncio.create_task(made.listen())
    yield made
    listening.cancel()
    await asyncio.wait([listening])


@pytest.fixture(autouse=True)
def fresh() -> None:
    studio.starts.clear()


@asynccontextmanager
async def serving(customer: Customer, **chosen: Any) -> AsyncIterator[Worker]:
    """Run a worker that takes this customer's offers."""
    made = studio.lane.serving(offers=customer.offers.address, replies=customer.replies.sender, **chosen)
    async with made as worker, embedded(worker):
        yield worker


def told(events: list[Event]) -> list[tuple[str, Any]]:
    """Give what a log says before its end."""
    return [(event.name, json.loads(event.data)) for event in events if event.name != "end"]


async def test_tasks_of_every_kind_have_the_events_and_ends_that_they_have_in_a_store(customer: Customer) -> None:
    async with studio.lane.testing() as t:
        jobs = {kind: await t.client.submit(call) for kind, call in studio.CALLS.items()}
        await t.drain()
        records = {kind: await job.record() for kind, job in jobs.items()}
        logs = {kind: told(await whole_log(t.client.store, job.id)) for kind, job in jobs.items()}
    async with serving(customer):
        made = {
            kind: customer.offer(record.spec.task, _input(record.spec.arguments), job=record.id)
            for kind, record in records.items()
        }
        ends = {kind: await customer.ended(offer) for kind, offer in made.items()}
    for kind, record in records.items():
        end = ends[kind]
        assert customer.events(made[kind]) == logs[kind], kind
        if record.state is State.SUCCEEDED:
            assert end.result == json.loads(record.result or ""), kind
        else:
            assert record.problem is not None
            assert end.problem == record.problem.document(), kind
            assert end.retry is (kind != "final failure"), kind
    assert not customer.offers.left()


def _input(arguments: str) -> Any:
    """Write a call's arguments as the input of an offer: one argument stands for itself."""
    found = json.loads(arguments)
    return next(iter(found.values())) if len(found) == 1 else found
