"""Routes of an application, as a proxy in front of it must know them: which submit jobs, and which stream events."""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import fastapi.routing
from fastapi.params import File

from sidelane.web.responder import Responder

RouteKind = Literal["job", "events", "health", "metrics", "scale", "file", "other"]
"""What a route does: submit jobs by `respond`, stream events, answer health checks, give figures to monitoring, transfer files, or
anything else.
"""

EVENT_ENDPOINTS = frozenset({"events", "events_by_token"})
"""Names of the endpoints that stream events, in the routers of jobs and batches."""

CONVERTERS = {"int": "[0-9]+", "float": "[0-9]+([.][0-9]+)?", "uuid": "[0-9a-fA-F-]+", "path": ".*"}
"""Regular expressions of Starlette's converters of path parameters."""

_iter_routes: Callable[[Sequence[Any]], Iterator[Any]] = getattr(fastapi.routing, "iter_route_contexts", iter)
"""Yields routes with their whole paths. An older FastAPI copies the routes of an included router into the application."""

_PARAMETER = re.compile(r"{[a-zA-Z_]\w*(?::([a-zA-Z_]\w*))?}")
_SPECIAL = frozenset(".*+?()|$")


@dataclass(frozen=True, slots=True)
class AppRoute:
    """One route of an application.

    A WebSocket has the method GET. `sample` is a path that the route serves. `uploads` tells whether it takes files.
    """

    path: str
    methods: frozenset[str]
    kind: RouteKind
    endpoint: Callable[..., Any]
    uploads: bool

    @property
    def pattern(self) -> str:
        """A regular expression for the whole path, for Python and PCRE. It contains few backslashes."""
        return f"^{self._replace(lambda converter: CONVERTERS.get(converter, '[^/]+'), _escape)}$"

    @property
    def sample(self) -> str:
        return self._replace(lambda converter: "0" if converter in {"int", "float"} else "a", str)

    def _replace(self, parameter: Callable[[str], str], literal: Callable[[str], str]) -> str:
        parts, end = [], 0
        for match in _PARAMETER.finditer(self.path):
            parts += [literal(self.path[end : match.start()]), parameter(match[1] or "str")]
            end = match.end()
        return "".join([*parts, literal(self.path[end:])])


def routes_of(application: Any) -> list[AppRoute]:
    """Return the routes of an application in their order, with those of mounted applications. Other ASGI applications have none."""
    return list(_routes(getattr(application, "routes", ()), ""))


def _routes(routes: Sequence[Any], prefix: str) -> Iterator[AppRoute]:
    for route in _iter_routes(routes):
        if getattr(route, "path", None) is None:
            continue
        path, endpoint = prefix + route.path, getattr(route, "endpoint", None)
        if endpoint is None:
            mounted: Any = getattr(route, "app", None)
            yield from _routes(getattr(mounted, "routes", ()), path)
            continue
        dependant = getattr(route, "dependant", None)
        methods = frozenset(getattr(route, "methods", None) or {"GET"})
        yield AppRoute(path, methods, _kind(endpoint, dependant), endpoint, _takes_files(endpoint, dependant))


def _kind(endpoint: Callable[..., Any], dependant: Any) -> RouteKind:
    module, name = getattr(endpoint, "__module__", ""), getattr(endpoint, "__name__", "")
    if module in {"sidelane.web.router", "sidelane.web.batches"} and name in EVENT_ENDPOINTS:
        return "events"
    if module == "sidelane.web.health":
        return "health"
    if module == "sidelane.web.metrics":
        return "metrics"
    if module == "sidelane.web.scale":
        return "scale"
    if module == "sidelane.web.file_routes":
        return "file"
    return "job" if any(_is_respond(each.call) for each in _dependants(dependant)) else "other"


def _dependants(dependant: Any) -> Iterator[Any]:
    """Yield a dependant and all dependencies below it."""
    if dependant is not None:
        yield dependant
        for inner in dependant.dependencies:
            yield from _dependants(inner)


def _is_respond(call: Any) -> bool:
    """Return whether a dependency is the `respond` of a `Jobs`, known by what it yields."""
    return (
        call is not None
        and getattr(inspect.unwrap(call), "__annotations__", {}).get("return") == AsyncIterator[Responder]
    )


def _takes_files(endpoint: Callable[..., Any], dependant: Any) -> bool:
    if getattr(endpoint, "__module__", "") == "sidelane.web.file_routes":
        return endpoint.__name__ == "upload"
    fields = [field for each in _dependants(dependant) for field in each.body_params]
    return any(isinstance(field.field_info, File) for field in fields)


def _escape(text: str) -> str:
    return "".join(f"[{char}]" if char in _SPECIAL else f"\\{char}" if char in "^[\\" else char for char in text)
