"""The dashboard as a router that an application includes."""

import mimetypes
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, Depends, Response

from sidelane.app import Sidelane
from sidelane.model.json_text import dump_json
from sidelane.telemetry.events import StreamKind
from sidelane.web.dashboard.operators import Closed, OperatorDependency, Permission, by_role, checked_operator
from sidelane.web.dashboard.pages import queues
from sidelane.web.dashboard.site import HEADERS, Options, Site, View
from sidelane.web.sse import SseResponse, retry_field, sse_frame

ASSETS: Final = frozenset({"dashboard.css", "dashboard.js", "htmx.min.js", "uplot.min.js", "uplot.min.css"})

PAGES: Final = (queues,)
"""The modules of pages. `add_pages` of each adds its routes."""

ASSET_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=3600"}


def dashboard(
    lane: Sidelane,
    *,
    operator: OperatorDependency | None = None,
    may: Permission = by_role,
    mask: Iterable[str] | Callable[[Sequence[str]], bool] = (),
    title: str = "",
    trace_url: str | None = None,
) -> APIRouter:
    """Return the pages on which operators watch a lane and act:

        app.include_router(dashboard(lane, operator=current_operator), prefix="/ops")

    `operator` is the application's dependency that returns the current `Operator`, or None for a person who may not open the
    dashboard. Without it, the dashboard is closed. `may` decides which actions an operator may do, by default those of the role.
    `mask` names the fields of inputs and results that are hidden, or decides it by their path.
    """
    router = APIRouter()
    options = Options(title=title, may=may, mask=_mask_of(mask), trace_url=trace_url)
    site = Site(lane, router, _operator_dependency(operator), options)
    router.add_api_route("/static/{name}", _asset, methods=["GET"], include_in_schema=False)
    site.get("/live", _live)
    for pages in PAGES:
        pages.add_pages(site)
    return router


def _operator_dependency(operator: OperatorDependency | None) -> Callable[..., Any]:
    if operator is None:

        def closed() -> None:
            raise Closed

        return closed

    def current(found: Any = Depends(operator)) -> Any:
        return checked_operator(found)

    return current


def _mask_of(mask: Iterable[str] | Callable[[Sequence[str]], bool]) -> Callable[[Sequence[str]], bool]:
    if callable(mask):
        return mask
    names = frozenset(mask)
    return lambda path: path[-1] in names


async def _asset(name: str) -> Response:
    """Return a file of the dashboard."""
    if name not in ASSETS:
        return Response(status_code=404)
    content = files("sidelane.web.dashboard").joinpath("static", name).read_bytes()
    return Response(content, media_type=mimetypes.guess_type(name)[0], headers=ASSET_HEADERS)


async def _live(view: View) -> Response:
    """Send the names of what has changed, as long as a page is open."""

    async def frames() -> AsyncGenerator[str, None]:
        yield retry_field() + sse_frame("open", "{}")
        async for changed in view.site.feed.changes():
            yield sse_frame("changed", dump_json(sorted(changed)))

    streams = view.site.lane.services.api_process.streams
    return SseResponse(frames(), headers=dict(HEADERS), stream=streams.track(StreamKind.SSE))
