"""Completion over HTTP: the routes by which outside workers end the jobs handed over to them, and feed their logs.

Nobody's user is asked for here: the token that came with the offer is the right to speak.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from sidelane.app import Sidelane
from sidelane.external.completion import CompletionHandler, CompletionResult, CompletionStatus
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
"""Bytes a body may have beside the result in it."""

logger = logging.getLogger(__name__)

_bearer = HTTPBearer(
    auto_error=False, scheme_name="completionToken", description="The token that came with the offer of the job."
)
_BY_QUERY = Query(default=None, description="The token, where no header can be sent.")


def completion_routes(lane: Sidelane) -> APIRouter:
    """Make the router of what outside workers say."""
    router = APIRouter(route_class=ProblemRoute, responses=openapi.problems(openapi.COMPLETING))
    Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]  # noqa: N806 - a type

    @router.post("/{job_id}/complete", status_code=204, openapi_extra=_takes(CompletionForm))
    async def complete(request: Request, job_id: str, bearer: Bearer, token: str | None = _BY_QUERY) -> Response:
        """End a job that was handed over: `{"result": …}` or `{"problem": …}`, or what the task's own `decode` reads."""
        given = bearer.credentials if bearer else token
        return await _heard(lane, request, job_id, given, _reading(CompletionForm, completion_from_form))

    @router.post("/{job_id}/events", status_code=204, openapi_extra=_takes(EventsForm))
    async def tell(request: Request, job_id: str, bearer: Bearer, token: str | None = _BY_QUERY) -> Response:
        """Add events to the log of a job that was handed over, its progress say."""
        given = bearer.credentials if bearer else token
        return await _heard(lane, request, job_id, given, _reading(EventsForm, events_from_form))

    return router


Read = Callable[[bytes, str, str], CompletionMessage]
"""Reads a body in our own form, with the job and the token it was sent to."""


def _reading(form: type[F], make: Callable[..., CompletionMessage]) -> Read:
    return lambda body, job_id, token: make(read_form(form, body), job=job_id, token=token)


async def _heard(lane: Sidelane, request: Request, job_id: str, token: str | None, read: Read) -> Response:
    completing = CompletionHandler(lane.client, lane.registry)
    if token is None or await completing.lease(job_id, token) is None:
        return problem_response(
            Problem(status=403, detail="The token is missing, or is none that speaks for this job.")
        )
    try:
        body = await _body(request, lane.settings.payload_limit + BODY_OVERHEAD)
        (record,) = await lane.client.store.get([job_id])
        if not isinstance(record, JobRecord):
            return _answer(CompletionResult(CompletionStatus.UNKNOWN))
        reply = _own_form(lane, record, request, body, token) or read(body, job_id, token)
        return _answer(await completing.apply(reply))
    except _Nothing:
        return Response(status_code=204)
    except MalformedMessage as error:
        return problem_response(Problem(status=422, detail=str(error)))
    except UnknownTask as error:
        logger.error("a completion was not taken: %s", error)
        return problem_response(Problem(status=503, detail="This process does not know the job's task; another may."))


class _Nothing(Exception):
    """The body says nothing of the job."""


def _own_form(lane: Sidelane, record: JobRecord, request: Request, body: bytes, token: str) -> CompletionMessage | None:
    """Read a body by the `decode` of the job's task; None where it has none.

    Raises `MalformedMessage`, and `_Nothing` where it is no reply.
    """
    task = lane.registry.tasks.get(record.spec.task)
    if not isinstance(task, ExternalTask) or task.routing.decode is None:
        return None
    attributes = {"content-type": request.headers.get("content-type", ""), "job": record.id}
    try:
        reply = task.routing.decode(Message(body=body.decode(), attributes=attributes))
    except MalformedMessage:
        raise
    except Exception as error:
        logger.warning("the decode of task %s cannot read a body: %r", task.name, error)
        raise MalformedMessage(f"The body cannot be read: {type(error).__name__}.") from error
    if reply is None:
        raise _Nothing
    if reply.job not in (None, record.id) or reply.key not in (None, record.spec.key):
        raise MalformedMessage("The body speaks of another job than its address.")
    return replace(reply, job=record.id, key=None, token=token)


async def _body(request: Request, most: int) -> bytes:
    """Read a body of so many bytes at most. Raises `PayloadTooLarge`."""
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > most:
            raise PayloadTooLarge(f"The body is over {most:,} bytes.")
    return bytes(read)


def _answer(answered: CompletionResult) -> Response:
    if answered.error is not None:
        status = 413 if isinstance(answered.error, PayloadTooLarge) else 422
        return problem_response(Problem(status=status, title="Wrong result", detail=str(answered.error)))
    match answered.status:
        case CompletionStatus.ACCEPTED | CompletionStatus.REPEATED:
            return Response(status_code=204)
        case CompletionStatus.FORGED:
            return problem_response(Problem(status=403))
        case CompletionStatus.EARLY:
            return problem_response(
                Problem(status=409, title="Too early", detail=f"Events are missing: {answered.detail}.")
            )
        case CompletionStatus.LATE | CompletionStatus.UNKNOWN:
            said = "This hand-over is over: the job has ended, or was handed over again. Nothing was changed."
            return problem_response(Problem(status=409, title="Too late", detail=said))


def _takes(form: type[BaseModel]) -> dict[str, Any]:
    """Describe the body for OpenAPI, which is read by hand: it is bounded, and may have a form of the task's own."""
    schema = form.model_json_schema()
    schema.pop("$defs", None)
    schema["properties"]["events"]["items"] = EventForm.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
