"""Problems over HTTP: RFC 9457 documents in answers of the type application/problem+json."""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from sidelane.files.upload import SavedFiles
from sidelane.model.errors import JobFailed, JobRefused, LimitReached, QueueFull, SidelaneError
from sidelane.model.problem import Problem
from sidelane.web.ratelimit_headers import limit_fields, whole_seconds

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

ERRORS = range(400, 600)

SAVED = "sidelane.saved"
"""Where a request's scope holds the files that it has brought."""

RETRY_AFTER = 2
"""Seconds after which a client may try again what the store could not take just now."""


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Which kind of problem, as a URI.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status of the problem.")
    detail: str | None = Field(None, description="What happened here, and what to do.")
    job_id: str | None = Field(None, description="Which job it is about.")


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Make an HTTP answer of a problem."""
    headers = dict(headers or {})
    if problem.status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER))
    status = problem.status if problem.status in ERRORS else 500  # a task may choose any
    return Response(to_json(problem.document()), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def public_problem(error: SidelaneError) -> Problem:
    """Give the problem of an error as clients may see it: what the service itself did wrong goes to its log."""
    problem = error.problem()
    partial = getattr(error, "partial", "")  # what a job that did not succeed had yielded
    if partial:
        problem = replace(problem, extra={**problem.extra, "partial": partial})
    if problem.status < 500 or isinstance(error, JobFailed | JobRefused):
        return problem
    logger.error("a request met: %s", error, exc_info=error)
    detail = _PUBLIC.get(problem.status, "The service made a mistake; its log says which.")
    return Problem(status=problem.status, detail=detail)


def error_response(error: SidelaneError) -> Response:
    """Make an HTTP answer of an error; a refusal says when to come back, and which limits were met."""
    headers: dict[str, str] = {}
    if isinstance(error, LimitReached | QueueFull) and error.retry_after is not None:
        headers["Retry-After"] = str(whole_seconds(error.retry_after))
    if isinstance(error, LimitReached):
        headers |= limit_fields(error.reached)
    return problem_response(public_problem(error), headers)


_PUBLIC = {503: "Jobs cannot be taken at the moment; nothing was done. Try again shortly."}


def invalid_response(error: RequestValidationError) -> Response:
    """Make an HTTP answer of what FastAPI found wrong with a request, without echoing it."""
    found = [{"loc": item["loc"], "msg": item["msg"]} for item in error.errors()]
    return problem_response(Problem(status=422, extra={"errors": found}))


async def problem_handler(request: Request, error: Exception) -> Response:
    """Answer errors with their problem: `app.add_exception_handler(SidelaneError, problem_handler)`.

    It knows `SidelaneError` and FastAPI's `RequestValidationError`.
    """
    if isinstance(error, RequestValidationError):
        return invalid_response(error)
    return error_response(error if isinstance(error, SidelaneError) else SidelaneError())


class ProblemRoute(APIRoute):
    """A route whose errors become problem documents, whatever the application around it handles."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except (SidelaneError, RequestValidationError) as error:
                saved: SavedFiles | None = request.scope.get(SAVED)
                if saved is not None:  # the dependency that knows of them does not hear of this error
                    await saved.remove()
                return error_response(error) if isinstance(error, SidelaneError) else invalid_response(error)

        return handle
