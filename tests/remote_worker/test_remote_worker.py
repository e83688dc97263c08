"""Remote worker: how it runs dispatched jobs, and what it replies."""

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
from sidelane.model.history import Usage
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
class Dispatching:
    """Dispatches jobs and receives their replies."""

    dispatched_jobs: MessageQueue
    replies: MessageQueue
    heard: list[CompletionMessage] = field(default_factory=list)

    def dispatch(self, task: str, given: Any = None, **reason: Any) -> DispatchedJob:
        """Dispatch a job."""
        job = new_id()
        dispatched = DispatchedJob(
            **{"job": job, "task": task, "attempt": 1, "input": given, "timeout": 60.0, "token": f"t-{job}", **reason}
        )
        self.dispatched_jobs.publish(write_dispatched(dispatched).body)
        return dispatched

    async def listen(self) -> None:
        """Receive replies until cancelled."""
        transports = TransportPool()
        try:
            async with (await transports.get(self.replies.endpoint)).open_receiver() as receiver:
                while True:
                    for delivery in await receiver.receive(10):
                        self.heard.append(read_completion(delivery.message))
                        await delivery.ack()
        finally:
            await transports.close()

    def end(self, dispatched: DispatchedJob) -> CompletionMessage | None:
        """Return the completion of a dispatched job; None if there is none yet."""
        ends = [reply for reply in self.heard if reply.ends and reply.job == dispatched.job]
        assert len(ends) < 2
        assert all(reply.token == dispatched.token for reply in ends)
        return ends[0] if ends else None

    async def ended(self, dispatched: DispatchedJob) -> CompletionMessage:
        """Wait for the completion of a dispatched job."""
        await until(lambda: self.end(dispatched) is not None, f"the end of {dispatched.task}")
        end = self.end(dispatched)
        assert end is not None
        return end

    def events(self, dispatched: DispatchedJob) -> list[tuple[str, Any]]:
        """Return the events of a dispatched job in the order of their ordinals, which have no gaps."""
        numbered: dict[int, tuple[str, Any]] = {}
        for reply in self.heard:
            if reply.job == dispatched.job:
                assert reply.ordinal is not None
                for place, event in enumerate(reply.events):
                    numbered[reply.ordinal + place] = (event.name, event.data)
        assert sorted(numbered) == list(range(1, len(numbered) + 1))
        return [numbered[number] for number in sorted(numbered)]


@pytest.fixture
async def client(queues: tuple[MessageQueue, MessageQueue]) -> AsyncIterator[Dispatching]:
    made = Dispatching(*queues)
    listening = asyncio.create_task(made.listen())
    yield made
    listening.cancel()
    await asyncio.wait([listening])


@pytest.fixture(autouse=True)
def fresh() -> None:
    sample_app.starts.clear()


@asynccontextmanager
async def running(client: Dispatching, **chosen: Any) -> AsyncIterator[Worker]:
    """Run a remote worker that receives this dispatcher's jobs."""
    made = sample_app.lane.remote_worker(
        receive_from=client.dispatched_jobs.endpoint, reply_to=client.replies.sender, **chosen
    )
    async with made as worker, run_in_background(worker):
        yield worker


def reported(events: list[Event]) -> list[tuple[str, Any]]:
    """Return the events of a log before its end."""
    return [(event.name, json.loads(event.data)) for event in events if event.name != "end"]


async def test_every_kind_of_task_has_the_same_events_and_outcome_as_with_a_store(client: Dispatching) -> None:
    async with harness(sample_app.lane) as t:
        jobs = {kind: await t.client.submit(call) for kind, call in sample_app.CALLS.items()}
        await t.drain()
        records = {kind: await job.record() for kind, job in jobs.items()}
        logs = {kind: reported(await read_all(t.client.store, job.id)) for kind, job in jobs.items()}
    async with running(client):
        made = {
            kind: client.dispatch(record.spec.task, _input(record.spec.arguments), job=record.id)
            for kind, record in records.items()
        }
        ends = {kind: await client.ended(dispatched) for kind, dispatched in made.items()}
    for kind, record in records.items():
        end = ends[kind]
        assert client.events(made[kind]) == logs[kind], kind
        if record.state is State.SUCCEEDED:
            assert end.result == json.loads(record.result or ""), kind
        else:
            assert record.problem is not None
            assert end.problem == record.problem.document(), kind
            assert end.retry is (kind != "final failure"), kind
    assert not client.dispatched_jobs.left()


