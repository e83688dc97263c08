"""A worker over messages: what it makes of offers, and what it replies."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sidelane import CompletionMessage, ConfigurationError, DispatchedJob, Event, PubSub, Sqs, State
from sidelane.client.event_stream import read_all
from sidelane.model.errors import TransportMisconfigured
from sidelane.model.ids import new_id
from sidelane.remote_worker import source
from sidelane.testing import harness
from sidelane.transports.data_reference import with_dataref
from sidelane.transports.factory import TransportPool
from sidelane.transports.job_messages import read_completion, write_dispatched
from sidelane.worker.worker import Worker, run_in_background
from tests.external.conftest import MakeLane
from tests.remote_worker import sample_app
from tests.system.waiting import until
from tests.transports.moto import Moto
from tests.transports.queues import MessageQueue, sqs_queue


@dataclass(slots=True)
class Customer:
    """Whoever makes offers and hears what becomes of them."""

    offers: MessageQueue
    replies: MessageQueue
    heard: list[CompletionMessage] = field(default_factory=list)

    def offer(self, task: str, given: Any = None, **said: Any) -> DispatchedJob:
        """Make an offer."""
        job = new_id()
        offer = DispatchedJob(
            **{"job": job, "task": task, "attempt": 1, "input": given, "timeout": 60.0, "token": f"t-{job}", **said}
        )
        self.offers.publish(write_dispatched(offer).body)
        return offer

    async def listen(self) -> None:
        """Hear replies, for ever."""
        transports = TransportPool()
        try:
            async with (await transports.get(self.replies.endpoint)).open_receiver() as receiver:
                while True:
                    for delivery in await receiver.receive(10):
                        self.heard.append(read_completion(delivery.message))
                        await delivery.ack()
        finally:
            await transports.close()

    def end(self, offer: DispatchedJob) -> CompletionMessage | None:
        """Give the reply that ended an offer, once it is there."""
        ends = [reply for reply in self.heard if reply.ends and reply.job == offer.job]
        assert len(ends) < 2
        assert all(reply.token == offer.token for reply in ends)
        return ends[0] if ends else None

    async def ended(self, offer: DispatchedJob) -> CompletionMessage:
        """Wait for the end of an offer."""
        await until(lambda: self.end(offer) is not None, f"the end of {offer.task}")
        end = self.end(offer)
        assert end is not None
        return end

    def events(self, offer: DispatchedJob) -> list[tuple[str, Any]]:
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
async def customer(queues: tuple[MessageQueue, MessageQueue]) -> AsyncIterator[Customer]:
    made = Customer(*queues)
    listening = asyncio.create_task(made.listen())
    yield made
    listening.cancel()
    await asyncio.wait([listening])


@pytest.fixture(autouse=True)
def fresh() -> None:
    sample_app.starts.clear()


@asynccontextmanager
async def serving(customer: Customer, **chosen: Any) -> AsyncIterator[Worker]:
    """Run a worker that takes this customer's offers."""
    made = sample_app.lane.remote_worker(
        receive_from=customer.offers.endpoint, reply_to=customer.replies.sender, **chosen
    )
    async with made as worker, run_in_background(worker):
        yield worker


def told(events: list[Event]) -> list[tuple[str, Any]]:
    """Give what a log says before its end."""
    return [(event.name, json.loads(event.data)) for event in events if event.name != "end"]


async def test_tasks_of_every_kind_have_the_events_and_ends_that_they_have_in_a_store(customer: Customer) -> None:
    async with harness(sample_app.lane) as t:
        jobs = {kind: await t.client.submit(call) for kind, call in sample_app.CALLS.items()}
        await t.drain()
        records = {kind: await job.record() for kind, job in jobs.items()}
        logs = {kind: told(await read_all(t.client.store, job.id)) for kind, job in jobs.items()}
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


