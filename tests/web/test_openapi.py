"""The OpenAPI document describes every response, and the schemas of events are frozen."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from fastapi import Depends, FastAPI, Response
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from sidelane import ConcurrencyLimit, Queue, RateLimit, Result, Sidelane
from sidelane.model.event import RESERVED
from sidelane.web import Jobs, Responder, event_schemas
from sidelane.web.documents import JOB_EVENTS

GOLDEN = Path(__file__).with_name("golden") / "events.json"


class Report(BaseModel):
    """A result with fields."""

    grade: float
    remarks: list[str]


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """The OpenAPI document of an application with tasks of every kind of result."""
    small = Queue("small", limits=[RateLimit("5/s", per="queue")])
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}", queues=[small])
    lane.problem(KeyError, status=451, title="Withheld")
    jobs = Jobs(lane, user=lambda: "ann")
    app = FastAPI()
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.batches, prefix="/batches")
    Respond = Annotated[Responder, Depends(jobs.respond)]  # noqa: N806 - a type of this application

    @lane.task
    async def analyse(text: str) -> Report:
        return Report(grade=1, remarks=[text])

    @lane.task
    async def answer(text: str) -> AsyncIterator[str]:
        yield text

    @lane.task
    async def draw(text: str) -> AsyncIterator[str | Report | Result[list[Report]]]:
        yield text

    @lane.task
    async def forget(text: str) -> None: ...

    @lane.task
    def count(text: str) -> dict[str, int]:
        return {text: 1}

    @lane.task(limits=[ConcurrencyLimit(1, per="user")])
    async def ask(text: str) -> None: ...

    @lane.task(limits=[ConcurrencyLimit(1, per="user", on_limit="wait")])
    async def patient(text: str) -> None: ...

    @lane.task(queue="small")
    async def queued(text: str) -> None: ...

    @app.post("/ask-many", responses=jobs.responses(ask, many=True))
    async def ask_many(respond: Respond) -> Response:
        return Response()

    for task in (analyse, answer, draw, forget, count, ask, patient, queued):

        @app.post(f"/{task.name}", responses=jobs.responses(task), name=task.name)
        async def endpoint(text: str, respond: Respond) -> Response:
            return Response()

    return app.openapi()


def dangling(document: dict[str, Any]) -> set[str]:
    """Return the references of a document that lead nowhere."""
    found: set[str] = set()

    def visit(part: Any) -> None:
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            if name == "$ref":
                target: Any = document
                for step in value.removeprefix("#/").split("/"):
                    target = target.get(step, {})
                found.update(() if target else (value,))
            elif isinstance(value, dict | list):
                visit(value)

    visit(document)
    return found


def test_every_reference_in_the_openapi_document_resolves(document: dict[str, Any]) -> None:
    assert dangling(document) == set()
    assert "#/components/schemas/ProblemDocument" in str(document)


@pytest.mark.parametrize("routes", ["router", "batches", "files"])
def test_references_resolve_if_an_application_has_one_kind_of_routes_alone(tmp_path: Path, routes: str) -> None:
    jobs = Jobs(Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}"), user=None)
    app = FastAPI()
    app.include_router(getattr(jobs, routes), prefix="/routes")
    document = app.openapi()
    assert dangling(document) == set()
    OpenAPIV31SpecValidator(document).validate()


def test_openapi_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("name", ["analyse", "answer", "draw", "forget", "count"])
def test_endpoint_that_responds_with_a_job_documents_every_response(document: dict[str, Any], name: str) -> None:
    answers = document["paths"][f"/{name}"]["post"]["responses"]
    assert set(answers) >= {"200", "202", "204", "400", "404", "409", "410", "413", "422", "500", "503", "504"}
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
    assert answers["202"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/JobDocument"}
    assert {"Location", "Retry-After"} <= set(answers["202"]["headers"])
    assert "content" not in answers["204"]
    for status, response in answers.items():
        if status >= "400":
            assert set(response["content"]) == {"application/problem+json"}, status


def test_rules_of_the_application_are_documented_and_internal_ones_are_not(document: dict[str, Any]) -> None:
    answers = document["paths"]["/answer"]["post"]["responses"]
    assert answers["451"]["description"] == "Withheld"
    assert "502" not in answers
    assert "Receiver gone" not in str(document)


@pytest.mark.parametrize(("name", "rejects"), [("answer", False), ("patient", False), ("ask", True), ("queued", True)])
def test_429_is_documented_if_a_limit_of_the_task_or_queue_rejects(
    document: dict[str, Any], name: str, rejects: bool
) -> None:
    answers = document["paths"][f"/{name}"]["post"]["responses"]
    assert ("429" in answers) is rejects
    assert set(answers["503"]["headers"]) == {"Retry-After"}
    if rejects:
        assert set(answers["429"]["headers"]) == {"Retry-After", "RateLimit-Policy", "RateLimit"}


def test_endpoint_that_responds_with_a_batch_documents_every_response(document: dict[str, Any]) -> None:
    answers = document["paths"]["/ask-many"]["post"]["responses"]
    assert set(answers) >= {"202", "400", "403", "409", "413", "422", "429", "500", "503"}
    assert not set(answers) & {"204", "404", "410", "504"}
    assert answers["202"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/BatchDocument"}
    assert {"Location", "Retry-After"} <= set(answers["202"]["headers"])


def test_result_is_documented_with_its_type(document: dict[str, Any]) -> None:
    def schema(name: str) -> Any:
        return document["paths"][f"/{name}"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]

    report = {"$ref": "#/components/schemas/Report"}
    assert schema("analyse") == report
    assert schema("answer")["type"] == "string"
    assert (schema("draw")["type"], schema("draw")["items"]) == ("array", report)
    assert schema("forget").get("type") == "null"
    assert schema("count")["additionalProperties"] == {"type": "integer"}


def test_job_routes_document_every_response(document: dict[str, Any]) -> None:
    shown = {path: set(item["get"]["responses"]) for path, item in document["paths"].items() if "get" in item}
    shown |= {path: set(item["post"]["responses"]) for path, item in document["paths"].items() if "get" not in item}
    assert shown["/jobs/{job_id}"] >= {"200", "404", "410"}
    assert shown["/jobs/{job_id}/result"] >= {"200", "202", "404", "409", "410", "500", "504"}
    assert shown["/jobs/{job_id}/events"] >= {"200", "204", "400", "404", "410"}
    assert shown["/jobs/{job_id}/events/{token}"] >= {"200", "204", "400", "404", "410"}
    assert shown["/jobs/{job_id}/cancel"] >= {"200", "404", "410"}
    assert shown["/jobs/current"] >= {"200", "404"}
    for tail in ("", "/jobs", "/events", "/events/{token}", "/cancel"):
        assert shown[f"/batches/{{batch_id}}{tail}"] >= {"200", "404", "503"}
    events = document["paths"]["/jobs/{job_id}/events"]["get"]["responses"]
    assert set(events["200"]["content"]) == {"text/event-stream"}
    for tail in ("complete", "events"):
        operation = document["paths"][f"/jobs/{{job_id}}/{tail}"]["post"]
        assert set(operation["responses"]) >= {"204", "403", "409", "413", "422", "503"}
        assert operation["security"] == [{"completionToken": []}, {"completionTokenInQuery": []}]
        assert "ordinal" in operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert set(answer["content"]) == {"application/problem+json"}


def test_event_schemas_are_frozen() -> None:
    """Clients rely on them: fields may be added here on purpose, but never changed or removed."""
    assert json.loads(GOLDEN.read_text("utf-8")) == event_schemas()


def test_event_schemas_are_valid() -> None:
    for schema in event_schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_tasks_cannot_emit_events_with_reserved_names() -> None:
    assert set(JOB_EVENTS) <= RESERVED
