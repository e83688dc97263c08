"""RequestMetrics: a middleware that counts the application's own requests by route, in this process."""

import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidelane.telemetry.figures import OTHER, PROCESS_FIGURES, ProcessFigures

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

SERVER_ERROR = 500
"""The status of a request whose application raised an error before it answered."""


class RequestMetrics:
    """Counts requests, their durations and their statuses: `app.add_middleware(RequestMetrics)`.

    A request is counted under the template of its route, e.g. `/chat/{session}`. Paths that no route has are counted as "other", so
    that clients cannot make up names. A stream is counted when it ends. `figures` are those of this process by default.
    """

    def __init__(self, app: ASGIApp, *, figures: ProcessFigures = PROCESS_FIGURES) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), SERVER_ERROR

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            seconds = time.perf_counter() - started
            self._figures.count_request(method, route_of(scope), status, seconds)


def route_of(scope: Scope) -> str:
    """Return the template of the route that has answered, with the prefixes of routers and the paths of mounts before it.

    The route itself may know only its own part. The rest is taken from the path, in which parameters are replaced by their names.
    """
    route: Any = scope.get("route")
    path: str = scope["path"]
    pattern = getattr(route, "path_regex", None)
    if pattern is None:
        return OTHER
    starts = (index for index, letter in enumerate(path) if letter == "/")
    prefix = next((path[:start] for start in starts if pattern.match(path[start:])), "")
    parameters = {
        str(value): name for name, value in scope["path_params"].items() if name not in route.param_convertors
    }
    parts = [f"{{{parameters[part]}}}" if part in parameters else part for part in prefix.split("/")]
    return "/".join(parts) + str(route.path)
