"""Hostile JSON: malformed, not UTF-8, or nested too deeply. It is an error of its sender, never of the service."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sidelane import ArgumentsError, Call, Message, Sidelane, SidelaneError, Sqs
from sidelane.model.errors import MalformedMessage
from sidelane.testing import harness
from sidelane.transports import cloudevents
from sidelane.transports.job_messages import (
    CompletionForm,
    read_completion,
    read_dispatched_header,
    read_form,
    read_input,
)
from sidelane.web import Jobs, Responder, problem_handler

DEPTHS = (150, 199, 200, 201, 500, 900, 990, 2000, 100_000)
DEEP = [text for depth in DEPTHS for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth)]
MALFORMED = [b"{", b"nul", b'"\xff"', b"\xff\xfe", b'{"a": 1,}', b"[" * 100_000]

ERRORS: list[type[Exception]] = [SidelaneError, RequestValidationError, HTTPException]


@pytest.fixture
async def client(lane: Sidelane) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application whose routes take any JSON."""
    jobs = Jobs(lane, user=None)
    app = FastAPI(lifespan=lane.lifespan)
    for error in ERRORS:
        app.add_exception_handler(error, problem_handler)
    checked = APIRouter(route_class=jobs.route)
    Respond = Annotated[Responder, Depends(jobs.respond)]  # noqa: N806 - a type of this application

    @lane.task
    async def keep(value: Any) -> None: ...

    @app.post("/plain")
    @checked.post("/checked")
    async def submit(value: Annotated[Any, Body()], respond: Respond) -> Response:
        return await respond(keep.call(value))

    app.include_router(checked)
    app.include_router(jobs.router, prefix="/jobs")
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with harness(lane), httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("path", ["/plain", "/checked"])
async def test_deep_json_in_a_request_is_accepted_or_an_error_of_the_client(
    client: httpx2.AsyncClient, path: str
) -> None:
    statuses = [await posted(client, path, text.encode()) for text in DEEP]
    assert statuses[0] == 202
    assert statuses[-1] == 400
    assert set(statuses) == {202, 422, 400}


@pytest.mark.parametrize("path", ["/plain", "/checked"])
async def test_malformed_json_in_a_request_is_a_problem_document(client: httpx2.AsyncClient, path: str) -> None:
    assert {await posted(client, path, body) for body in MALFORMED} == {400, 422}


async def posted(client: httpx2.AsyncClient, path: str, body: bytes) -> int:
    """Post a body, check that any error is a problem document, and return the status."""
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    if answer.status_code != 202:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    return answer.status_code


async def test_errors_of_the_application_keep_their_status_and_headers(client: httpx2.AsyncClient) -> None:
    error = HTTPException(401, "Who are you?", {"WWW-Authenticate": "Bearer"})
    answer = await problem_handler(None, error)  # type: ignore[arg-type] # it does not look at the request
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert json.loads(bytes(answer.body))["detail"] == "Who are you?"
    assert (await client.get("/nowhere")).headers["content-type"] == "application/problem+json"


async def test_arguments_and_results_that_are_nested_too_deeply_are_errors_of_their_author(lane: Sidelane) -> None:
    @lane.task
    async def echo(value: Any) -> Any:
        return value

    async with harness(lane) as t:
        for depth in (150, 190):
            value = json.loads("[" * depth + "]" * depth)
            assert await t.run(echo.call(value)) == value
        with pytest.raises(ArgumentsError):
            echo.call(json.loads("[" * 900 + "]" * 900))


def refusal(read: Callable[[str], object], body: str) -> str:
    """Return why a body is malformed, or "" if it is not."""
    try:
        read(body)
    except MalformedMessage as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", DEEP)
def test_deep_json_in_a_message_is_malformed_or_read(text: str) -> None:
    event = '{"specversion":"1.0","id":"1","source":"s","type":"sidelane.job.completed","data":%s}'
    for read in (cloudevents.read, cloudevents.read_envelope, cloudevents.read_data):
        for body in (text, event % text):
            assert len(refusal(read, body)) < 1000
            for read_message in (read_completion, read_dispatched_header, read_input):
                with pytest.raises(MalformedMessage):
                    read_message(Message(body=body))
    assert len(refusal(lambda body: read_form(CompletionForm, body), text)) < 1000


async def test_consumer_that_parses_deep_json_finds_the_message_malformed(lane: Sidelane) -> None:
    @lane.task
    async def keep(value: Any) -> None: ...

    @lane.consumer(Sqs("orders"))
    def orders(message: Message) -> Call[None]:
        return keep.call(json.loads(message.body))

    async with harness(lane) as t:
        for depth in (500, 100_000):
            with pytest.raises(MalformedMessage):
                await t.consume(orders, Message(body="[" * depth + "]" * depth, id=str(depth)))
