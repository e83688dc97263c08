"""Completion routes: external workers end their jobs and add events to them over HTTP.

The token of the dispatched job authorizes a request, which needs no user.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from sidelane.app import Sidelane
from sidelane.external.completion import CompletionResult, CompletionStatus
from sidelane.external.task import ExternalTask
from sidelane.model.errors import MalformedMessage, PayloadTooLarge, UnknownTask
from sidelane.model.job import JobRecord
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.transports.job_messages import (
    CompletionForm,
    CompletionMessage,
    EventForm,
    EventsForm,
    completion_from_form,
    events_from_form,
    read_form,
)
from sidelane.web import openapi
from sidelane.web.problems import ProblemRoute, problem_response

F = TypeVar("F", bound=BaseModel)

BODY_OVERHEAD = 65_536
"""Bytes that a body may have in addition to the result in it."""

logger = logging.getLogger(__name__)

_bearer = HTTPBearer(auto_error=False, scheme_name="completionToken", description="The token of the dispatched job.")
_query = APIKeyQuery(
    name="token",
    auto_error=False,
    scheme_name="completionTokenInQuery",
    description="The token, for clients that cannot send headers.",
)


def completion_router(lane: Sidelane) -> APIRouter:
    """Return the router for external workers."""
    router = APIRouter(route_class=ProblemRoute, responses=openapi.problems(openapi.COMPLETION_ERRORS))

    def sent_token(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        token: Annotated[str | None, Depends(_query)],
    ) -> str | None:
        return bearer.credentials if bearer else token

    Token = Annotated[str | None, Depends(sent_token)]  # noqa: N806 - a type

    @router.post("/{job_id}/complete", status_code=204, openapi_extra=_request_body(CompletionForm))
    async def complete(request: Request, job_id: str, token: Token) -> Response:
        """End a dispatched job: `{"result": …}` or `{"problem": …}`, or the format that the task's `decode` reads."""
        return await _apply(lane, request, job_id, token, _parser(CompletionForm, completion_from_form))

    @router.post("/{job_id}/events", status_code=204, openapi_extra=_request_body(EventsForm))
    async def emit(request: Request, job_id: str, token: Token) -> Response:
        """Add events to the log of a dispatched job, e.g. its progress."""
        return await _apply(lane, request, job_id, token, _parser(EventsForm, events_from_form))

    return router


Parse = Callable[[bytes, str, str], CompletionMessage]
"""Parses a body in the standard format, with the request's job and token."""


def _parser(form: type[F], make: Callable[..., CompletionMessage]) -> Parse:
    return lambda body, job_id, token: make(read_form(form, body), job=job_id, token=token)


async def _apply(lane: Sidelane, request: Request, job_id: str, token: str | None, parse: Parse) -> Response:
    handler = lane.completions
    if token is None or await handler.lease(job_id, token) is None:
        return problem_response(Problem(status=403, detail="The token is missing, or is not valid for this job."))
    try:
        body = await _body(request, lane.settings.payload_limit + BODY_OVERHEAD)
        (record,) = await lane.client.store.get([job_id])
        if not isinstance(record, JobRecord):
            return _response(CompletionResult(CompletionStatus.UNKNOWN))
        completion = _decode(lane, record, request, body, token) or parse(body, job_id, token)
        trace = lane.telemetry.tracer.traceparent or request.headers.get("traceparent")
        return _response(await handler.apply(completion, trace=trace))
    except _NotACompletion:
        return Response(status_code=204)
    except MalformedMessage as error:
        return problem_response(Problem(status=422, detail=str(error)))
    except UnknownTask as error:
        logger.error("completion rejected: %s", error)
        return problem_response(Problem(status=503, detail="This process does not know the job's task; another may."))


class _NotACompletion(Exception):
    """The task's `decode` returned None, so the body is not about the job."""


def _decode(lane: Sidelane, record: JobRecord, request: Request, body: bytes, token: str) -> CompletionMessage | None:
    """Parse a body with the `decode` of the job's task. Returns None if the task has none.

    Raises `MalformedMessage` if the body is malformed or about another job, and `_NotACompletion` if `decode` returns None.
    """
    task = lane.registry.tasks.get(record.spec.task)
    if not isinstance(task, ExternalTask) or task.routing.decode is None:
        return None
    attributes = {"content-type": request.headers.get("content-type", ""), "job": record.id}
    try:
        completion = task.routing.decode(Message(body=body.decode(), attributes=attributes))
    except MalformedMessage:
        raise
    except Exception as error:
        logger.warning("decode of task %s failed: %r", task.name, error)
        raise MalformedMessage(f"The body cannot be read: {type(error).__name__}.") from error
    if completion is None:
        raise _NotACompletion
    if completion.job not in (None, record.id) or completion.key not in (None, record.spec.key):
        raise MalformedMessage("The body is about another job than its URL.")
    return replace(completion, job=record.id, key=None, token=token)


async def _body(request: Request, max_size: int) -> bytes:
    """Read a body of up to `max_size` bytes. Raises `PayloadTooLarge`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_size:
            raise PayloadTooLarge(f"The body is over {max_size:,} bytes.")
    return bytes(body)


def _response(result: CompletionResult) -> Response:
    if result.error is not None:
        status = 413 if isinstance(result.error, PayloadTooLarge) else 422
        return problem_response(Problem(status=status, title="Wrong result", detail=str(result.error)))
    match result.status:
        case CompletionStatus.ACCEPTED | CompletionStatus.REPEATED:
            return Response(status_code=204)
        case CompletionStatus.FORGED:
            return problem_response(Problem(status=403))
        case CompletionStatus.EARLY:
            detail = f"Events are missing: {result.detail}."
            return problem_response(Problem(status=409, title="Too early", detail=detail))
        case CompletionStatus.LATE | CompletionStatus.UNKNOWN:
            detail = "The job has ended, or was dispatched again. Nothing was changed."
            return problem_response(Problem(status=409, title="Too late", detail=detail))


def _request_body(form: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that FastAPI does not read.

    The size of the body is limited, and tasks may have their own format.
    """
    schema = form.model_json_schema()
    schema.pop("$defs", None)
    schema["properties"]["events"]["items"] = EventForm.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
