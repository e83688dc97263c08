"""Checked routes, which check the user and the headers of a request before they read its body."""

from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response

from sidelane.web.idempotency import HEADER, check_key
from sidelane.web.problems import ProblemRoute
from sidelane.web.sse import parse_cursor

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Check = Callable[..., Awaitable[None]]


def check_headers(request: Request, user: str | None) -> None:
    """Check the headers that a `Responder` reads. Raises `MalformedCursor` or `IdempotencyError`."""
    parse_cursor(request.headers.get("last-event-id"))
    key = request.headers.get(HEADER)
    if key is not None:
        check_key(key, user)


def checked_route(check: Check) -> type[ProblemRoute]:
    """Return a route class that calls `check`, with its dependencies, before it reads a request's body.

    FastAPI itself reads the body before it calls any dependency.
    """

    class CheckedRoute(ProblemRoute):
        """A route that checks requests before it reads their bodies, and whose errors become problem documents."""

        def get_route_handler(self) -> Handler:
            handler = super().get_route_handler()
            check_handlers: dict[object, Handler] = {}  # per application, because dependency overrides belong to it

            async def handle(request: Request) -> Response:
                app = request.app
                if app not in check_handlers:
                    check_route = ProblemRoute(
                        self.path_format, check, status_code=HTTPStatus.NO_CONTENT, dependency_overrides_provider=app
                    )
                    check_handlers[app] = check_route.get_route_handler()
                response = await check_handlers[app](request)
                return await handler(request) if response.status_code == HTTPStatus.NO_CONTENT else response

            return handle

    return CheckedRoute
