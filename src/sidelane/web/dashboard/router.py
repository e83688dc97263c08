"""The dashboard as a router that an application includes."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response

from sidelane.app import Sidelane
from sidelane.model.errors import StoreError
from sidelane.model.json_text import dump_json
from sidelane.telemetry.events import StreamKind
from sidelane.web.dashboard.assets import serve_asset
from sidelane.web.dashboard.operators import OperatorDependency, Permission, Role, by_role
from sidelane.web.dashboard.pages import (
    attention,
    audit,
    batches,
    bulk,
    callbacks,
    dead,
    job,
    job_forms,
    jobs,
    limits,
    messages,
    queues,
    schedules,
    tasks,
    workers,
)
from sidelane.web.dashboard.rendering import LANGUAGES, compile_templates
from sidelane.web.dashboard.sessions import Sessions, page_after_sign_in
from sidelane.web.dashboard.site import (
    HEADERS,
    LANGUAGE_COOKIE,
    THEME_COOKIE,
    THEMES,
    Options,
    Site,
    View,
    away_page,
    bare_page,
)
from sidelane.web.sse import SseResponse, retry_field, sse_frame

PAGES: Final = (
    attention, queues, jobs, job_forms, job, tasks, workers, schedules, dead, limits, batches, callbacks, messages,
    bulk, audit,
)  # fmt: skip
"""The modules of pages. `add_pages` of each adds its routes. Those of forms precede that of a job, whose path fits theirs too."""

YEAR: Final = 365 * 86_400


def dashboard(
    lane: Sidelane,
    *,
    operator: OperatorDependency | None = None,
    password: str | None = None,
    viewer_password: str | None = None,
    may: Permission = by_role,
    mask: Iterable[str] | Callable[[Sequence[str]], bool] = (),
    title: str = "",
    trace_url: str | None = None,
) -> APIRouter:
    """Return the pages on which operators watch a lane and act:

        app.include_router(dashboard(lane, operator=current_operator), prefix="/ops")

    `operator` is the application's dependency that returns the current `Operator`, or None for a person who may not open the
    dashboard. Without it, people sign in with `password`, or with `viewer_password` to see only. Without any of these, the
    dashboard is closed. `may` decides which actions an operator may do, by default those of the role.
    `mask` names the fields of inputs and results that are hidden, or decides it by their path. Raises `ConfigurationError`.
    """
    compile_templates()
    router = APIRouter()
    options = Options(title=title, may=may, mask=_mask_of(mask), trace_url=trace_url)
    passwords = {Role.OPERATOR: password, Role.VIEWER: viewer_password}
    known = {role: text for role, text in passwords.items() if text is not None}
    sessions = Sessions(known) if known and operator is None else None
    site = Site(lane, router, operator=operator, sessions=sessions, options=options)
    if sessions is not None:
        _add_sign_in(router, site, sessions)
    router.add_api_route("/static/{name}", serve_asset, methods=["GET"], include_in_schema=False)
    site.get("/live", _live)
    site.post("/preferences", _set_preferences, action=None)
    for pages in PAGES:
        pages.add_pages(site)
    return router


def _mask_of(mask: Iterable[str] | Callable[[Sequence[str]], bool]) -> Callable[[Sequence[str]], bool]:
    if callable(mask):
        return mask
    names = frozenset(mask)
    return lambda path: path[-1] in names


def _add_sign_in(router: APIRouter, site: Site, sessions: Sessions) -> None:
    @router.get("/sign-in", include_in_schema=False)
    async def sign_in_page(request: Request) -> Response:
        return bare_page(request, "sign_in.html", HTTPStatus.OK, base="./", wrong=False)

    @router.post("/sign-in", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        try:
            done = await sessions.sign_in(request, site.lane.client, page_after_sign_in(request))
        except StoreError:
            return away_page(request, "./")
        return done or bare_page(request, "sign_in.html", HTTPStatus.FORBIDDEN, base="./", wrong=True)

    @router.post("/sign-out", include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        return sessions.sign_out(request, "./")


async def _live(view: View) -> Response:
    """Send the names of what has changed, as long as a page is open."""

    async def frames() -> AsyncGenerator[str, None]:
        yield retry_field() + sse_frame("open", "{}")
        async for changed in view.site.feed.changes():
            yield sse_frame("changed", dump_json(sorted(changed)))

    streams = view.site.lane.services.api_process.streams
    return SseResponse(frames(), headers=dict(HEADERS), stream=streams.track(StreamKind.SSE))


async def _set_preferences(view: View) -> Response:
    """Keep the theme and the language that a reader has chosen, in cookies."""
    response = view.done("")
    for cookie, name, known in ((THEME_COOKIE, "theme", THEMES), (LANGUAGE_COOKIE, "language", LANGUAGES)):
        if (chosen := str((await view.form()).get(name, ""))) in known:
            response.set_cookie(cookie, chosen, max_age=YEAR, samesite="strict")
    return response
