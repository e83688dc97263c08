"""Reply receiver: applied replies are acknowledged, unreadable ones dead-lettered, early ones delivered again."""

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sidelane import (
    CompletionMessage,
    EmittedEvent,
    ExternalTask,
    Fixed,
    Job,
    Message,
    PubSub,
    Retry,
    Sidelane,
    Sqs,
    State,
)
from sidelane.client.put_aside import read_put_aside
from sidelane.external.completion import TOKEN_KEY, make_token
from sidelane.external.reply_receiver import reply_receivers
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.testing import harness
from sidelane.transports.job_messages import write_completion
from tests.contract.servers import RunningServer
from tests.external.conftest import MakeLane
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub

JOBS = "jobs-without-a-receiver"


class Scene:
    """An open lane with an external task, and the queue of its replies."""

    def __init__(self, moto: Moto, lane: Sidelane, **fields: Any) -> None:
        self._moto = moto
        self.lane = lane
        self.dead_letters = moto.queue()
        self.results = moto.queue(dead_letters=self.dead_letters)
        self.double: ExternalTask[int, int] = lane.external_task(
            "double", input=int, result=int, send_to=Sqs(JOBS), replies_from=Sqs(self.results), timeout=60, **fields
        )

    async def external(self, number: int = 2, **options: Any) -> tuple[Job[int], str]:
        """Return an external job and its token."""
        job = await self.double.options(**options).submit(number)
        while (lease := (await job.record()).external_lease) is None:
            await asyncio.sleep(0.02)
        return job, make_token(await self.lane.client.key(TOKEN_KEY), lease)

    def put(self, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self._moto.sqs.send_message(QueueUrl=self.results, MessageBody=text)

    def event(self, kind: str, **data: Any) -> None:
        envelope = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "external", "type": f"sidelane.job.{kind}"}
        self.put({**envelope, "data": data})

    def dead_letter(self) -> tuple[str, str]:
        """Return body and reason of the next dead letter."""
        asked = self._moto.sqs.receive_message(
            QueueUrl=self.dead_letters, WaitTimeSeconds=10, MessageAttributeNames=["All"], MaxNumberOfMessages=1
        )
        (message,) = asked["Messages"]
        self._moto.sqs.delete_message(QueueUrl=self.dead_letters, ReceiptHandle=message["ReceiptHandle"])
        return message["Body"], message["MessageAttributes"]["reason"]["StringValue"]

    def dead_letters_waiting(self) -> int:
        """Count the dead letters."""
        return self._moto.count(self.dead_letters)

    async def read(self) -> None:
        """Wait until every reply is acknowledged."""
        while await asyncio.to_thread(self._moto.count, self.results):
            await asyncio.sleep(0.05)


MakeScene = Callable[..., Scene]


@pytest.fixture
def make(moto: Moto, make_lane: MakeLane) -> MakeScene:
    return lambda **fields: Scene(moto, make_lane(jobs_url=""), **fields)


@pytest.fixture
async def scene(make: MakeScene) -> AsyncIterator[Scene]:
    scene = make()
    async with scene.lane.open(workers=1):
        await scene.lane.client.store.pause(DISPATCH_QUEUE)
        yield scene


async def test_unreadable_reply_is_dead_lettered_with_a_reason_and_blocks_nothing(scene: Scene) -> None:
    job, token = await scene.external()
    found = {
        '{"specversion": "1.0", "id": ': "not JSON",
        '{"result": 4}': "specversion",
        json.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "com.example.other"}): "not a completion",
        json.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "sidelane.job.completed"}): "no data",
    }
    for body in found:
        scene.put(body)
    scene.event("completed", job=job.id, token=token)
    scene.event("completed", job="../etc", token=token, result=4)
    scene.event("events", job=job.id, token=token, events=[{"name": "end"}])
    reasons = dict([await asyncio.to_thread(scene.dead_letter) for _ in range(7)])
    for body, reason in found.items():
        assert reason in reasons.pop(body)
    assert sorted(reason[:20] for reason in reasons.values()) == [
        "A completion has eit", "An event is invalid:", "The `job` of a compl",
    ]  # fmt: skip
    assert (await job.record()).state is State.RUNNING
    scene.event("completed", job=job.id, token=token, result=4)
    assert await job.result(timeout=10) == 4