async def test_an_offer_that_cannot_be_read_goes_to_the_dead_letters_with_the_reason(customer: Customer) -> None:
    whole = write_dispatched(DispatchedJob(job="j", task="tell", attempt=1, input=1, timeout=60.0, token="t")).body
    async with serving(customer):
        for body, reason in ((whole[:-9], "not JSON"), (whole.replace('"attempt":1', '"attempt":0'), "attempt")):
            customer.offers.publish(body)
            while True:  # on a slow machine one may be rejected twice
                letter = await asyncio.to_thread(customer.offers.dead_letter)
                if letter[0] == body:
                    break
            assert reason in letter[1]
        await until(lambda: not customer.offers.left(), "the acknowledgements")
    assert customer.heard == []


async def test_an_offer_of_a_task_that_nobody_knows_is_left_to_others_and_answered_in_the_end(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "RETRY_DELAY", 0.0)
    async with serving(customer):
        made = [customer.offer(name) for name in ("nobody.knows", "sidelane.send")]
        newer = customer.offer("tell", 1, version=2)
        for offer in made:
            end = await customer.ended(offer)
            assert isinstance(end.problem, dict)
            assert (end.problem["status"], end.problem["title"], end.retry) == (404, "Unknown task", False)
        assert customer.end(newer) is None  # another edition of this very worker knows it


async def test_arguments_that_do_not_fit_are_a_final_failure(customer: Customer) -> None:
    async with serving(customer):
        for task, given in (("analyse", {"seconds": 1}), ("measure", "a.wav"), ("crunch", {"a": 1})):
            end = await customer.ended(customer.offer(task, given))
            assert isinstance(end.problem, dict)
            assert (end.problem["status"], end.retry) == (422, False)


async def test_the_offers_timeout_bounds_the_attempt_and_another_may_be_made(customer: Customer) -> None:
    async with serving(customer):
        end = await customer.ended(customer.offer("work", 60.0, timeout=0.2))
    assert isinstance(end.problem, dict)
    assert (end.problem["status"], end.problem["title"], end.retry) == (504, "Timed out", True)
    assert end.problem["detail"] == "The task did not end within 0.2 seconds."


async def test_an_offer_is_kept_for_as_long_as_its_job_runs(customer: Customer) -> None:
    async with serving(customer, concurrency=1):  # so that it has no room for what comes again
        end = await customer.ended(customer.offer("work", 3.0))  # the lease is two seconds
        assert end.result == 1
        await until(lambda: not customer.offers.left(), "the acknowledgement")
    assert len(sample_app.starts) == 1


async def test_a_worker_that_stops_gives_its_offer_back_and_says_nothing(customer: Customer) -> None:
    async with serving(customer):
        offer = customer.offer("work", 60.0)
        await until(lambda: sample_app.starts, "the start")
    assert customer.offers.left()
    async with serving(customer):  # the lane's drain is none
        await until(lambda: len(sample_app.starts) == 2, "the second start")
    assert customer.end(offer) is None


async def test_a_task_that_wants_to_be_run_later_is_offered_again(customer: Customer) -> None:
    async with serving(customer):
        end = await customer.ended(customer.offer("hesitate"))
    assert end.result == "done"
    assert 0.9 <= sample_app.starts[1] - sample_app.starts[0] < 5.0


