"""Webhooks: what receivers get, when, and what happens to those that they refuse."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel
from standardwebhooks import WebhookVerificationError

from sidelane import FinishedJob, PermanentFailure, Problem, RetryLater, Sidelane, State, Webhook
from sidelane.model.job import Query
from sidelane.testing import harness
from tests.callbacks.conftest import NEW, OLD, MakeLane
from tests.callbacks.local_receivers import Receiver, receiving, status


async def test_end_of_a_job_is_signed_by_standard_webhooks(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url, secret="be", headers={"X-Team": "feedback"}))
    async def answer(question: str) -> dict[str, str]:
        return {"answer": question.upper()}

    async with harness(lane) as t:
        job = await answer.options(key="chat:1", labels={"a": "b"}, user="u7").submit("why")
        await t.drain()
        assert receiver.received == []  # nothing goes out by itself in a test
        assert await t.deliver() == 1
        (got,) = receiver.received
        told = got.verify(NEW)
        record = await job.record()
    assert (told["type"], told["timestamp"]) == ("job.succeeded", told["data"]["ended"])
    assert told["data"] == {
        "id": job.id, "task": "answer", "state": "succeeded", "key": "chat:1", "labels": {"a": "b"}, "attempts": 1,
        "submitted": told["data"]["submitted"], "started": told["data"]["started"], "ended": told["data"]["ended"],
        "result": {"answer": "WHY"},
    }  # fmt: skip
    assert record.state is State.SUCCEEDED
    assert (got.headers["content-type"], got.headers["x-team"]) == ("application/json", "feedback")
    assert got.headers["webhook-id"] == f"{job.id}:1:0"


async def test_failure_is_reported_as_its_problem_only(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url))
    async def answer(fails: str) -> str:
        if fails == "known":
            raise PermanentFailure(Problem(status=502, title="Model failed", detail="The model did not answer."))
        raise RuntimeError("password=hunter2")

    async with harness(lane) as t:
        jobs = [await answer.submit(fails) for fails in ("known", "unknown")]
        await t.drain()
        await t.deliver()
    told = [got.json for got in sorted(receiver.received, key=lambda got: got.json["data"]["id"])]
    assert [each["type"] for each in told] == ["job.failed"] * 2
    assert [each["data"]["problem"]["status"] for each in told] == [502, 500]
    assert told[0]["data"]["problem"]["detail"] == "The model did not answer."
    assert [each["data"]["id"] for each in told] == sorted(job.id for job in jobs)
    assert "hunter2" not in receiver.received[0].body + receiver.received[1].body
    assert "webhook-signature" not in receiver.received[0].headers


class Feedback(BaseModel):
    member_id: int
    text: str


async def test_payload_function_reads_arguments_typed_and_sends_them_as_stored(
    lane: Sidelane, receiver: Receiver
) -> None:
    @lane.callback_payload
    def for_backend(ended: FinishedJob) -> dict[str, Any]:
        feedback = ended.arguments["feedback"]
        return {"words": len(feedback.text.split()), "feedback": feedback}

    @lane.task(callback=Webhook(receiver.url, body=for_backend))
    async def review(feedback: Feedback) -> None: ...

    async with harness(lane) as t:
        await t.run(review.call(Feedback(member_id=3, text="a b")))
        await t.deliver()
    (got,) = receiver.received
    assert got.json == {"words": 2, "feedback": {"member_id": 3, "text": "a b"}}


async def test_payload_function_writes_the_backends_format(lane: Sidelane, receiver: Receiver) -> None:
    @lane.callback_payload
    def for_backend(ended: FinishedJob) -> dict[str, Any]:
        content = ended.problem["status"] if ended.problem else ended.result
        return {"memberId": ended.arguments["feedback"]["member_id"], "content": content}

    @lane.task(callback=Webhook(receiver.url, body=for_backend))
    async def review(feedback: Feedback) -> str:
        if not feedback.text:
            raise PermanentFailure("The model is down.", status=502)
        return f"Good: {feedback.text}"

    async with harness(lane) as t:
        await t.run(review.call(Feedback(member_id=3, text="…")))
        await review.submit(Feedback(member_id=4, text=""))
        await t.drain()
        await t.deliver()
    received = sorted((got.json for got in receiver.received), key=lambda body: body["memberId"])  # sent concurrently
    assert received == [{"memberId": 3, "content": "Good: …"}, {"memberId": 4, "content": 502}]


async def test_payload_function_may_return_text_and_be_asynchronous(lane: Sidelane, receiver: Receiver) -> None:
    @lane.callback_payload
    async def as_form(ended: FinishedJob) -> str:
        await asyncio.sleep(0)
        return f"state={ended.state}&at={ended.at > 0}"

    form = {"content-type": "application/x-www-form-urlencoded"}

    @lane.task(callback=Webhook(receiver.url, body=as_form, headers=form, secret="be"))
    async def quick() -> None: ...

    async with harness(lane) as t:
        await t.run(quick.call())
        await t.deliver()
    (got,) = receiver.received
    assert (got.body, got.headers["content-type"]) == ("state=succeeded&at=True", form["content-type"])
    with pytest.raises(json.JSONDecodeError):  # only then is the body read: the signature holds
        got.verify(NEW)


async def test_both_secrets_sign_during_rotation(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url, secret="turning"))
    async def quick() -> None: ...

    async with harness(lane) as t:
        await t.run(quick.call())
        await t.deliver()
    (got,) = receiver.received
    assert got.verify(OLD) == got.verify(NEW)
    with pytest.raises(WebhookVerificationError):
        got.verify("whsec_YW5vdGhlciBzZWNyZXQ=")


async def test_secrets_come_from_a_function_or_from_the_environment(
    make_lane: MakeLane, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def vault(name: str) -> str | None:
        return NEW if name == "kept" else None

    lane = make_lane(secrets=vault)
    monkeypatch.setenv("SIDELANE_WEBHOOK_SECRET_OF_THE_BE", f"{OLD} {NEW}")

    @lane.task(callback=[Webhook(receiver.url, secret="kept"), Webhook(receiver.url, secret="of-the be")])
    async def quick() -> None: ...

    async with harness(lane) as t:
        await t.run(quick.call())
        await t.deliver()
        stored = [record.spec for record in await t.client.find(Query())]
    for got in receiver.received:
        got.verify(NEW)
    assert sorted(got.headers["webhook-signature"].count("v1,") for got in receiver.received) == [1, 2]
    assert NEW not in repr(stored)


@pytest.mark.parametrize("secret", ["", "whsec_"])
async def test_missing_or_invalid_secret_is_named_and_retried(
    secret: str, lane: Sidelane, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDELANE_WEBHOOK_SECRET_LATER", secret)

    @lane.task(callback=Webhook(receiver.url, secret="later"))
    async def quick() -> None: ...

    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert (told.state, told.attempts) == (State.QUEUED, 1)
        assert ("SIDELANE_WEBHOOK_SECRET_LATER" if not secret else "cannot be read") in told.problem
        monkeypatch.setenv("SIDELANE_WEBHOOK_SECRET_LATER", NEW)
        await t.advance(6)
        await t.deliver()
        receiver.received[0].verify(NEW)


async def test_callback_is_retried_by_schedule_under_one_id(lane: Sidelane, receiver: Receiver) -> None:
    letters: list[FinishedJob] = []

    @lane.dead_letter
    async def hear(letter: FinishedJob) -> None:
        letters.append(letter)

    @lane.task(callback=Webhook(receiver.url))
    async def quick() -> None: ...

    receiver.usual = status(500, "sorry")
    waits = []
    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        while await t.deliver():
            (told,) = await lane.callbacks(job.id)
            if told.next_try is not None:
                waits.append(told.next_try - t.clock())
                await t.advance(waits[-1] + 1)
        (told,) = await lane.callbacks(job.id)
        assert (told.state, told.attempts) == (State.FAILED, 10)
        assert told.problem == f"NotDelivered: {receiver.url} answered 500: sorry"
        await t.drain()
    schedule = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert all(0.9 * step <= wait <= 1.1 * step for step, wait in zip(schedule, waits, strict=True))
    assert len(receiver.received) == 10
    assert {got.headers["webhook-id"] for got in receiver.received} == {f"{job.id}:1:0"}
    assert [(letter.task, letter.problem and letter.problem["status"]) for letter in letters] == [
        ("sidelane.callback", 502)
    ]


async def test_receiver_that_was_down_for_ten_minutes_gets_every_callback(lane: Sidelane) -> None:
    async with receiving() as before:
        port, url = before.port, before.url

    @lane.task(callback=Webhook(url, secret="be"))
    async def number(value: int) -> int:
        return value

    async with harness(lane) as t:
        jobs = [await number.submit(value) for value in range(20)]
        await t.drain()
        for _ in range(10):
            await t.deliver()
            await t.advance(60)
        async with receiving(port) as back:
            for _ in range(4):  # the schedule asks again within the half hour
                await t.advance(600)
                await t.deliver()
            told = {got.headers["webhook-id"]: got.verify(NEW)["data"] for got in back.received}
    assert {f"{job.id}:1:0": value for value, job in enumerate(jobs)} == {
        message_id: data["result"] for message_id, data in told.items()
    }


@pytest.mark.parametrize("code", [429, 503, 500])
async def test_retry_after_of_a_receiver_is_respected(code: int, lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url))
    async def quick() -> None: ...

    receiver.replies = [status(code, Retry_After="1000")]
    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert told.next_try is not None
        assert 999 <= told.next_try - t.clock() <= 1000
        await t.advance(1001)
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert (told.state, told.status, told.attempts) == (State.SUCCEEDED, 200, 2)


async def test_callback_to_a_gone_receiver_is_not_retried(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url))
    async def quick() -> None: ...

    receiver.usual = status(410)
    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert (told.state, told.attempts, told.next_try) == (State.FAILED, 1, None)
        assert "answered 410" in told.problem


async def test_failing_payload_function_is_a_failure_that_can_be_redelivered(
    lane: Sidelane, receiver: Receiver
) -> None:
    made: list[Any] = [KeyError("member"), {1, 2, object()}, RetryLater(10), "at last"]

    @lane.callback_payload
    def fragile(ended: FinishedJob) -> object:
        value = made.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    @lane.task(callback=Webhook(receiver.url, body=fragile))
    async def quick() -> None: ...

    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        for said in ("KeyError", "PydanticSerializationError"):
            await t.deliver()
            (told,) = await lane.callbacks(job.id)
            assert told.state is State.FAILED
            assert "'fragile'" in told.problem
            assert said in told.problem
            await lane.redeliver(job.id)
        await t.deliver()
        assert made == ["at last"]
        await t.advance(11)
        await t.deliver()
        assert [got.body for got in receiver.received] == ["at last"]


async def test_unknown_payload_function_is_retried(lane: Sidelane, receiver: Receiver) -> None:
    @lane.callback_payload
    def newer(ended: FinishedJob) -> str:
        return "newer"

    @lane.task(callback=Webhook(receiver.url, body=newer))
    async def quick() -> None: ...

    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        del lane.registry.payload_builders["newer"]
        await t.deliver()
        (told,) = await lane.callbacks(job.id)
        assert (told.state, "'newer'" in told.problem) == (State.QUEUED, True)


async def test_each_callback_receives_the_ends_it_asks_for(lane: Sidelane, receiver: Receiver) -> None:
    every = [Webhook(f"{receiver.url}/{on}", on=on) for on in ("end", "success", "failure")]

    @lane.task(callback=every)
    async def maybe(fails: bool) -> None:
        if fails:
            raise PermanentFailure("No.")

    async with harness(lane) as t:
        for fails in (False, True):
            await maybe.submit(fails)
        cancelled = await maybe.options(delay=60).submit(False)
        await cancelled.cancel()
        await t.drain()
        await t.deliver()
    told = sorted((got.path.removeprefix("/jobs/"), got.json["type"]) for got in receiver.received)
    assert told == [
        ("end", "job.cancelled"), ("end", "job.failed"), ("end", "job.succeeded"), ("failure", "job.failed"),
        ("success", "job.succeeded"),
    ]  # fmt: skip


async def test_callbacks_of_a_call_are_added_to_those_of_its_task(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(f"{receiver.url}/task"))
    async def quick() -> None: ...

    async with harness(lane) as t:
        await quick.submit()
        await quick.options(callback=Webhook(f"{receiver.url}/call")).submit()
        await quick.options(callback=()).submit()
        await t.drain()
        await t.deliver()
    assert sorted(got.path for got in receiver.received) == ["/jobs/call", "/jobs/task", "/jobs/task"]


async def test_requeued_job_calls_back_again_for_its_new_end_only(lane: Sidelane, receiver: Receiver) -> None:
    fails = [True, True, False]

    @lane.task(callback=Webhook(receiver.url))
    async def maybe() -> None:
        if fails.pop(0):
            raise PermanentFailure("No.")

    async with harness(lane) as t:
        job = await maybe.submit()
        await t.drain()
        await t.deliver()
        await job.requeue()
        await t.drain()
        await job.requeue()
        await t.deliver()  # the second end is not one any more
        await t.drain()
        await t.deliver()
        told = await lane.callbacks(job.id)
    assert [got.headers["webhook-id"] for got in receiver.received] == [f"{job.id}:1:0", f"{job.id}:3:0"]
    assert [each.status for each in told] == [200, None, 200]
    assert "requeued" in told[1].problem


async def test_delivered_callback_can_be_redelivered_under_the_same_id(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=[Webhook(receiver.url), Webhook(f"{receiver.url}/other")])
    async def quick() -> None: ...

    async with harness(lane) as t:
        job = await quick.submit()
        assert [told.state for told in await lane.callbacks(job.id)] == [None, None]
        await t.drain()
        await t.deliver()
        first = sorted(got.headers["webhook-id"] for got in receiver.received)
        (again,) = await lane.redeliver(f"{job.id}.1.1")
        assert again.state is State.QUEUED
        await t.deliver()
        assert receiver.received[-1].path == "/jobs/other"
        assert len(await lane.redeliver(job.id)) == 2
        await t.deliver()
        assert sorted(got.headers["webhook-id"] for got in receiver.received[-2:]) == first
        assert len(receiver.received) == 5


async def test_callback_waiting_for_its_next_attempt_can_be_delivered_now(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url))
    async def quick() -> None: ...

    receiver.replies = [status(500, Retry_After="9000")]
    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        await t.deliver()
        assert await t.deliver() == 0
        await lane.redeliver(job.id)
        assert await t.deliver() == 1
        assert [got.headers["webhook-id"] for got in receiver.received] == [f"{job.id}:1:0"] * 2


async def test_harness_shows_what_would_be_sent(lane: Sidelane, receiver: Receiver) -> None:
    @lane.callback_payload
    def shortly(ended: FinishedJob) -> object:
        return {"id": ended.id}

    @lane.task(callback=[Webhook(receiver.url, body=shortly), Webhook(receiver.url)])
    async def quick() -> int:
        return 7

    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        (first, second) = await t.callbacks(job)
        assert first == (f"127.0.0.1:{receiver.port}", json.dumps({"id": job.id}, separators=(",", ":")))
        assert json.loads(second[1])["data"]["result"] == 7
        assert receiver.received == []


async def test_job_is_kept_until_its_callbacks_have_ended(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url), retention=60)
    async def quick() -> int:
        return 7

    receiver.replies = [status(500, Retry_After="4000")]
    async with harness(lane) as t:
        job = await quick.submit()
        await t.drain()
        await t.deliver()
        await t.advance(3700)
        await t.advance(400)
        await t.deliver()
        assert receiver.received[-1].json["data"]["result"] == 7
        await t.advance(120)
        with pytest.raises(Exception, match="removed after its retention"):
            await job.record()
        await lane.redeliver(f"{job.id}.1.0")
        await t.deliver()
        record = await t.client.record(f"{job.id}.1.0")
        assert (record.state, record.problem and record.problem.status) == (State.FAILED, 410)
        assert len(receiver.received) == 2