async def test_forged_replies_and_those_of_unknown_jobs_are_acknowledged_and_change_nothing(
    scene: Scene,
) -> None:
    job, token = await scene.external()
    scene.event("completed", job=job.id, token=token[:-3] + "AAA", result=5)
    scene.event("completed", job=job.id, token="", result=5)
    scene.event("completed", job="nobody", token=token, result=5)
    await scene.read()
    assert (await job.record()).state is State.RUNNING
    scene.event("completed", job=job.id, token=token, result=4)
    assert await job.result(timeout=10) == 4


async def test_only_job_and_token_of_a_forged_reply_are_read(scene: Scene) -> None:
    job, token = await scene.external()
    scene.event("completed", job=job.id, token="1.forged", result=4, events="none", ordinal=-1)
    scene.event("completed", job=job.id, token="1.forged", result=[[] for _ in range(80_000)])
    await scene.read()
    assert scene.dead_letters_waiting() == 0
    scene.event("completed", job=job.id, token=token, result=4)
    assert await job.result(timeout=10) == 4


async def test_out_of_order_events_wait_for_earlier_ones(scene: Scene) -> None:
    job, token = await scene.external()
    scene.event("events", job=job.id, token=token, ordinal=2, events=[{"name": "token", "data": {"text": "b"}}])
    scene.event("completed", job=job.id, token=token, ordinal=3, result=4)
    await asyncio.sleep(0.3)  # they have been seen by then
    scene.event("events", job=job.id, token=token, ordinal=1, events=[{"name": "token", "data": {"text": "a"}}])
    assert await job.result(timeout=20) == 4
    log = [event async for event in job.events()]
    assert [event.data for event in log[:-1]] == ['{"text":"a"}', '{"text":"b"}']


async def test_out_of_order_events_are_applied_with_a_gap_after_a_while(scene: Scene) -> None:
    job, token = await scene.external()
    scene.event("completed", job=job.id, token=token, ordinal=7, result=4, events=[{"name": "heard"}])
    assert await job.result(timeout=20) == 4
    events = [event async for event in job.events()]
    assert [event.name for event in events] == ["gap", "heard", "end"], "readers see what never came"
    assert events[0].data == '{"missing":6}'


async def test_out_of_order_events_are_applied_if_the_transport_counts_no_deliveries(
    make_lane: MakeLane, pubsub: RunningPubSub
) -> None:
    lane, topic = make_lane(), pubsub.topic()
    reply = PubSub(subscription=pubsub.subscription(topic))  # without a dead-letter policy
    double = lane.external_task("double", input=int, result=int, send_to=Sqs(JOBS), replies_from=reply, timeout=60)
    async with lane.open(workers=1):
        await lane.client.store.pause(DISPATCH_QUEUE)
        job = await double.submit(2)
        while (lease := (await job.record()).external_lease) is None:
            await asyncio.sleep(0.02)
        token = make_token(await lane.client.key(TOKEN_KEY), lease)
        reported = CompletionMessage(job=job.id, token=token, ordinal=7, result=4, events=[EmittedEvent("heard")])
        pubsub.publish(topic, write_completion(reported, id="1").body)
        assert await job.result(timeout=20) == 4


class Broken:
    """A wait that nobody has tried."""

    def delay(self, failures: int) -> float:
        raise ZeroDivisionError


async def test_reply_that_raises_an_unexpected_error_stops_no_worker(make: MakeScene) -> None:
    scene = make(retry=Retry(attempts=3, backoff=Broken()))
    async with scene.lane.open(workers=1):
        await scene.lane.client.store.pause(DISPATCH_QUEUE)
        bad, token = await scene.external()
        scene.event("completed", job=bad.id, token=token, problem={})
        for _ in range(2):  # with it, and after it
            good, token = await scene.external()
            scene.event("completed", job=good.id, token=token, result=4)
            assert await good.result(timeout=10) == 4
        assert (await bad.record()).state is State.RUNNING


async def test_events_of_an_invalid_form_are_dead_lettered(make: MakeScene) -> None:
    scene = make(decode=lambda message: CompletionMessage(job=message.body, events=[{"name": "progress"}]))  # type: ignore[list-item]
    async with scene.lane.open(workers=1):
        scene.put("job")
        _, reason = await asyncio.to_thread(scene.dead_letter)
        assert "EmittedEvent" in reason
        while not (noted := await read_put_aside(scene.lane.client.store, 10)):
            await asyncio.sleep(0.02)
    assert [(each.receiver, each.reason) for each in noted] == [("", reason)]


