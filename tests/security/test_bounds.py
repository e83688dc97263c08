"""Bounds: whatever a request brings into a call counts against a limit, and a refusal is short."""

from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Response
from starlette.types import ASGIApp

from sidelane import ArgumentsError, PayloadTooLarge, Sidelane, Webhook
from sidelane.external.http import Http
from sidelane.model.errors import ConfigurationError, SidelaneError
from sidelane.testing import harness
from sidelane.web import Jobs, Responder, problem_handler
from tests.worker.conftest import MakeLane

HUGE = "x" * 4_000_000
URL = "https://be.example.com/jobs"
MAX_DETAIL = 1000
"""Characters of a refusal: it must not send back what was refused."""


@pytest.fixture
async def lane(make_lane: MakeLane) -> Sidelane:
    return make_lane(payload_limit=20_000)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": {"text": HUGE}}, "a value of 4,000,000 characters"),
        ({"labels": {HUGE: "text"}}, "a name of 4,000,000 characters"),
        ({"labels": {"": "text"}}, "a name of 0 characters"),
        ({"labels": {str(number): "" for number in range(65)}}, "There are 65 labels; a job has at most 64"),
        ({"labels": {"text": [HUGE]}}, "strings by name"),
        ({"key": HUGE}, "a string of 1 to 512 characters"),
        ({"user": HUGE}, "a string of 1 to 512 characters"),
        ({"unique": HUGE}, "a string of 1 to 512 characters"),
        ({"id": HUGE}, "an id is 1 to 128 letters"),
    ],
)
def test_options_have_bounds_and_their_errors_are_short(lane: Sidelane, options: dict[str, Any], reason: str) -> None:
    @lane.task
    async def task() -> None: ...

    with pytest.raises(ArgumentsError, match=reason) as refused:
        task.options(**options)
    assert refused.value.status == 422
    assert len(str(refused.value)) < MAX_DETAIL


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-Text": HUGE}, "the value of 'X-Text' has 4,000,000 characters"),
        ({HUGE: "text"}, "cannot be set"),
        ({f"X-{number}": "" for number in range(33)}, "there are 33; use at most 32"),
    ],
)
def test_headers_of_callbacks_and_dispatches_have_bounds(headers: dict[str, str], reason: str) -> None:
    with pytest.raises(ArgumentsError, match=reason) as refused:
        Webhook(URL, headers=headers)
    assert len(str(refused.value)) < MAX_DETAIL
    with pytest.raises(ConfigurationError, match=reason):
        Http(URL, headers=headers)


async def test_labels_callbacks_and_follow_ups_count_against_the_payload_limit(lane: Sidelane) -> None:
    @lane.task
    async def task(text: str = "") -> None: ...

    labels = {f"label-{number}": "v" * 512 for number in range(40)}
    callback = Webhook(URL, headers={f"X-{number}": "v" * 4000 for number in range(5)})
    async with harness(lane) as t:
        for options, text in (
            ({"labels": labels}, ""),
            ({"labels": dict(list(labels.items())[:30])}, "x" * 5000),
            ({"callback": callback}, ""),
            ({"then": [task.options(labels=dict(list(labels.items())[:20])).call(str(n)) for n in range(2)]}, ""),
        ):
            with pytest.raises(PayloadTooLarge, match="the limit is 20,000") as refused:
                await lane.submit(task.options(**options).call(text))
            assert refused.value.status == 413
        batch_end = task.options(labels=labels).call()
        with pytest.raises(PayloadTooLarge):
            await lane.submit_many([task.call()], then=batch_end)
        assert await t.submitted(task) == []


async def test_request_with_too_many_or_too_large_labels_gets_a_problem_document(lane: Sidelane) -> None:
    jobs = Jobs(lane, user=None)
    app = FastAPI(lifespan=lane.lifespan)
    app.add_exception_handler(SidelaneError, problem_handler)
    app.include_router(jobs.router, prefix="/jobs")

    @lane.task
    async def task() -> None: ...

    @app.post("/do")
    async def do(labels: dict[str, str], respond: Responder = Depends(jobs.respond)) -> Response:
        return await respond(task.options(labels=labels).call())

    async with harness(lane), client_of(app) as client:
        assert (await client.post("/do", json={"team": "red"})).status_code == 202
        for labels, status in (
            ({"text": HUGE}, 422),
            ({HUGE: "text"}, 422),
            ({str(number): "" for number in range(65)}, 422),
            ({f"label-{number}": "v" * 512 for number in range(40)}, 413),
        ):
            answer = await client.post("/do", json=labels)
            assert answer.status_code == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(answer.content) < MAX_DETAIL


def client_of(app: ASGIApp) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://test")
