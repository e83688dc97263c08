"""Outside workers over HTTP: who may speak, what counts, and what each answer says."""

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


class Scene:
    """A lane under test with one job outside, and the application in front of it."""

    def __init__(
        self, lane: Sidelane, t: Harness, client: httpx2.AsyncClient, remote: ExternalTask[str, Report]
    ) -> None:
        self.lane, self.t, self.client, self.remote = lane, t, client, remote

    async def offered(self, **options: Any) -> tuple[Job[Report], DispatchedJob]:
        job = await self.remote.options(**options).submit("a.wav")
        await self.t.drain()
        return job, (await self.t.dispatched(self.remote))[-1]

    async def post(self, offer: DispatchedJob, body: Any, *, route: str = "complete", token: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {offer.token if token is None else token}"}
        return await self.client.post(f"/jobs/{offer.job}/{route}", json=body, headers=headers)


def decode(message: Message) -> CompletionMessage | None:
    """Read the form of a receiver that has its own."""
    found = json.loads(message.body)
    if "ping" in found:
        return None
    return CompletionMessage(job=found.get("analysis"), key=found.get("recording"), result={"score": found["value"]})


@pytest.fixture
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """What `with_fields` names is how the task is declared."""
    fields = dict(getattr(request, "param", {}))
    settings = {"jobs_url": "http://test/jobs", "payload_limit": 2048}
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}", settings=settings)
    remote: ExternalTask[str, Report] = lane.external_task(
        "analyse", input=str, result=Report, send_to=Sqs("offers"), **fields
    )
    app = FastAPI()
    app.include_router(Jobs(lane, user=lambda: None).router, prefix="/jobs")
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with harness(lane) as t, httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Scene(lane, t, client, remote)


def with_fields(**fields: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scene", [fields], indirect=True)


async def test_a_result_ends_the_job_once_however_often_it_is_sent(scene: Scene) -> None:
    job, offer = await scene.offered()
    assert offer.complete_url == f"http://test/jobs/{job.id}/complete"
    for score in (0.5, 0.5, 0.9):
        assert (await scene.post(offer, {"result": {"score": score}})).status_code == 204
    assert await job.result(timeout=0) == Report(score=0.5)


async def test_the_token_may_stand_in_the_address(scene: Scene) -> None:
    job, offer = await scene.offered()
    answer = await scene.client.post(f"{offer.complete_url}?token={offer.token}", json={"result": {"score": 1}})
    assert answer.status_code == 204
    assert await job.result(timeout=0) == Report(score=1)


async def test_a_problem_fails_the_job_with_its_status(scene: Scene) -> None:
    job, offer = await scene.offered()
    assert (await scene.post(offer, {"problem": {"status": 502, "detail": "no voice"}})).status_code == 204
    record = await job.record()
    assert record.problem is not None
    assert (record.state, record.problem.status, record.problem.detail) == (State.FAILED, 502, "no voice")


@pytest.mark.parametrize("status", [200, 7, True, "502", None])
async def test_a_problem_without_a_status_of_an_error_is_500(scene: Scene, status: object) -> None:
    job, offer = await scene.offered()
    assert (await scene.post(offer, {"problem": {"status": status}})).status_code == 204
    record = await job.record()
    assert record.problem is not None
    assert record.problem.status == 500


@with_fields(retry=Retry(attempts=3, backoff=Fixed(0)))
async def test_a_final_problem_is_not_tried_again(scene: Scene) -> None:
    job, offer = await scene.offered()
    await scene.post(offer, {"problem": {"status": 503}})
    assert (await job.record()).state is State.QUEUED
    await scene.t.drain()
    (second,) = await scene.t.dispatched(scene.remote)
    await scene.post(second, {"problem": {"status": 503}, "retry": False})
    assert (await job.record()).state is State.FAILED


@with_fields(timeout=60)
async def test_what_an_earlier_hand_over_says_comes_too_late(scene: Scene) -> None:
    job, first = await scene.offered()
    await scene.t.advance(61)
    await scene.t.drain()
    (second,) = await scene.t.dispatched(scene.remote)
    late = await scene.post(first, {"result": {"score": 0}})
    assert (late.status_code, late.json()["title"]) == (409, "Too late")
    assert (await scene.post(first, {"events": [{"name": "heard"}]}, route="events")).status_code == 409
    assert (await scene.post(second, {"result": {"score": 1}})).status_code == 204
    assert await job.result(timeout=0) == Report(score=1)
    assert (await scene.post(first, {"result": {"score": 0}})).status_code == 409


async def test_an_answer_to_a_cancelled_job_comes_too_late(scene: Scene) -> None:
    job, offer = await scene.offered()
    await job.cancel()
    assert (await scene.post(offer, {"result": {"score": 1}})).status_code == 409
    assert (await job.record()).state is State.CANCELLED


async def test_nothing_tells_a_stranger_whether_there_is_such_a_job(scene: Scene) -> None:
    job, offer = await scene.offered(id="mine")
    other, its = await scene.offered()
    attempt, nonce, mac = offer.token.split(".")
    forged = [
        "", "x", "1.2", f"{attempt}.{nonce}.{mac[:-2]}aa", f"{attempt}.{nonce}.", f"2.{nonce}.{mac}",
        f"{attempt}.{'0' * 16}.{mac}", its.token, "1." * 9999, f"{attempt}.{nonce}.{mac}\u0041", "é.é.é",
    ]  # fmt: skip
    answers = set()
    for job_id in (job.id, "nobody", "x" * 500, "%2e%2e"):
        for token in forged:
            where = replace(offer, job=job_id)
            for body in ({"result": {"score": 1}}, {}, [1]):
                answer = await scene.client.post(
                    f"/jobs/{where.job}/complete", json=body, params={"token": token}
                )  # fmt: skip
                answers.add((answer.status_code, answer.text))
        bare = await scene.client.post(f"/jobs/{job_id}/complete", json={"result": {"score": 1}})
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
async def test_a_body_that_does_not_fit_changes_nothing_and_is_told_what_is_wrong(scene: Scene, body: Any) -> None:
    job, offer = await scene.offered()
    answer = await scene.post(offer, body)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) > 20
    assert (await job.record()).state is State.RUNNING


