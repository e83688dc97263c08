"""Consumers: which messages become jobs, how often, and what happens to the others."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sidelane import (
    Call,
    ConfigurationError,
    MalformedMessage,
    Message,
    PubSub,
    Queue,
    RateLimit,
    Sidelane,
    Sqs,
    State,
    Task,
)
from sidelane.admin.put_aside import message_of
from sidelane.client.put_aside import read_put_aside
from sidelane.consumers.receiver import MessageReceiver, message_receivers
from sidelane.model.errors import MissingExtra
from sidelane.model.job import JobRecord
from sidelane.testing import harness
from sidelane.testing.harness import Harness
from sidelane.transports import cloudevents, receive_loop
from sidelane.transports.cloudevents import CloudEvent
from tests.system.waiting import until
from tests.transports.moto import Moto
from tests.transports.queues import MessageQueue, SqsQueue, sqs_queue

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Feedback(BaseModel):
    """What the backend sends."""

    member: int
    content: str


Answer = Task[[Feedback], Any, str]


@pytest.fixture
def lane(tmp_path: Path) -> Sidelane:
    return Sidelane(queues=[Queue("narrow", max_queued=1)], store=f"sqlite:///{tmp_path / 'jobs.db'}")


@pytest.fixture
def answer(lane: Sidelane) -> Answer:
    @lane.task
    async def answer(feedback: Feedback) -> str:
        return f"{feedback.member}: {feedback.content}"

    return answer


def body(member: int = 3, content: str = "good") -> str:
    return json.dumps({"member": member, "content": content})


@asynccontextmanager
async def consuming(t: Harness, lane: Sidelane) -> AsyncIterator[MessageReceiver]:
    """Run the receiver of a consumer beside a lane under test."""
    (receiver,) = message_receivers(lane.consumers, lane.services)
    running = asyncio.create_task(receiver.run())
    try:
        yield receiver
    finally:
        running.cancel()
        await asyncio.wait([running])
        await lane.services.transports.close()


async def test_missing_driver_is_reported_before_the_worker_starts(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.consumer(Sqs("feedback"))(lambda message: None)
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    async with lane.open():
        with pytest.raises(MissingExtra, match=r"pip install 'sidelane\[sqs\]'"):
            lane.worker()


# --- one message ---------------------------------------------------------------------------------------------------------


async def test_message_becomes_a_job(lane: Sidelane, answer: Answer) -> None:
    @lane.consumer(Sqs("feedback"))
    def requests(message: Message) -> Call[Any]:
        return answer.options(user="u3").call(Feedback.model_validate_json(message.body))

    async with harness(lane) as t:
        job = await t.consume(requests, Message(body=body(), id="m1", attributes={"traceparent": TRACE}))
        await t.drain()
        assert job is not None
        assert await job.result() == "3: good"
        record = await job.record()
        assert (record.spec.user, record.spec.trace) == ("u3", TRACE)


async def test_redelivered_message_makes_no_second_job(lane: Sidelane, answer: Answer) -> None:
    @lane.consumer(Sqs("feedback"))
    async def requests(message: Message) -> Call[Any]:
        return answer.call(Feedback.model_validate_json(message.body))

    @lane.consumer(Sqs("others"), name="others")
    def others(message: Message) -> Call[Any]:
        return answer.call(Feedback.model_validate_json(message.body))

    async with harness(lane) as t:
        taken = [await t.consume(requests, Message(body=body(), id=each)) for each in ("m1", "m2", "m1")]
        taken.append(await t.consume(others, Message(body=body(), id="m1")))
        assert [job and job.created for job in taken] == [True, True, False, True]
        assert len(await t.records(answer)) == 3


async def test_id_of_the_call_is_the_id_of_the_job(lane: Sidelane, answer: Answer) -> None:
    @lane.consumer(Sqs("feedback"))
    def requests(message: Message) -> Call[Any]:
        event = cloudevents.read(message.body)
        return answer.options(id=event.id).call(Feedback.model_validate_json(event.data or ""))

    event = CloudEvent(id="f-7", source="backend", type="feedback", data=body(), traceparent=TRACE)
    async with harness(lane) as t:
        for number in range(2):
            job = await t.consume(requests, cloudevents.message(event))
            assert job is not None
            assert (job.id, job.created) == ("f-7", number == 0)
            assert (await job.record()).spec.trace == TRACE


async def test_consumer_can_ignore_a_message(lane: Sidelane) -> None:
    @lane.consumer(Sqs("feedback"))
    def requests(message: Message) -> None:
        return None

    async with harness(lane) as t:
        assert await t.consume(requests, Message(body="{}")) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"member": 3', "JSONDecodeError: Expecting"),
        ('{"member": "none", "content": "secret"}', "Feedback: member: Input should be a valid integer"),
        ('{"content": "secret"}', "KeyError: 'member'"),
        ('{"member": 3, "content": "secret", "kind": "spam"}', "ValueError: spam is not taken"),
        ("[]", "TypeError: "),
    ],
)
async def test_reason_of_a_malformed_message_is_one_line_that_does_not_quote_it(
    lane: Sidelane, answer: Answer, text: str, reason: str
) -> None:
    @lane.consumer(Sqs("feedback"))
    def requests(message: Message) -> Call[Any]:
        document = json.loads(message.body)
        if document["member"] == 3 and document.get("kind") == "spam":
            raise ValueError("spam is not\ntaken")
        return answer.call(Feedback.model_validate(document))

    async with harness(lane) as t:
        with pytest.raises(MalformedMessage, match="^" + reason) as raised:
            await t.consume(requests, Message(body=text))
        assert "secret" not in str(raised.value)
        assert "\n" not in str(raised.value)


async def test_consumer_that_returns_no_call_is_a_configuration_error(lane: Sidelane, answer: Answer) -> None:
    @lane.consumer(Sqs("feedback"))
    def requests(message: Message) -> Any:
        return answer

    async with harness(lane) as t:
        with pytest.raises(ConfigurationError, match="returned Task"):
            await t.consume(requests, Message(body="{}"))


def test_two_consumers_of_one_name_are_refused(lane: Sidelane) -> None:
    lane.consumer(Sqs("a"), name="requests")(lambda message: None)
    with pytest.raises(ConfigurationError, match="already has a consumer 'requests'"):
        lane.consumer(Sqs("b"), name="requests")(lambda message: None)


def test_consumer_needs_an_endpoint_that_can_be_received_from(lane: Sidelane) -> None:
    with pytest.raises(ConfigurationError, match="subscription"):
        lane.consumer(PubSub(topic="feedback"))(lambda message: None)


# --- receiving -----------------------------------------------------------------------------------------------------------


async def test_messages_become_jobs_and_are_acknowledged(lane: Sidelane, answer: Answer, queue: MessageQueue) -> None:
    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any] | None:
        if message.attributes.get("kind") == "ping":
            return None
        return answer.call(Feedback.model_validate_json(message.body))

    queue.publish("", kind="ping") if not isinstance(queue, SqsQueue) else queue.publish("-", kind="ping")
    for member in range(20):
        queue.publish(body(member), traceparent=TRACE)
    async with harness(lane) as t:
        async with consuming(t, lane):
            await until(lambda: _count(t, answer, 20), "twenty jobs")
            await until(lambda: not queue.left(), "the acknowledgements")
        records = await t.records(answer)
    assert len({record.id for record in records}) == 20
    assert {record.spec.trace for record in records} == {TRACE}


async def test_malformed_message_is_dead_lettered_with_a_reason(
    lane: Sidelane, answer: Answer, queue: MessageQueue
) -> None:
    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any]:
        return answer.call(Feedback.model_validate_json(message.body))

    queue.publish('{"member": "none"}')
    async with harness(lane) as t, consuming(t, lane):
        dead, reason = await asyncio.to_thread(queue.dead_letter)
        await until(lambda: not queue.left(), "the acknowledgement")
        while not (noted := await read_put_aside(lane.client.store, 10)):
            await asyncio.sleep(0.02)
        (copy,) = await lane.client.store.get([noted[0].job])
        assert isinstance(copy, JobRecord)
        assert message_of(copy).body == '{"member": "none"}'
    assert dead == '{"member": "none"}'
    assert [(each.receiver, each.endpoint, each.reason) for each in noted] == [
        ("requests", str(queue.endpoint), reason)
    ]
    assert (
        reason
        == "Feedback: member: Input should be a valid integer, unable to parse string as an integer; content: Field required"
    )


async def test_message_is_delivered_again_after_an_unexpected_error(
    lane: Sidelane, answer: Answer, moto: Moto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receive_loop, "REDELIVERY_DELAY", 0.0)
    queue, seen = sqs_queue(moto), list[str]()

    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any]:
        seen.append(message.id)
        if len(seen) == 1:
            raise RuntimeError("not my day")
        return answer.call(Feedback.model_validate_json(message.body))

    queue.publish(body())
    async with harness(lane) as t, consuming(t, lane):
        await until(lambda: _count(t, answer, 1), "the job")
        await until(lambda: not queue.left(), "the acknowledgement")
    assert seen == [seen[0]] * 2
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info


async def test_messages_wait_in_flight_while_the_queue_is_full(lane: Sidelane, moto: Moto) -> None:
    queue = sqs_queue(moto)

    @lane.task(queue="narrow")
    async def squeeze(number: int) -> int:
        return number

    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any]:
        return squeeze.call(int(message.body))

    for number in range(3):
        queue.publish(str(number))
    async with harness(lane) as t, consuming(t, lane) as receiver:
        await until(lambda: receiver.error, "a full queue")
        assert "requests" in str(receiver.error)
        assert queue.left()
        await until(lambda: _drained(t, squeeze, 3), "all three jobs")
        assert sorted([record.result for record in await t.records(squeeze)], key=str) == ["0", "1", "2"]
        await until(lambda: not queue.left(), "the acknowledgements")
        assert receiver.error is None


async def test_message_refused_by_a_limit_is_delivered_again_and_blocks_no_other(lane: Sidelane, moto: Moto) -> None:
    queue = sqs_queue(moto)

    @lane.task(limits=[RateLimit("1/s", per="user")])
    async def once(number: int) -> int:
        return number

    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any]:
        user, number = message.body.split()
        return once.options(user=user).call(int(number))

    for text in ("ann 1", "ann 2", "bob 3"):
        queue.publish(text)
    async with harness(lane) as t, consuming(t, lane):
        await until(lambda: _count(t, once, 2), "one job of each")
        await t.advance(1.0)
        await until(lambda: _count(t, once, 3), "the third")
        await until(lambda: not queue.left(), "the acknowledgements")


async def test_redelivered_message_does_not_recreate_a_removed_job(lane: Sidelane, moto: Moto) -> None:
    queue = sqs_queue(moto)

    @lane.task(retention=1.0)
    async def brief() -> None: ...

    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any]:
        return brief.options(id=message.body).call()

    queue.publish("job-1")
    async with harness(lane) as t, consuming(t, lane):
        await until(lambda: _drained(t, brief, 1), "the job")
        await t.advance(3 * 86_400.0)
        assert await t.records(brief) == []
        queue.publish("job-1")
        await until(lambda: not queue.left(), "the acknowledgements")
        assert await t.records(brief) == []


async def test_worker_restricted_to_some_queues_consumes_for_all(lane: Sidelane, answer: Answer, moto: Moto) -> None:
    queue = sqs_queue(moto)

    @lane.consumer(queue.endpoint)
    def requests(message: Message) -> Call[Any]:
        return answer.options(id="j").call(Feedback.model_validate_json(message.body))

    async with lane.open():
        worker = lane.worker(queues={"narrow": 1})
        running = asyncio.create_task(worker.run())
        queue.publish(body())
        await until(lambda: not queue.left(), "the acknowledgement")
        assert (await lane.client.record("j")).state is State.QUEUED
        worker.drain()
        await running


async def test_missing_queue_is_reported_by_the_health_check(lane: Sidelane, moto: Moto) -> None:
    @lane.consumer(Sqs("nowhere"))
    def requests(message: Message) -> None:
        return None

    async with harness(lane) as t, consuming(t, lane) as receiver:
        await until(lambda: receiver.error, "the trouble")
        assert "SQS queue nowhere does not exist" in str(receiver.error)


async def test_missing_driver_is_reported_by_the_health_check_and_stops_no_worker(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sidelane.transports.sqs.transport", None)

    @lane.consumer(Sqs("requests"))
    def requests(message: Message) -> None:
        return None

    async with harness(lane) as t, consuming(t, lane) as receiver:
        await until(lambda: receiver.error, "the trouble")
        assert "pip install 'sidelane[sqs]'" in str(receiver.error)


async def _count(t: Harness, task: Task[..., Any, Any], count: int) -> bool:
    return len(await t.records(task)) == count


async def _drained(t: Harness, task: Task[..., Any, Any], count: int) -> bool:
    await t.drain()
    return [record.state for record in await t.records(task)] == [State.SUCCEEDED] * count