async def test_problem_is_retried_by_the_tasks_own_policy(make: MakeScene) -> None:
    scene = make(retry=Retry(attempts=2, backoff=Fixed(0)))
    async with scene.lane.open(workers=1):
        await scene.lane.client.store.pause(DISPATCH_QUEUE)
        job, first = await scene.external()
        scene.event("completed", job=job.id, token=first, problem={"status": 503})
        while (lease := (await job.record()).external_lease) is None or lease.attempt == 1:
            await asyncio.sleep(0.02)
        second = make_token(await scene.lane.client.key(TOKEN_KEY), lease)
        for token, result in ((first, 5), (second, 4), (second, 5)):
            scene.event("completed", job=job.id, token=token, result=result)
        assert await job.result(timeout=10) == 4
        await scene.read()
        record = await job.record()
        assert (record.result, record.failures, record.ends) == ("4", 1, 1)


def decode(message: Message) -> CompletionMessage | None:
    """Read the format of a worker that knows only its own numbers, and no tokens."""
    found = json.loads(message.body)
    if found.get("kind") == "heartbeat":
        return None
    if "percent" in found:
        return CompletionMessage(
            key=found["recording"], events=[EmittedEvent("progress", {"percent": found["percent"]})]
        )
    if "error" in found:
        return CompletionMessage(key=found["recording"], problem={"status": 502, "title": found["error"]}, retry=False)
    return CompletionMessage(key=found["recording"], result=found["value"])


async def test_decode_reads_the_senders_own_format_and_key(make: MakeScene) -> None:
    scene = make(decode=decode)
    async with scene.lane.open(workers=1):
        await scene.lane.client.store.pause(DISPATCH_QUEUE)
        good, _ = await scene.external(key="take 1")
        bad, _ = await scene.external(key="take 2")
        for body in (
            {"kind": "heartbeat"}, {"recording": "take 1", "percent": 30}, {"recording": "take 3", "value": 9},
            {"recording": "take 2", "error": "no voice"},
        ):  # fmt: skip
            scene.put(body)
        await scene.read()
        scene.put({"recording": "take 1", "value": 4})
        assert await good.result(timeout=10) == 4
        assert [event.name async for event in good.events()] == ["progress", "end"]
        record = await scene.lane.client.wait(bad.id, timeout=10)
        assert record.problem is not None
        assert (record.state, record.problem.title) == (State.FAILED, "no voice")
        for text in ('{"value": 4}', '{"recording": 7, "value": 4}', "[]"):
            scene.put(text)
            assert (await asyncio.to_thread(scene.dead_letter))[0] == text


async def test_reply_without_a_token_applies_only_to_tasks_of_its_endpoint(make: MakeScene) -> None:
    scene = make(decode=lambda message: CompletionMessage(job=message.body, result=0))
    secret = scene.lane.external_task(
        "secret", input=int, result=int, send_to=Sqs(JOBS), replies_from=Sqs(scene.dead_letters)
    )
    async with scene.lane.open(workers=1):
        await scene.lane.client.store.pause(DISPATCH_QUEUE)
        mine, _ = await scene.external()
        theirs = await secret.submit(1)
        while (await theirs.record()).external_lease is None:
            await asyncio.sleep(0.02)
        scene.put(theirs.id)
        scene.put(mine.id)
        assert await mine.result(timeout=10) == 0
        await scene.read()
        assert (await theirs.record()).state is State.RUNNING


@pytest.mark.long
async def test_reply_waits_while_the_store_is_unavailable(
    moto: Moto, tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "valkey").mkdir()
    server = RunningServer("valkey", tmp_path / "valkey").start("--appendfsync", "always")
    request.addfinalizer(server.stop)
    lane = Sidelane(store=server.url(), settings={"lease_duration": 2.0})
    scene = Scene(moto, lane)
    async with lane.open(workers=1):
        await lane.client.store.pause(DISPATCH_QUEUE)
        job, token = await scene.external()
        server.stop(signal.SIGKILL)
        scene.event("completed", job=job.id, token=token, result=4)
        while "cannot apply the replies" not in caplog.text:
            await asyncio.sleep(0.05)
        assert moto.count(scene.results) == 1
        server.start()
        assert await job.result(timeout=30) == 4
        await scene.read()
        assert "can apply the replies" in caplog.text


async def test_tasks_that_share_a_reply_endpoint_have_one_receiver(lane: Sidelane) -> None:
    for name, reply in (("one", "results"), ("two", "results"), ("three", "others"), ("four", None)):
        lane.external_task(name, input=int, result=int, send_to=Sqs(JOBS), replies_from=Sqs(reply) if reply else None)
    async with harness(lane):
        assert len(reply_receivers(lane.services, lane.completions)) == 2