async def test_unreadable_job_is_dead_lettered_with_a_reason(client: Dispatching) -> None:
    whole = write_dispatched(DispatchedJob(job="j", task="tell", attempt=1, input=1, timeout=60.0, token="t")).body
    async with running(client):
        for body, reason in ((whole[:-9], "not JSON"), (whole.replace('"attempt":1', '"attempt":0'), "attempt")):
            client.dispatched_jobs.publish(body)
            while True:  # on a slow machine one may be dead-lettered twice
                letter = await asyncio.to_thread(client.dispatched_jobs.dead_letter)
                if letter[0] == body:
                    break
            assert reason in letter[1]
        await until(lambda: not client.dispatched_jobs.left(), "the acknowledgements")
    assert client.heard == []


async def test_job_of_an_unknown_task_is_left_to_other_workers_and_fails_in_the_end(
    client: Dispatching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "RETRY_DELAY", 0.0)
    async with running(client):
        made = [client.dispatch(name) for name in ("nobody.knows", "sidelane.send")]
        newer = client.dispatch("tell", 1, version=2)
        for dispatched in made:
            end = await client.ended(dispatched)
            assert isinstance(end.problem, dict)
            assert (end.problem["status"], end.problem["title"], end.retry) == (404, "Unknown task", False)
        assert client.end(newer) is None  # another release of this worker knows it


async def test_reply_tells_what_the_attempt_used(client: Dispatching) -> None:
    async with running(client):
        end = await client.ended(client.dispatch("ask"))
    assert end.usage == Usage(input_tokens=7, output_tokens=2, cost=0.25)


async def test_invalid_arguments_are_a_final_failure(client: Dispatching) -> None:
    async with running(client):
        for task, given in (("analyse", {"seconds": 1}), ("measure", "a.wav"), ("crunch", {"a": 1})):
            end = await client.ended(client.dispatch(task, given))
            assert isinstance(end.problem, dict)
            assert (end.problem["status"], end.retry) == (422, False)


async def test_timeout_of_a_dispatched_job_bounds_the_attempt_which_can_be_retried(client: Dispatching) -> None:
    async with running(client):
        end = await client.ended(client.dispatch("work", 60.0, timeout=0.2))
    assert isinstance(end.problem, dict)
    assert (end.problem["status"], end.problem["title"], end.retry) == (504, "Timed out", True)
    assert end.problem["detail"] == "The task did not end within 0.2 seconds."


@pytest.mark.long
async def test_message_is_extended_while_its_job_runs(client: Dispatching) -> None:
    async with running(client, concurrency=1):  # so that no slot is free for a redelivery
        end = await client.ended(client.dispatch("work", 3.0))  # the lease is two seconds
        assert end.result == 1
        await until(lambda: not client.dispatched_jobs.left(), "the acknowledgement")
    assert len(sample_app.starts) == 1


async def test_stopping_worker_releases_its_message_without_a_reply(client: Dispatching) -> None:
    async with running(client):
        dispatched = client.dispatch("work", 60.0)
        await until(lambda: sample_app.starts, "the start")
    assert client.dispatched_jobs.left()
    async with running(client):  # the lane's drain is none
        await until(lambda: len(sample_app.starts) == 2, "the second start")
    assert client.end(dispatched) is None


@pytest.mark.long
async def test_retry_later_releases_the_message(client: Dispatching) -> None:
    async with running(client):
        end = await client.ended(client.dispatch("hesitate"))
    assert end.result == "done"
    assert 0.9 <= sample_app.starts[1] - sample_app.starts[0] < 5.0


