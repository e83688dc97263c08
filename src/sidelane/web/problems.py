"""Problem documents: errors as RFC 9457 `application/problem+json`, with `Retry-After` and the RateLimit fields."""

import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from sidelane.files.upload import SavedFiles
from sidelane.model.errors import (
    FilesUnavailable,
    JobFailed,
    JobRefused,
    LimitReached,
    QueueFull,
    SidelaneError,
    StoreUnavailable,
)
from sidelane.model.limit import Limit, LimitHit
from sidelane.model.problem import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

ERROR_STATUSES = range(400, 600)

SAVED_FILES = "sidelane.saved_files"
"""Key in a request's scope of the files that the request has uploaded."""

UNAVAILABLE_RETRY_AFTER = 2
"""The `Retry-After` of a 429 or 503 whose error does not say how long to wait, in seconds."""

_UNREADABLE = "There was an error parsing the body"  # FastAPI's detail, also after a RecursionError

_SERVER_ERROR_DETAIL = "The service made a mistake; its log has the details."

_UNAVAILABLE_DETAIL = "The service is temporarily unavailable; nothing was done. Try again shortly."


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="The kind of problem, as a URI.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status of the problem.")
    detail: str | None = Field(None, description="What happened in this case, and what to do.")
    job_id: str | None = Field(None, description="The job that the problem is about.")


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Return the HTTP response for a problem."""
    headers = dict(headers or {})
    if problem.status in (429, 503):
        headers.setdefault("Retry-After", str(UNAVAILABLE_RETRY_AFTER))
    status = problem.status if problem.status in ERROR_STATUSES else 500  # a task may choose any
    return Response(to_json(problem.document()), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def public_problem(error: SidelaneError) -> Problem:
    """Return the problem that clients may see. Details of server errors are logged instead."""
    problem = error.problem()
    partial = getattr(error, "partial", "")  # the text that an unsuccessful job had yielded
    if partial:
        problem = replace(problem, extra={**problem.extra, "partial": partial})
    if problem.status < 500 or isinstance(error, JobFailed | JobRefused):
        return problem
    if isinstance(
        error, StoreUnavailable | FilesUnavailable
    ):  # an outage would log the same traceback for every request
        logger.warning("request failed: %s", error)
    else:
        logger.error("request failed: %s", error, exc_info=error)
    detail = _UNAVAILABLE_DETAIL if problem.status == 503 else _SERVER_ERROR_DETAIL
    return Problem(status=problem.status, detail=detail)


def error_response(error: SidelaneError) -> Response:
    """Return the HTTP response for an error. The response to a reached limit has `Retry-After` and the RateLimit fields."""
    headers: dict[str, str] = {}
    if isinstance(error, LimitReached | QueueFull) and error.retry_after is not None:
        headers["Retry-After"] = str(whole_seconds(error.retry_after))
    if isinstance(error, LimitReached):
        headers |= limit_fields(error.reached)
    return problem_response(public_problem(error), headers)


def invalid_response(error: RequestValidationError) -> Response:
    """Return the HTTP response for a request that FastAPI found invalid, without repeating its content."""
    found = [{"loc": item["loc"], "msg": item["msg"]} for item in error.errors()]
    return problem_response(Problem(status=422, extra={"errors": found}))


def unreadable_response() -> Response:
    """Return the HTTP response for a request whose body FastAPI could not read."""
    detail = "The body cannot be read: it is not UTF-8, or its JSON is nested too deeply."
    return problem_response(Problem(status=HTTPStatus.BAD_REQUEST, detail=detail))


async def problem_handler(request: Request, error: Exception) -> Response:
    """Answer errors with problem documents: `app.add_exception_handler(SidelaneError, problem_handler)`.

    It handles `SidelaneError`, FastAPI's `RequestValidationError`, and Starlette's `HTTPException`.
    """
    if isinstance(error, RequestValidationError):
        return invalid_response(error)
    if isinstance(error, HTTPException):
        if is_unreadable_body(error):
            return unreadable_response()
        return problem_response(Problem(status=error.status_code, detail=str(error.detail)), dict(error.headers or {}))
    return error_response(error if isinstance(error, SidelaneError) else SidelaneError())


def is_unreadable_body(error: HTTPException) -> bool:
    """Return whether FastAPI raised this for a body that it could not read, for another reason than a syntax error."""
    return error.status_code == HTTPStatus.BAD_REQUEST and error.detail == _UNREADABLE


class ProblemRoute(APIRoute):
    """A route whose errors become problem documents, whatever exception handlers the application has."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except (SidelaneError, RequestValidationError) as error:
                saved: SavedFiles | None = request.scope.get(SAVED_FILES)
                if saved is not None:  # the dependency that saved them does not see this error
                    await saved.remove()
                return error_response(error) if isinstance(error, SidelaneError) else invalid_response(error)
            except HTTPException as error:
                if not is_unreadable_body(error):
                    raise
                return unreadable_response()

        return handle


# --- RateLimit fields -------------------------------------------------------------------------------------------------


def limit_fields(reached: Sequence[LimitHit]) -> dict[str, str]:
    """Return `RateLimit-Policy` and `RateLimit`, with one member per limit (draft-ietf-httpapi-ratelimit-headers-11).

    The fields have no partition key, because it would reveal whom a limit counts. Limit names need no escaping in Structured
    Fields.
    """
    if not reached:
        return {}  # a list without members is no field
    return {
        "RateLimit-Policy": ", ".join(_policy(each.limit) for each in reached),
        "RateLimit": ", ".join(_remaining(each) for each in reached),
    }


def whole_seconds(seconds: float) -> int:
    """Round a wait up to whole seconds, at least 1, so that clients do not retry too early or immediately."""
    return max(1, math.ceil(seconds))


def _policy(limit: Limit) -> str:
    unit = ';qu="concurrent-requests"' if limit.window is None else f";w={whole_seconds(limit.window)}"
    return f'"{limit.name}";q={limit.max}{unit}'


def _remaining(hit: LimitHit) -> str:
    reset = "" if hit.after is None else f";t={whole_seconds(hit.after)}"
    return f'"{hit.limit.name}";r=0{reset}'