async def test_a_task_is_told_that_there_is_no_store(customer: Customer, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(customer):
        end = await customer.ended(customer.offer("delegate"))
    assert isinstance(end.problem, dict)
    assert end.problem["status"] == 500
    assert "This remote worker has no store" in caplog.text


async def test_what_a_message_cannot_carry_is_too_large_and_said_so(customer: Customer) -> None:
    async with serving(customer):
        end = await customer.ended(customer.offer("pour", {"count": 0, "size": 1_048_576}))
        assert isinstance(end.problem, dict)
        assert (end.problem["status"], end.retry) == (413, False)
        offer = customer.offer("pour", {"count": 6, "size": 100_000})
        assert (await customer.ended(offer)).result == "x" * 100_000
        assert len(customer.events(offer)) == 7


async def test_what_is_larger_than_a_message_goes_by_a_bucket_that_both_sides_reach(
    moto: Moto, make_lane: MakeLane
) -> None:
    moto.bucket("both")
    urls = [moto.queue(), moto.queue()]
    for url in urls:
        moto.sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "16384"})
    offered, replied = map(Sqs, urls)
    home = make_lane(file_storage="s3://both/files")
    echo = home.external_task("echo", input=str, result=str, send_to=offered, replies_from=replied)
    text = "long " * 10_000
    with sample_app.lane.files.use_location("s3://both/files"):
        made = sample_app.lane.remote_worker(receive_from=offered, reply_to=replied)
        async with home.open(workers=1), made as worker, run_in_background(worker):
            job = await echo.submit(text)
            assert await job.result(timeout=20) == text
            assert told(await read_all(home.client.store, job.id)) == [("began", "echo"), ("token", {"text": text})]


async def test_nothing_that_a_message_says_ends_the_worker(moto: Moto, tmp_path: Path) -> None:
    """It points to what is no text, or what it leads to can be sent nowhere: a bucket is missing, it is nested too deep."""
    queue, replied = sqs_queue(moto), sqs_queue(moto)
    moto.sqs.set_queue_attributes(QueueUrl=replied.url, Attributes={"MaximumMessageSize": "16384"})
    customer = Customer(queue, replied)
    listening = asyncio.create_task(customer.listen())
    try:
        with sample_app.lane.files.use_location(str(tmp_path)):
            async with serving(customer):
                sound = await sample_app.lane.files.save(b"\xff\xfe")
                offer = DispatchedJob(job="j", task="tell", attempt=1, input=1, timeout=60.0, token="t")
                queue.publish(with_dataref(write_dispatched(offer), f"https://here#{sound.id}").body)
                assert "not text" in (await asyncio.to_thread(queue.dead_letter))[1]
                await customer.ended(customer.offer("nest", 220))
                assert (await customer.ended(customer.offer("tell", 1))).result == 1
        with sample_app.lane.files.use_location("s3://nowhere-to-be-found/files"):
            async with serving(customer):
                end = await customer.ended(customer.offer("echo", "x" * 20_000))
                assert isinstance(end.problem, dict)
                assert (end.problem["title"], end.retry) == ("Not sent", False)
                assert (await customer.ended(customer.offer("tell", 1))).result == 1
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_place_for_replies_that_is_not_there_is_found_at_once(moto: Moto) -> None:
    with pytest.raises(TransportMisconfigured, match="SQS queue nowhere does not exist"):
        async with sample_app.lane.remote_worker(receive_from=sqs_queue(moto).endpoint, reply_to=Sqs("nowhere")):
            pass


async def test_a_place_for_replies_that_goes_away_ends_the_worker_and_the_offer_comes_back(moto: Moto) -> None:
    queue, replies = sqs_queue(moto), moto.queue()
    customer = Customer(queue, queue)
    async with sample_app.lane.remote_worker(receive_from=queue.endpoint, reply_to=Sqs(replies)) as worker:
        moto.sqs.delete_queue(QueueUrl=replies)
        running = asyncio.create_task(worker.run())
        customer.offer("tell", 0)
        with pytest.raises(ExceptionGroup) as raised:
            await running
        assert raised.group_contains(TransportMisconfigured, match="does not exist")
    assert queue.left()


async def test_addresses_that_go_the_other_way_are_refused() -> None:
    topic, subscription = PubSub(topic="t"), PubSub(subscription="s")
    for offers_from, replies_to in ((topic, topic), (subscription, subscription)):
        with pytest.raises(ConfigurationError, match="cannot be"):
            async with sample_app.lane.remote_worker(receive_from=offers_from, reply_to=replies_to):
                pass


def _input(arguments: str) -> Any:
    """Write a call's arguments as the input of an offer: one argument stands for itself."""
    found = json.loads(arguments)
    return next(iter(found.values())) if len(found) == 1 else found