async def test_task_on_a_remote_worker_cannot_submit_jobs(
    client: Dispatching, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(client):
        end = await client.ended(client.dispatch("delegate"))
    assert isinstance(end.problem, dict)
    assert end.problem["status"] == 500
    assert "This remote worker has no store" in caplog.text


async def test_result_larger_than_a_message_is_a_failure(client: Dispatching) -> None:
    async with running(client):
        end = await client.ended(client.dispatch("pour", {"count": 0, "size": 1_048_576}))
        assert isinstance(end.problem, dict)
        assert (end.problem["status"], end.retry) == (413, False)
        dispatched = client.dispatch("pour", {"count": 6, "size": 100_000})
        assert (await client.ended(dispatched)).result == "x" * 100_000
        assert len(client.events(dispatched)) == 7


async def test_result_larger_than_a_message_goes_through_a_shared_bucket(moto: Moto, make_lane: MakeLane) -> None:
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
            assert reported(await read_all(home.client.store, job.id)) == [("began", "echo"), ("token", {"text": text})]


async def test_no_message_stops_the_worker(moto: Moto, tmp_path: Path) -> None:
    """Links to a file that is no text, and results that cannot be sent: without a bucket, or nested too deeply."""
    queue, replied = sqs_queue(moto), sqs_queue(moto)
    moto.sqs.set_queue_attributes(QueueUrl=replied.url, Attributes={"MaximumMessageSize": "16384"})
    client = Dispatching(queue, replied)
    listening = asyncio.create_task(client.listen())
    try:
        with sample_app.lane.files.use_location(str(tmp_path)):
            async with running(client):
                sound = await sample_app.lane.files.save(b"\xff\xfe")
                dispatched = DispatchedJob(job="j", task="tell", attempt=1, input=1, timeout=60.0, token="t")
                queue.publish(with_dataref(write_dispatched(dispatched), f"https://here#{sound.id}").body)
                assert "not text" in (await asyncio.to_thread(queue.dead_letter))[1]
                await client.ended(client.dispatch("nest", 220))
                assert (await client.ended(client.dispatch("tell", 1))).result == 1
        with sample_app.lane.files.use_location("s3://nowhere-to-be-found/files"):
            async with running(client):
                end = await client.ended(client.dispatch("echo", "x" * 20_000))
                assert isinstance(end.problem, dict)
                assert (end.problem["title"], end.retry) == ("Not sent", False)
                assert (await client.ended(client.dispatch("tell", 1))).result == 1
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def test_missing_reply_queue_is_reported_at_start(moto: Moto) -> None:
    with pytest.raises(TransportMisconfigured, match="SQS queue nowhere does not exist"):
        async with sample_app.lane.remote_worker(receive_from=sqs_queue(moto).endpoint, reply_to=Sqs("nowhere")):
            pass


async def test_reply_queue_that_disappears_stops_the_worker_and_the_job_is_delivered_again(moto: Moto) -> None:
    queue, replies = sqs_queue(moto), moto.queue()
    client = Dispatching(queue, queue)
    async with sample_app.lane.remote_worker(receive_from=queue.endpoint, reply_to=Sqs(replies)) as worker:
        moto.sqs.delete_queue(QueueUrl=replies)
        running = asyncio.create_task(worker.run())
        client.dispatch("tell", 0)
        with pytest.raises(ExceptionGroup) as raised:
            await running
        assert raised.group_contains(TransportMisconfigured, match="does not exist")
    assert queue.left()


async def test_endpoints_of_the_wrong_direction_are_refused() -> None:
    topic, subscription = PubSub(topic="t"), PubSub(subscription="s")
    for offers_from, replies_to in ((topic, topic), (subscription, subscription)):
        with pytest.raises(ConfigurationError, match="cannot be"):
            async with sample_app.lane.remote_worker(receive_from=offers_from, reply_to=replies_to):
                pass


def _input(arguments: str) -> Any:
    """Return a call's arguments as the input of a dispatched job: a single argument is the input itself."""
    found = json.loads(arguments)
    return next(iter(found.values())) if len(found) == 1 else found
