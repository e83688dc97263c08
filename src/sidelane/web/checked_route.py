"""Checks of a request that come before its body: who asks, and headers that no answer could be given to."""

from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response

from sidelane.web.cursor import parse_cursor
from sidelane.web.idempotency import HEADER, check_key
from sidelane.web.problems import ProblemRoute

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Check = Callable[..., Awaitable[None]]


def check_headers(request: Request, user: str | None) -> None:
    """Check the headers that `respond` reads. Raises `MalformedCursor`, `IdempotencyError`."""
    parse_cursor(request.headers.get("last-event-id"))
    key = request.headers.get(HEADER)
    if key is not None:
        check_key(key, user)


def checked_route(check: Check) -> type[ProblemRoute]:
    """Make the class of routes that call `check`, with its own dependencies, before they read a request's body.

    FastAPI reads the body of a request before it calls any dependency of its route.
    """

    class CheckedRoute(ProblemRoute):
        """A route whose requests are checked before their bodies are read, and whose errors become problem documents."""

        def get_route_handler(self) -> Handler:
            answers = super().get_route_handler()
            first: dict[object, Handler] = {}  # by the application, whose overrides of dependencies count

            async def handle(request: Request) -> Response:
                app = request.app
                if app not in first:
                    checking = ProblemRoute(
                        self.path_format, check, status_code=HTTPStatus.NO_CONTENT, dependency_overrides_provider=app
                    )
                    first[app] = checking.get_route_handler()
                answer = await first[app](request)
                if answer.status_code == HTTPStatus.NO_CONTENT:
                    answer = await answers(request)
                return answer

            return handle

    return CheckedRoute
