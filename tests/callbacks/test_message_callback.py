"""Message callbacks to queues and topics, over the real clients."""

import json
from typing import Any

import pytest

from sidelane import FinishedJob, MessageCallback, PubSub, Sidelane, Sqs, State
from sidelane.testing import harness
from sidelane.transports import cloudevents
from tests.callbacks.conftest import MakeLane
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub


def received(moto: Moto, url: str) -> list[str]:
    asked = moto.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
    return [message["Body"] for message in asked.get("Messages", [])]


async def test_queue_receives_the_end_as_a_cloud_event(lane: Sidelane, moto: Moto) -> None:
    url = moto.queue()

    @lane.task(callback=MessageCallback(to=Sqs(url)))
    async def number(value: int) -> int:
        return value

    async with harness(lane) as t:
        job = await number.options(key="k", labels={"a": "b"}).submit(7)
        await t.drain()
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert (told.state, told.to) == (State.SUCCEEDED, f"SQS queue {url}")
    (body,) = received(moto, url)
    event = cloudevents.read(body)
    assert (event.type, event.subject, event.id) == ("sidelane.job.succeeded", job.id, f"{job.id}:1:0")
    data: Any = json.loads(event.data or "")
    assert (data["id"], data["state"], data["result"], data["key"], data["labels"]) == (
        job.id, "succeeded", 7, "k", {"a": "b"},
    )  # fmt: skip


async def test_topic_receives_a_message_in_its_own_format(lane: Sidelane, pubsub: RunningPubSub) -> None:
    topic = pubsub.topic()
    subscription = pubsub.subscription(topic)

    @lane.callback_payload
    def for_leafresh(ended: FinishedJob) -> dict[str, Any]:
        return {"memberId": ended.arguments["member_id"], "content": ended.result}

    @lane.task(callback=MessageCallback(to=PubSub(topic=topic), body=for_leafresh, on="success"))
    async def feedback(member_id: int) -> str:
        return "잘했어요"

    async with harness(lane) as t:
        await t.run(feedback.call(3))
        await t.deliver()
    (message,) = pubsub.pull(subscription)
    assert json.loads(message.data) == {"memberId": 3, "content": "잘했어요"}


async def test_missing_queue_is_named_and_retried(lane: Sidelane, moto: Moto) -> None:
    @lane.task(callback=MessageCallback(to=Sqs("soon-there")))
    async def number(value: int) -> int:
        return value

    async with harness(lane) as t:
        job = await number.submit(7)
        await t.drain()
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert (told.state, told.attempts) == (State.QUEUED, 1)
        assert "SQS queue soon-there did not accept it" in told.problem
        url = moto.queue("soon-there")
        await t.advance(6)
        await t.deliver()
    (body,) = received(moto, url)
    assert cloudevents.read(body).subject == job.id


@pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")
async def test_oversized_result_is_sent_as_a_link(make_lane: MakeLane, moto: Moto) -> None:
    url = moto.queue()
    lane = make_lane(files_url="https://api.example/files", payload_limit=2_000_000)

    @lane.task(callback=MessageCallback(to=Sqs(url)))
    async def large() -> str:
        return "x" * 1_500_000

    async with harness(lane) as t:
        job = await large.submit()
        await t.drain()
        await t.deliver()
        (body,) = received(moto, url)
        event = cloudevents.read(body)
        assert (event.data, event.subject) == (None, job.id)
        assert (event.dataref or "").startswith("https://api.example/files")
        data = json.loads(await lane.files.get_text(event.dataref or ""))
        assert (data["id"], len(data["result"])) == (job.id, 1_500_000)


async def test_oversized_result_without_reachable_files_is_not_delivered(make_lane: MakeLane, moto: Moto) -> None:
    lane = make_lane(payload_limit=2_000_000)

    @lane.task(callback=MessageCallback(to=Sqs(moto.queue())))
    async def large() -> str:
        return "x" * 1_500_000

    async with harness(lane) as t:
        job = await large.submit()
        await t.drain()
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
    assert told.state is State.QUEUED
    assert "SIDELANE_FILES_URL" in told.problem
