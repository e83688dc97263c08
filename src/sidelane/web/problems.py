"""Problems over HTTP: RFC 9457 documents in answers of the type application/problem+json."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from sidelane.model.errors import JobFailed, SidelaneError
from sidelane.model.problem import Problem

MEDIA_TYPE = "application/problem+json"

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
    return Response(to_json(problem.document()), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def error_response(error: SidelaneError) -> Response:
    """Make an HTTP answer of an error. Only what is meant for clients is in it."""
    problem = error.problem()
    if problem.status >= 500 and not isinstance(error, JobFailed):
        detail = _PUBLIC.get(problem.status, "The service made a mistake; its log says which.")
        problem = Problem(status=problem.status, detail=detail)
    return problem_response(problem)


_PUBLIC = {503: "Jobs cannot be taken at the moment; nothing was done. Try again shortly."}


async def problem_handler(request: Request, error: Exception) -> Response:
    """Answer with the problem of any Sidelane error: `app.add_exception_handler(SidelaneError, problem_handler)`."""
    return error_response(error if isinstance(error, SidelaneError) else SidelaneError())


class ProblemRoute(APIRoute):
    """A route whose Sidelane errors become problem documents, whatever the application around it handles."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except SidelaneError as error:
                return error_response(error)

        return handle
