"""Completion routes for external workers: authorization, validation, and the status of each answer."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from sidelane import CompletionMessage, DispatchedJob, ExternalTask, Fixed, Job, Message, Retry, Sidelane, Sqs, State
from sidelane.testing import harness
from sidelane.testing.harness import Harness
from sidelane.web import Jobs


class Report(BaseModel):
    score: float


class Scenario:
    """A lane with an external task, and a client of its application."""

    def __init__(self, lane: Sidelane, t: Harness, client: httpx2.AsyncClient, task: ExternalTask[str, Report]) -> None:
        self.lane, self.t, self.client, self.task = lane, t, client, task

    async def dispatch(self, **options: Any) -> tuple[Job[Report], DispatchedJob]:
        job = await self.task.options(**options).submit("a.wav")
        await self.t.drain()
        return job, (await self.t.dispatched(self.task))[-1]

    async def post(self, offer: DispatchedJob, body: Any, *, route: str = "complete", token: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {offer.token if token is None else token}"}
        return await self.client.post(f"/jobs/{offer.job}/{route}", json=body, headers=headers)


def decode(message: Message) -> CompletionMessage | None:
    """Read a format that is not ours."""
    found = json.loads(message.body)
    if "ping" in found:
        return None
    return CompletionMessage(job=found.get("analysis"), key=found.get("recording"), result={"score": found["value"]})


@pytest.fixture
async def scenario(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scenario]:
    """The scenario, with the options of `with_fields` for its task."""
    fields = dict(getattr(request, "param", {}))
    settings = {"jobs_url": "http://test/jobs", "payload_limit": 2048}
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}", settings=settings)
    task: ExternalTask[str, Report] = lane.external_task(
        "analyse", input=str, result=Report, send_to=Sqs("offers"), **fields
    )
    app = FastAPI()
    app.include_router(Jobs(lane, user=lambda: None).router, prefix="/jobs")
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with harness(lane) as t, httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Scenario(lane, t, client, task)


def with_fields(**fields: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", [fields], indirect=True)


async def test_repeated_result_finishes_the_job_once(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    assert offer.complete_url == f"http://test/jobs/{job.id}/complete"
    for score in (0.5, 0.5, 0.9):
        assert (await scenario.post(offer, {"result": {"score": score}})).status_code == 204
    assert await job.result(timeout=0) == Report(score=0.5)


async def test_token_may_be_a_query_parameter(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    answer = await scenario.client.post(f"{offer.complete_url}?token={offer.token}", json={"result": {"score": 1}})
    assert answer.status_code == 204
    assert await job.result(timeout=0) == Report(score=1)


async def test_problem_fails_the_job_with_its_status(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    assert (await scenario.post(offer, {"problem": {"status": 502, "detail": "model failed"}})).status_code == 204
    record = await job.record()
    assert record.problem is not None
    assert (record.state, record.problem.status, record.problem.detail) == (State.FAILED, 502, "model failed")


@pytest.mark.parametrize("status", [200, 7, True, "502", None])
async def test_problem_with_an_invalid_status_is_500(scenario: Scenario, status: object) -> None:
    job, offer = await scenario.dispatch()
    assert (await scenario.post(offer, {"problem": {"status": status}})).status_code == 204
    record = await job.record()
    assert record.problem is not None
    assert record.problem.status == 500


@with_fields(retry=Retry(attempts=3, backoff=Fixed(0)))
async def test_problem_with_retry_false_is_not_retried(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    await scenario.post(offer, {"problem": {"status": 503}})
    assert (await job.record()).state is State.QUEUED
    await scenario.t.drain()
    (second,) = await scenario.t.dispatched(scenario.task)
    await scenario.post(second, {"problem": {"status": 503}, "retry": False})
    assert (await job.record()).state is State.FAILED


@with_fields(timeout=60)
async def test_completion_of_an_earlier_dispatch_is_409_too_late(scenario: Scenario) -> None:
    job, first = await scenario.dispatch()
    await scenario.t.advance(61)
    await scenario.t.drain()
    (second,) = await scenario.t.dispatched(scenario.task)
    late = await scenario.post(first, {"result": {"score": 0}})
    assert (late.status_code, late.json()["title"]) == (409, "Too late")
    assert (await scenario.post(first, {"events": [{"name": "word"}]}, route="events")).status_code == 409
    assert (await scenario.post(second, {"result": {"score": 1}})).status_code == 204
    assert await job.result(timeout=0) == Report(score=1)
    assert (await scenario.post(first, {"result": {"score": 0}})).status_code == 409


async def test_completion_of_a_cancelled_job_is_409(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    await job.cancel()
    assert (await scenario.post(offer, {"result": {"score": 1}})).status_code == 409
    assert (await job.record()).state is State.CANCELLED


async def test_forged_token_gets_the_same_403_whether_or_not_the_job_exists(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch(id="mine")
    other, its = await scenario.dispatch()
    attempt, nonce, mac = offer.token.split(".")
    forged = [
        "", "x", "1.2", f"{attempt}.{nonce}.{mac[:-2]}aa", f"{attempt}.{nonce}.", f"2.{nonce}.{mac}",
        f"{attempt}.{'0' * 16}.{mac}", its.token, "1." * 9999, f"{attempt}.{nonce}.{mac}\u0041", "é.é.é",
    ]  # fmt: skip
    answers = set()
    for job_id in (job.id, "nobody", "x" * 500, "%2e%2e"):
        for token in forged:
            target = replace(offer, job=job_id)
            for body in ({"result": {"score": 1}}, {}, [1]):
                answer = await scenario.client.post(
                    f"/jobs/{target.job}/complete", json=body, params={"token": token}
                )  # fmt: skip
                answers.add((answer.status_code, answer.text))
        bare = await scenario.client.post(f"/jobs/{job_id}/complete", json={"result": {"score": 1}})
        answers.add((bare.status_code, bare.text))
    assert len(answers) == 1
    assert answers.pop()[0] == 403
    assert {(await each.record()).state for each in (job, other)} == {State.RUNNING}


@pytest.mark.parametrize(
    "body",
    [
        {}, [], 7, None, {"result": 1, "problem": {}}, {"result": None, "problem": {"status": 502}}, {"problem": None},
        {"problem": "502"}, {"problem": {}, "retry": "perhaps"}, {"result": {"score": 1}, "ordinal": 0},
        {"result": {"score": 1}, "events": [{"name": "end"}]}, {"result": {"score": 1}, "events": [{}]},
        {"result": {"score": 1}, "events": [{"name": "x"}] * 201},
    ],
)  # fmt: skip
async def test_invalid_body_is_422_with_a_reason_and_changes_nothing(scenario: Scenario, body: Any) -> None:
    job, offer = await scenario.dispatch()
    answer = await scenario.post(offer, body)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) > 20
    assert (await job.record()).state is State.RUNNING


@pytest.mark.parametrize("body", [b"", b'{"result": {"sco', b"\xff\xfe", b'{"result": NaN}', b"[" * 2000])
async def test_body_that_is_not_json_is_422_and_changes_nothing(scenario: Scenario, body: bytes) -> None:
    job, offer = await scenario.dispatch()
    headers = {"Authorization": f"Bearer {offer.token}"}
    answer = await scenario.client.post(f"/jobs/{offer.job}/complete", content=body, headers=headers)
    assert answer.status_code == 422
    assert (await job.record()).state is State.RUNNING


async def test_result_of_a_wrong_type_is_422_and_fails_the_job(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    answer = await scenario.post(offer, {"result": {"score": "high"}})
    assert (answer.status_code, answer.json()["title"]) == (422, "Wrong result")
    assert "score" in answer.json()["detail"]
    record = await job.record()
    assert record.problem is not None
    assert (record.state, record.problem.title) == (State.FAILED, "Wrong result")


async def test_body_that_is_too_large_is_413_and_not_read_to_the_end(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10_000_000:
            sent += 10_000
            yield b"x" * 10_000

    headers = {"Authorization": f"Bearer {offer.token}"}
    answer = await scenario.client.post(f"/jobs/{offer.job}/complete", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert (await job.record()).state is State.RUNNING


async def test_result_over_the_size_limit_is_413_and_fails_the_job(scenario: Scenario) -> None:
    texts: ExternalTask[str, str] = scenario.lane.external_task("texts", input=str, result=str, send_to=Sqs("offers"))
    job = await texts.submit("a")
    await scenario.t.drain()
    (offer,) = await scenario.t.dispatched(texts)
    assert (await scenario.post(offer, {"result": "x" * 3000})).status_code == 413
    record = await job.record()
    assert record.problem is not None
    assert (record.state, record.problem.status) == (State.FAILED, 413)


async def test_repeated_events_are_logged_once_and_in_order(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    progress = {"name": "progress", "data": {"percent": 30, "message": "working"}}
    word = {"name": "word", "data": ["ba", "na"]}
    token = {"name": "token", "data": {"text": "na"}}
    first, second = {"ordinal": 1, "events": [progress, word]}, {"ordinal": 3, "events": [token]}
    early = await scenario.post(offer, second, route="events")
    assert (early.status_code, early.json()["title"]) == (409, "Too early")
    assert "number 1" in early.json()["detail"]
    for body in (first, first, second, first, second):
        assert (await scenario.post(offer, body, route="events")).status_code == 204
    last = {"result": {"score": 1}, "ordinal": 3, "events": [token, {"name": "done"}]}
    assert (await scenario.post(offer, last)).status_code == 204
    log = [(event.name, json.loads(event.data)) for event in await scenario.t.events(job)]
    assert log[:-1] == [
        ("progress", {"percent": 30, "message": "working"}),
        ("word", ["ba", "na"]),
        ("token", {"text": "na"}),
        ("done", None),
    ]
    assert log[-1][0] == "end"
    assert (await scenario.post(offer, {"events": [word]}, route="events")).status_code == 409


@with_fields(retry=Retry(attempts=2, backoff=Fixed(0)))
async def test_each_dispatch_numbers_its_own_events(scenario: Scenario) -> None:
    job, first = await scenario.dispatch()
    await scenario.post(first, {"ordinal": 1, "events": [{"name": "a"}, {"name": "b"}]}, route="events")
    await scenario.post(first, {"problem": {"status": 503}})
    await scenario.t.drain()
    (second,) = await scenario.t.dispatched(scenario.task)
    early = await scenario.post(second, {"ordinal": 2, "events": [{"name": "d"}]}, route="events")
    assert (early.status_code, early.json()["title"]) == (409, "Too early")
    for _ in range(2):
        assert (
            await scenario.post(second, {"ordinal": 1, "events": [{"name": "c"}]}, route="events")
        ).status_code == 204
    await scenario.post(second, {"events": [{"name": "d"}]}, route="events")
    await scenario.post(second, {"result": {"score": 1}})
    assert [event.name for event in await scenario.t.events(job)] == ["a", "b", "attempt", "c", "d", "end"]


@pytest.mark.parametrize(
    "event",
    [
        {"name": "end"}, {"name": "attempt"}, {"name": "job"}, {"name": "No Name"}, {"name": ""}, {"name": "x" * 65},
        {"name": "progress"}, {"name": "progress", "data": {"percent": 101}}, {"name": "progress", "data": {"percent": True}},
        {"name": "progress", "data": {"percent": 5, "message": 7}}, {"name": "token", "data": "text"},
        {"name": "token", "data": {"text": None}}, {"name": 7},
    ],
)  # fmt: skip
async def test_invalid_external_event_is_422(scenario: Scenario, event: Any) -> None:
    job, offer = await scenario.dispatch()
    assert (await scenario.post(offer, {"events": [{"name": "fine"}, event]}, route="events")).status_code == 422
    assert await scenario.t.events(job) == []


async def test_event_over_the_size_limit_is_413(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    body = {"events": [{"name": "large", "data": "x" * 3000}]}
    assert (await scenario.post(offer, body, route="events")).status_code == 413
    assert await scenario.t.events(job) == []


@with_fields(decode=decode)
async def test_task_with_decode_is_completed_in_its_own_format(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch(key="recording 7")
    invalid: list[Any] = [
        {"analysis": "another", "value": 1},
        {"recording": "recording 8", "value": 1},
        {"value": 1},
        {"no": 1},
        [],
    ]
    for body in invalid:
        assert (await scenario.post(offer, body)).status_code == 422
    assert (await scenario.post(offer, {"ping": 1})).status_code == 204
    assert (await job.record()).state is State.RUNNING
    assert (await scenario.post(offer, {"recording": "recording 7", "value": 0.25})).status_code == 204
    assert await job.result(timeout=0) == Report(score=0.25)


@with_fields(retention=0.0)
async def test_completion_of_a_removed_job_is_409(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    await job.cancel()
    await scenario.t.advance(1)
    assert (await scenario.post(offer, {"result": {"score": 1}})).status_code == 409
