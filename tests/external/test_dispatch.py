"""Dispatch to HTTP receivers and queues that accept, refuse, fail and recover, and what happens to the job."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from pydantic import BaseModel

from sidelane import (
    DispatchedJob,
    ExternalTask,
    File,
    Fixed,
    Http,
    Job,
    JobFailed,
    Retry,
    Sidelane,
    Sqs,
    State,
    StoreUnavailable,
)
from sidelane.model.errors import ConfigurationError, TransportError
from sidelane.model.message import Message
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.telemetry import Telemetry
from sidelane.transports.contract import Receiver as Receiving
from tests.callbacks.local_receivers import Receiver, receiving, stalled, status
from tests.external.conftest import JOBS_URL, AnalyseIn, MakeLane, Report
from tests.transports.moto import Moto

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of these tests


def declared(lane: Sidelane, via: Any, **fields: Any) -> ExternalTask[AnalyseIn, Report]:
    return lane.external_task("audio.analyse", input=AnalyseIn, result=Report, send_to=via, **fields)


async def until_dispatched(job: Job[Any]) -> None:
    while (await job.record()).external_lease is None:
        await asyncio.sleep(0.02)


async def failure_of(job: Job[Any]) -> tuple[int, str, str]:
    """Wait for the job to fail; return status and title of its problem, and the error for operators."""
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=20)
    problem = failed.value.problem()
    return problem.status, problem.title, (await job.record()).history[-1].error


async def test_dispatched_job_is_a_signed_cloud_event_with_input_and_token(
    make_lane: MakeLane, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDELANE_WEBHOOK_SECRET_ANALYSIS", SECRET)
    lane = make_lane()
    analyse = declared(lane, Http(receiver.url, secret="analysis", headers={"X-Team": "voice"}), timeout=60)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with lane.open(workers=1):
        job = await lane.client.submit(analyse.options(key="take 7").call(AnalyseIn(audio="a.wav")), trace=trace)
        (request,) = await receiver.until(1)
        event = request.verify(SECRET)
        data = event.pop("data")
        assert event.items() >= {
            "specversion": "1.0", "id": f"{job.id}.1", "source": JOBS_URL, "type": "sidelane.job.dispatched",
            "subject": job.id, "datacontenttype": "application/json", "traceparent": trace,
        }.items()  # fmt: skip
        assert 0 < data.pop("timeout") <= 60
        token = data.pop("token")
        assert data == {
            "job": job.id, "task": "audio.analyse", "version": 1, "attempt": 1, "key": "take 7",
            "input": {"audio": "a.wav", "words": 1},
            "complete_url": f"{JOBS_URL}/{job.id}/complete", "events_url": f"{JOBS_URL}/{job.id}/events",
        }  # fmt: skip
        assert token.startswith("1.")
        assert request.headers["content-type"] == "application/cloudevents+json"
        assert (request.headers["x-team"], request.headers["traceparent"]) == ("voice", trace)
        assert request.headers["webhook-id"] == f"{job.id}.1"
        await until_dispatched(job)
        assert await analyse.complete(job.id, Report(score=1))
        assert await job.result(timeout=5) == Report(score=1)


@pytest.mark.long
async def test_dispatch_to_an_unavailable_receiver_is_retried_under_the_same_id(
    lane: Sidelane, receiver: Receiver
) -> None:
    receiver.replies += [status(503, Retry_After="0"), status(429), status(302, Location="/elsewhere")]
    analyse = declared(lane, Http(receiver.url))
    async with lane.open(workers=1):
        job = await analyse.submit(AnalyseIn(audio="a"))
        requests = await receiver.until(4)
        assert {request.headers["webhook-id"] for request in requests} == {f"{job.id}.1"}
        assert {request.path for request in requests} == {"/jobs"}
        assert (await job.record()).failures == 0


async def test_endpoint_that_does_not_answer_delays_no_other(make_lane: MakeLane, receiver: Receiver) -> None:
    lane = make_lane(shutdown_timeout=0.0, cancel_grace=0.1, concurrency=110)
    async with receiving() as dead:
        dead.replies += [stalled] * 110  # more than the dispatch slots
        silent = lane.external_task("silent", input=int, result=int, send_to=Http(dead.url))
        analyse = declared(lane, Http(receiver.url))
        async with lane.open(workers=1):
            await asyncio.gather(*(silent.submit(number) for number in range(110)))
            await dead.until(20)
            await analyse.submit(AnalyseIn(audio="a"))
            async with asyncio.timeout(5):  # each of them times out after fifteen seconds
                await receiver.until(1)


@pytest.mark.parametrize("code", [400, 401, 404, 410])
async def test_final_response_fails_the_job_at_once(lane: Sidelane, receiver: Receiver, code: int) -> None:
    receiver.replies.append(status(code, "not me"))
    analyse = declared(lane, Http(receiver.url))
    async with lane.open(workers=1):
        job = await analyse.submit(AnalyseIn(audio="a"))
        found, title, error = await failure_of(job)
        assert (found, title) == (502, "Dispatch failed")
        assert f"answered {code}: not me" in error
        dispatch_job = await lane.client.wait(f"{job.id}.1.sent", timeout=5)
        assert dispatch_job.state is State.SUCCEEDED  # one failure is one dead letter


async def test_failed_dispatch_is_retried_by_the_tasks_retry_policy(lane: Sidelane, receiver: Receiver) -> None:
    receiver.replies += [status(400), status(400)]
    analyse = declared(lane, Http(receiver.url), retry=Retry(attempts=3, backoff=Fixed(0)))
    async with lane.open(workers=1):
        job = await analyse.submit(AnalyseIn(audio="a"))
        requests = await receiver.until(3)
        assert [request.headers["webhook-id"] for request in requests] == [f"{job.id}.{n}" for n in (1, 2, 3)]
        await until_dispatched(job)
        assert (await job.record()).failures == 2


async def test_receiver_that_stays_unavailable_fails_the_job_before_its_timeout(lane: Sidelane) -> None:
    analyse = declared(lane, Http("http://127.0.0.1:9/jobs"), timeout=2.0)
    async with lane.open(workers=1):
        job = await analyse.submit(AnalyseIn(audio="a"))
        found, title, error = await failure_of(job)
        assert (found, title, (await job.record()).worker_losses) == (502, "Dispatch failed", 0)
        assert "127.0.0.1:9" in error


async def test_private_receiver_is_refused_unless_allowed(make_lane: MakeLane) -> None:
    lane = make_lane(allow_private_callbacks=False)
    analyse = declared(lane, Http("http://127.0.0.1:9/jobs"))
    async with lane.open(workers=1):
        found, _, error = await failure_of(await analyse.submit(AnalyseIn(audio="a")))
        assert (found, "AddressRefused" in error) == (502, True)


async def test_missing_secret_fails_the_job_and_is_named(lane: Sidelane, receiver: Receiver) -> None:
    analyse = declared(lane, Http(receiver.url, secret="nowhere"))
    async with lane.open(workers=1):
        found, _, error = await failure_of(await analyse.submit(AnalyseIn(audio="a")))
        assert (found, "'nowhere'" in error) == (502, True)
        assert receiver.received == []


async def test_missing_queue_fails_the_job_and_is_named(lane: Sidelane, moto: Moto) -> None:
    analyse = declared(lane, Sqs("nowhere"))
    async with lane.open(workers=1):
        found, title, error = await failure_of(await analyse.submit(AnalyseIn(audio="a")))
        assert (found, title, "nowhere" in error) == (502, "Dispatch failed", True)


async def test_missing_credentials_fail_the_job_and_are_named(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    analyse = declared(lane, Sqs("jobs", region="eu-west-1", endpoint_url="http://127.0.0.1:9"))
    async with lane.open(workers=1):
        found, _, error = await failure_of(await analyse.submit(AnalyseIn(audio="a")))
        assert (found, "credentials" in error) == (502, True)


LARGE = AnalyseIn(audio="x" * 1_048_000)


async def test_oversized_message_links_to_its_data_and_so_may_a_reply(make_lane: MakeLane, moto: Moto) -> None:
    dispatched_jobs, replies = moto.queue(), moto.queue()
    lane = make_lane(file_storage="s3://large-messages")
    moto.bucket("large-messages")
    analyse = declared(lane, Sqs(dispatched_jobs), replies_from=Sqs(replies))
    async with lane.open(workers=1):
        job = await analyse.submit(LARGE)
        asked = await asyncio.to_thread(moto.sqs.receive_message, QueueUrl=dispatched_jobs, WaitTimeSeconds=20)
        event = json.loads(asked["Messages"][0]["Body"])
        assert "data" not in event
        async with httpx2.AsyncClient() as client:  # as a worker in any language does
            data = (await client.get(event["dataref"])).json()
        assert (data["job"], data["input"]) == (job.id, LARGE.model_dump())
        end = {"job": job.id, "token": data["token"], "result": {"score": 1}}
        link = await lane.files.put_text(json.dumps(end), name="end.json")
        reply = {
            "specversion": "1.0",
            "id": "1",
            "source": "external",
            "type": "sidelane.job.completed",
            "dataref": link,
        }
        for dataref in ("https://example.com/elsewhere", link):  # nothing is fetched from elsewhere
            moto.sqs.send_message(QueueUrl=replies, MessageBody=json.dumps({**reply, "dataref": dataref}))
        assert await job.result(timeout=20) == Report(score=1)


class Recording(BaseModel):
    parts: list[File]


async def test_dispatched_job_has_download_urls_of_its_files(
    make_lane: MakeLane, receiver: Receiver, moto: Moto, tmp_path: Path
) -> None:
    moto.bucket("recordings")
    for files, reachable in (("s3://recordings", True), (str(tmp_path / "files"), False)):
        lane = make_lane(file_storage=files, store=f"sqlite:///{tmp_path / str(reachable)}.db")
        task = lane.external_task("listen", input=Recording, result=Report, send_to=Http(receiver.url))
        async with lane.open(workers=1):
            saved = await lane.files.save(b"a voice", name="a.wav")
            await task.submit(Recording(parts=[saved]))
            *_, request = await receiver.until(1 if reachable else 2)
            (part,) = json.loads(request.body)["data"]["input"]["parts"]
            assert File.model_validate(part) == saved
            if reachable:
                async with httpx2.AsyncClient() as external:
                    assert (await external.get(part["url"])).content == b"a voice"
            else:
                assert "url" not in part


async def test_oversized_message_without_reachable_files_fails_the_job(
    make_lane: MakeLane, moto: Moto, tmp_path: Path
) -> None:
    lane = make_lane(file_storage=str(tmp_path / "files"))
    analyse = declared(lane, Sqs(moto.queue()))
    own = lane.external_task(
        "own",
        input=AnalyseIn,
        result=Report,
        send_to=Sqs(moto.queue()),
        encode=lambda dispatched: {"audio": dispatched.input["audio"], "again": dispatched.input["audio"]},
    )
    async with lane.open(workers=1):
        found, _, error = await failure_of(await analyse.submit(LARGE))
        assert (found, "bytes" in error, "SIDELANE_FILES_URL" in error) == (502, True, True)
        found, _, error = await failure_of(await own.submit(LARGE))
        assert (found, "bytes" in error) == (502, True)


async def test_encode_writes_the_receivers_own_format(lane: Sidelane, receiver: Receiver) -> None:
    def encode(dispatched: DispatchedJob) -> dict[str, Any]:
        return {
            "recording": dispatched.key,
            "file": dispatched.input["audio"],
            "answer": f"https://me/done?job_id={dispatched.job}",
        }

    def text(dispatched: DispatchedJob) -> str:
        return f"ANALYSE {dispatched.input}"

    analyse = declared(lane, Http(receiver.url), encode=encode)
    plain = lane.external_task("plain", input=int, result=int, send_to=Http(receiver.url), encode=text)
    async with lane.open(workers=1):
        job = await analyse.options(key="take 7").submit(AnalyseIn(audio="a.wav"))
        await plain.submit(7)
        found = {request.headers["content-type"]: request for request in await receiver.until(2)}
        assert found["application/json"].json == {
            "recording": "take 7", "file": "a.wav", "answer": f"https://me/done?job_id={job.id}",
        }  # fmt: skip
        assert found["text/plain; charset=utf-8"].body == "ANALYSE 7"


@pytest.mark.parametrize(
    "encode", [lambda dispatched: dispatched.input["nothing"], lambda dispatched: 7, lambda dispatched: {"x": object()}]
)
async def test_failing_encode_fails_the_job_and_is_named(lane: Sidelane, receiver: Receiver, encode: Any) -> None:
    analyse = declared(lane, Http(receiver.url), encode=encode)
    async with lane.open(workers=1):
        found, _, error = await failure_of(await analyse.submit(AnalyseIn(audio="a")))
        assert (found, "`encode`" in error) == (502, True)
        assert receiver.received == []


async def test_short_store_outage_fails_no_job(
    make_lane: MakeLane, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = make_lane(secret=None)  # so that the store keeps it
    analyse = declared(lane, Http(receiver.url))
    async with lane.open(workers=1):
        remember, asked = lane.client.store.get_or_set, list[str]()

        async def away_at_first(name: str, value: str) -> str:
            asked.append(name)
            if len(asked) == 1:
                raise StoreUnavailable
            return await remember(name, value)

        monkeypatch.setattr(lane.client.store, "get_or_set", away_at_first)
        job = await analyse.submit(AnalyseIn(audio="a"))
        await receiver.until(1)
        record = await job.record()
        assert (record.state, record.failures, len(asked)) == (State.RUNNING, 0, 2)


async def test_job_cancelled_before_dispatch_is_not_sent(lane: Sidelane, receiver: Receiver) -> None:
    analyse = declared(lane, Http(receiver.url))
    async with lane.open(workers=1):
        await lane.client.store.pause(DISPATCH_QUEUE)
        job = await analyse.submit(AnalyseIn(audio="a"))
        await until_dispatched(job)
        await job.cancel()
        await lane.client.store.pause(DISPATCH_QUEUE, paused=False)
        dispatch_job = await lane.client.wait(f"{job.id}.1.sent", timeout=10)
        assert dispatch_job.state is State.SUCCEEDED
    assert receiver.received == []


@dataclass(frozen=True)
class Memory:
    """An endpoint of a kind that Sidelane does not know."""

    name: str
    kind = "memory"
    can_send = True
    can_receive = False

    def require_driver(self) -> None: ...

    def open(self, telemetry: Telemetry) -> "MemoryTransport":
        return MemoryTransport()


class MemoryTransport:
    """Keeps what is sent to any `Memory`."""

    max_message_size = 10_000
    redelivery_window = 0.0
    sent: ClassVar[list[Message]] = []

    async def connect(self) -> None: ...

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        self.sent.extend(messages)
        return [None] * len(messages)

    def open_receiver(self, *, visibility_timeout: float = 30.0) -> AbstractAsyncContextManager[Receiving]:
        raise NotImplementedError

    async def close(self) -> None: ...


async def test_endpoint_of_a_new_kind_needs_no_change_elsewhere(lane: Sidelane) -> None:
    analyse = declared(lane, Memory("jobs"))
    async with lane.open(workers=1):
        job = await analyse.submit(AnalyseIn(audio="a.wav"))
        await until_dispatched(job)
        async with asyncio.timeout(5):
            while not MemoryTransport.sent:
                await asyncio.sleep(0.01)
        (message,) = MemoryTransport.sent
        assert json.loads(message.body)["type"] == "sidelane.job.dispatched"
        assert await analyse.complete(job.id, Report(score=1))
    with pytest.raises(ConfigurationError, match="cannot be received from"):
        lane.external_task("other", input=int, result=int, send_to=Memory("a"), replies_from=Memory("b"))