@pytest.mark.parametrize("body", [b"", b'{"result": {"sco', b"\xff\xfe", b'{"result": NaN}', b"[" * 2000])
async def test_a_body_that_is_no_json_changes_nothing(scene: Scene, body: bytes) -> None:
    job, offer = await scene.offered()
    headers = {"Authorization": f"Bearer {offer.token}"}
    answer = await scene.client.post(f"/jobs/{offer.job}/complete", content=body, headers=headers)
    assert answer.status_code == 422
    assert (await job.record()).state is State.RUNNING


async def test_a_result_of_another_type_is_told_and_is_a_failure_of_the_job(scene: Scene) -> None:
    job, offer = await scene.offered()
    answer = await scene.post(offer, {"result": {"score": "high"}})
    assert (answer.status_code, answer.json()["title"]) == (422, "Wrong result")
    assert "score" in answer.json()["detail"]
    record = await job.record()
    assert record.problem is not None
    assert (record.state, record.problem.title) == (State.FAILED, "Wrong result")


async def test_a_body_that_is_too_large_is_not_read_to_its_end(scene: Scene) -> None:
    job, offer = await scene.offered()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10_000_000:
            sent += 10_000
            yield b"x" * 10_000

    headers = {"Authorization": f"Bearer {offer.token}"}
    answer = await scene.client.post(f"/jobs/{offer.job}/complete", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert (await job.record()).state is State.RUNNING


async def test_a_result_over_the_limit_is_told_and_fails_the_job(scene: Scene) -> None:
    texts: ExternalTask[str, str] = scene.lane.external_task("texts", input=str, result=str, send_to=Sqs("offers"))
    job = await texts.submit("a")
    await scene.t.drain()
    (offer,) = await scene.t.dispatched(texts)
    assert (await scene.post(offer, {"result": "x" * 3000})).status_code == 413
    record = await job.record()
    assert record.problem is not None
    assert (record.state, record.problem.status) == (State.FAILED, 413)


async def test_events_are_in_the_log_once_and_in_their_order(scene: Scene) -> None:
    job, offer = await scene.offered()
    progress = {"name": "progress", "data": {"percent": 30, "message": "listening"}}
    heard = {"name": "heard", "data": ["ba", "na"]}
    token = {"name": "token", "data": {"text": "na"}}
    first, second = {"ordinal": 1, "events": [progress, heard]}, {"ordinal": 3, "events": [token]}
    early = await scene.post(offer, second, route="events")
    assert (early.status_code, early.json()["title"]) == (409, "Too early")
    assert "number 1" in early.json()["detail"]
    for body in (first, first, second, first, second):
        assert (await scene.post(offer, body, route="events")).status_code == 204
    last = {"result": {"score": 1}, "ordinal": 3, "events": [token, {"name": "done"}]}
    assert (await scene.post(offer, last)).status_code == 204
    log = [(event.name, json.loads(event.data)) for event in await scene.t.events(job)]
    assert log[:-1] == [
        ("progress", {"percent": 30, "message": "listening"}),
        ("heard", ["ba", "na"]),
        ("token", {"text": "na"}),
        ("done", None),
    ]
    assert log[-1][0] == "end"
    assert (await scene.post(offer, {"events": [heard]}, route="events")).status_code == 409


@with_fields(retry=Retry(attempts=2, backoff=Fixed(0)))
async def test_each_hand_over_numbers_its_own_events(scene: Scene) -> None:
    job, first = await scene.offered()
    await scene.post(first, {"ordinal": 1, "events": [{"name": "a"}, {"name": "b"}]}, route="events")
    await scene.post(first, {"problem": {"status": 503}})
    await scene.t.drain()
    (second,) = await scene.t.dispatched(scene.remote)
    early = await scene.post(second, {"ordinal": 2, "events": [{"name": "d"}]}, route="events")
    assert (early.status_code, early.json()["title"]) == (409, "Too early")
    for _ in range(2):
        assert (await scene.post(second, {"ordinal": 1, "events": [{"name": "c"}]}, route="events")).status_code == 204
    await scene.post(second, {"events": [{"name": "d"}]}, route="events")
    await scene.post(second, {"result": {"score": 1}})
    assert [event.name for event in await scene.t.events(job)] == ["a", "b", "attempt", "c", "d", "end"]


@pytest.mark.parametrize(
    "event",
    [
        {"name": "end"}, {"name": "attempt"}, {"name": "job"}, {"name": "No Name"}, {"name": ""}, {"name": "x" * 65},
        {"name": "progress"}, {"name": "progress", "data": {"percent": 101}}, {"name": "progress", "data": {"percent": True}},
        {"name": "progress", "data": {"percent": 5, "message": 7}}, {"name": "token", "data": "text"},
        {"name": "token", "data": {"text": None}}, {"name": 7},
    ],
)  # fmt: skip
async def test_events_keep_the_rules_that_bind_a_tasks_own(scene: Scene, event: Any) -> None:
    job, offer = await scene.offered()
    assert (await scene.post(offer, {"events": [{"name": "fine"}, event]}, route="events")).status_code == 422
    assert await scene.t.events(job) == []


async def test_an_event_over_the_limit_is_refused(scene: Scene) -> None:
    job, offer = await scene.offered()
    body = {"events": [{"name": "large", "data": "x" * 3000}]}
    assert (await scene.post(offer, body, route="events")).status_code == 413
    assert await scene.t.events(job) == []


@with_fields(decode=decode)
async def test_a_receiver_with_a_form_of_its_own_completes_in_it(scene: Scene) -> None:
    job, offer = await scene.offered(key="take 7")
    wrongs: list[Any] = [
        {"analysis": "another", "value": 1},
        {"recording": "take 8", "value": 1},
        {"value": 1},
        {"no": 1},
        [],
    ]
    for wrong in wrongs:
        assert (await scene.post(offer, wrong)).status_code == 422
    assert (await scene.post(offer, {"ping": 1})).status_code == 204
    assert (await job.record()).state is State.RUNNING
    assert (await scene.post(offer, {"recording": "take 7", "value": 0.25})).status_code == 204
    assert await job.result(timeout=0) == Report(score=0.25)


@with_fields(retention=0.0)
async def test_an_answer_for_a_job_that_is_gone_comes_too_late(scene: Scene) -> None:
    job, offer = await scene.offered()
    await job.cancel()
    await scene.t.advance(1)
    assert (await scene.post(offer, {"result": {"score": 1}})).status_code == 409
