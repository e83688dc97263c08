"""Site: what all pages of one dashboard share, and the view of one request."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.audit import AuditLine, record
from sidelane.admin.findings.finding import Severity
from sidelane.admin.shared_reads import SharedReads
from sidelane.app import Sidelane
from sidelane.client.client import Client
from sidelane.model.errors import SidelaneError, StoreError
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.signing import is_signature, sign
from sidelane.stores.contract import Store
from sidelane.web.dashboard.feed import Feed
from sidelane.web.dashboard.operators import ForeignRequest, NotAllowed, Operator, OperatorDependency, Permission
from sidelane.web.dashboard.rendering import LANGUAGES, chosen_language, render, translate
from sidelane.web.dashboard.sessions import Sessions

logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

AWAY_REFRESH: Final = 5
"""Seconds after which the page of a store that is away is requested again, by a browser that is not signed in."""

TOKEN_HOURS: Final = 12
"""Hours after which the forms of a page that stayed open are refused."""

DONE_COOKIE: Final = "sidelane_done"
LANGUAGE_COOKIE: Final = "sidelane_language"
THEME_COOKIE: Final = "sidelane_theme"

THEMES: Final = ("light", "dark")

MAX_TARGET: Final = 400
"""Characters of the name of an object that a form sends."""

MAX_DONE: Final = 300
"""Characters of the message that follows an action."""

NAVIGATION: Final = (
    ("attention", "", "Attention"),
    ("queues", "queues", "Queues"),
    ("jobs", "jobs", "Jobs"),
    ("tasks", "tasks", "Tasks"),
    ("workers", "workers", "Workers"),
    ("schedules", "schedules", "Schedules"),
    ("dead", "dead", "Dead letters"),
    ("limits", "limits", "Limits"),
    ("users", "users", "Users"),
    ("batches", "batches", "Batches"),
    ("callbacks", "callbacks", "Callbacks"),
    ("messages", "messages", "Messages"),
    ("audit", "audit", "Audit"),
)
"""Pages by name, with their paths and titles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an application wants its dashboard: its title, who may do what, what is masked, and links of traces.

    `may` decides about actions. `mask` takes a path of names in an input or a result and returns whether its value is hidden.
    `trace_url` has `{trace_id}`, e.g. "https://langfuse.example.com/trace/{trace_id}".
    """

    title: str
    may: Permission
    mask: Callable[[Sequence[str]], bool]
    trace_url: str | None


class Site:
    """The pages of one dashboard, and what they share."""

    def __init__(
        self,
        lane: Sidelane,
        router: APIRouter,
        *,
        operator: OperatorDependency | None,
        sessions: Sessions | None,
        options: Options,
    ) -> None:
        self.lane = lane
        self.options = options
        self.sessions = sessions
        self.configured = operator is not None or sessions is not None
        self._router = router
        self._operator = operator or self._signed_in
        self._shared: tuple[Store, SharedReads, Feed] | None = None

    def get(self, path: str, page: "Handler") -> None:
        """Add a page."""
        self._add("GET", path, page)

    def post(self, path: str, act: "Handler", *, action: str | None, target: str = "") -> None:
        """Add an action, e.g. "queue.pause". Its requests must come from pages of this dashboard, and from who may do it.

        Each request leaves an audit line. None is for what concerns only the reader. `target` is the field of the form that names
        the object, if the path does not.
        """
        self._add("POST", path, act, action, target)

    @property
    def reads(self) -> SharedReads:
        """The shared reads of the open store. Raises `LaneNotOpen`."""
        return self._of_store()[1]

    @property
    def feed(self) -> Feed:
        """The feed of the open store. Raises `LaneNotOpen`."""
        return self._of_store()[2]

    async def closed(self, request: Request, base: str) -> Response:
        """Answer a person who may not open the dashboard: with the sign-in page, or with how to open the dashboard."""
        if self.sessions is not None and not await self.sessions.can_check(self.lane.client):
            return away_page(request, base)
        if self.sessions is not None and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            requested = _requested_page(request, base)
            query = f"?{urlencode({'next': requested})}" if requested else ""
            return RedirectResponse(f"{base}sign-in{query}", HTTPStatus.SEE_OTHER)
        signed_out = self.sessions is not None and request.method == "POST"
        return bare_page(
            request, "closed.html", HTTPStatus.FORBIDDEN, base=base, configured=self.configured, signed_out=signed_out
        )  # fmt: skip

    def _of_store(self) -> tuple[Store, SharedReads, Feed]:
        store = self.lane.client.store
        if self._shared is None or self._shared[0] is not store:  # the lane was opened again
            reads = SharedReads(store)
            self._shared = store, reads, Feed(reads)
        return self._shared

    async def _signed_in(self, request: Request) -> Operator | None:
        return None if self.sessions is None else await self.sessions.operator(request, self.lane.client)

    def _add(self, method: str, path: str, handler: "Handler", action: str | None = None, target: str = "") -> None:
        base = "../" * (path.count("/") - 1) or "./"

        async def endpoint(request: Request, operator: Any = Depends(self._operator)) -> Response:
            if operator is None:
                return await self.closed(request, base)
            if not isinstance(operator, Operator):
                raise TypeError(
                    f"The dashboard's `operator` returned {type(operator).__name__}, not an Operator or None."
                )
            view = View(self, request, operator, base=base)
            try:
                if method == "POST":
                    await view.check(action, target)
            except SidelaneError as error:
                return await view.error(error)
            try:
                response = await handler(view)
            except SidelaneError as error:
                view.failed(error)
                response = await view.error(error)
            if method == "POST":
                view.reads.forget()
            if action is not None:
                await view.keep_audit_line(action)
            return response

        self._router.add_api_route(path, endpoint, methods=[method], name=action, include_in_schema=False)


class View:
    """One request: who sends it, and the page that it gets. `base` is the relative URL of the front page.

    `target` names the object of an action: a part of the path, or else the field `target` of its form.
    """

    def __init__(self, site: Site, request: Request, operator: Operator, *, base: str) -> None:
        self.site = site
        self.request = request
        self.operator = operator
        self.base = base
        self.target = next(iter(request.path_params.values()), "")
        self.outcome = ""  # of the action, for the audit
        self.has_failed = False
        self._form: FormData | None = None

    @property
    def client(self) -> Client:
        return self.site.lane.client

    @property
    def store(self) -> Store:
        return self.client.store

    @property
    def reads(self) -> SharedReads:
        return self.site.reads

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the URL."""
        return self.request.query_params

    @cached_property
    def language(self) -> str:
        """The language that the reader has chosen, or that the browser prefers."""
        return language_of(self.request)

    def path(self, name: str) -> str:
        """Return a part of the path, e.g. the name of a queue."""
        found: str = self.request.path_params[name]
        return found

    async def form(self) -> FormData:
        """Return the fields of the form that was sent."""
        if self._form is None:
            self._form = await self.request.form(max_files=0, max_fields=1000)
        return self._form

    def say(self, text: str | Sentence, /, **values: object) -> str:
        """Return a text in the reader's language."""
        return translate(self.language, text, **values)

    def may(self, action: str, target: str = "") -> bool:
        """Return whether the operator may do an action to an object."""
        return self.site.options.may(self.operator, action, target)

    async def check(self, action: str | None, target: str) -> None:
        """Raise `ForeignRequest` unless a page of this dashboard sent the request, and `NotAllowed`.

        `target` is the field of the form that names the object, if the path does not.
        """
        if target:
            self.target = str((await self.form()).get(target, ""))[:MAX_TARGET]
        token = str((await self.form()).get("token", ""))
        site = self.request.headers.get("sec-fetch-site", "same-origin")
        if site != "same-origin" or not await self._is_token(token):
            raise ForeignRequest
        self.target = self.target or str((await self.form()).get("target", ""))
        if action is not None:
            self.require(action, self.target)

    def require(self, action: str, target: str = "") -> None:
        """Raise `NotAllowed` unless the operator may do an action to an object."""
        if not self.may(action, target):
            raise NotAllowed(
                sentence("{name} may not do that here ({action}).", name=self.operator.name, action=action)
            )

    async def keep_audit_line(self, action: str) -> None:
        """Keep who did what to which object, why and with which result."""
        line = AuditLine(
            by=self.operator.name, action=action, target=self.target, reason=str((await self.form()).get("reason", "")),
            result=self.outcome, failed=self.has_failed,
        )  # fmt: skip
        try:
            await record(self.store, line)
        except StoreError as error:  # what was done stays done
            logger.error("an audit line could not be kept (%s): %s", error, line)

    async def page(self, template: str, status: int = HTTPStatus.OK, **values: Any) -> Response:
        """Return a page."""
        done = unquote(self.request.cookies.get(DONE_COOKIE, ""))
        shared = {
            "base": self.base, "operator": self.operator, "title": self.site.options.title, "navigation": NAVIGATION,
            "token": await self._token(), "may": self.may, "now": time.time(), "done": done, "url": self.request.url,
            "urgent": await self._urgent(), "theme": theme_of(self.request), "sessions": self.site.sessions is not None,
        }  # fmt: skip
        response = HTMLResponse(render(template, self.language, {**shared, **values}), status, headers=dict(HEADERS))
        if done:
            response.delete_cookie(DONE_COOKIE)
        return response

    async def error(self, error: SidelaneError) -> Response:
        """Return the page of an error. A page of an unavailable store reloads itself when the store is back."""
        problem = error.problem()
        return await self.page(
            "error.html", problem.status, heading=problem.document()["title"], detail=error.sentence or problem.detail,
            away=isinstance(error, StoreError), current="",
        )  # fmt: skip

    def failed(self, error: SidelaneError) -> None:
        """Keep for the audit why the action was not done."""
        self.outcome, self.has_failed = str(error), True

    def result(self, result: ActionResult, *, to: str = "") -> Response:
        """Return from an action on one object, as `done` does, and show its result."""
        self.has_failed = result.status is not Status.DONE
        response = self.done(sentence("{name}: {message}", name=result.name, message=result.message), to=to)
        self.outcome = str(result.message)
        return response

    def done(self, message: Sentence | str, *, to: str = "") -> Response:
        """Return to the page from which an action was sent, or to the page `to`, which then shows a message."""
        self.outcome, text = str(message), self.say(message)
        came_from = urlsplit(self.request.headers.get("referer", ""))
        local = came_from.netloc == self.request.url.netloc
        target = came_from.path + (f"?{came_from.query}" if came_from.query else "") if local else self.base
        response = RedirectResponse(to or target, HTTPStatus.SEE_OTHER)
        if text:
            response.set_cookie(DONE_COOKIE, quote(text[:MAX_DONE]), max_age=30, httponly=True, samesite="strict")
        return response

    async def _urgent(self) -> int:
        """Return how many findings the navigation shows, or 0 while the store is away."""
        try:
            return sum(
                each.muted_until is None and each.severity != Severity.INFO for each in await self.reads.findings()
            )
        except SidelaneError:
            return 0

    async def _token(self) -> str:
        hour = int(time.time() // 3600)
        try:
            return f"{hour:x}.{sign(await self._key(), f'{self.operator.name}:{hour:x}')}"
        except SidelaneError:
            return ""

    async def _is_token(self, token: str) -> bool:
        text, _, signature = token[:100].partition(".")
        try:
            age = int(time.time() // 3600) - int(text, 16)
        except ValueError:
            return False
        signed = is_signature(await self._key(), f"{self.operator.name}:{text}", signature)
        return signed and 0 <= age < TOKEN_HOURS

    async def _key(self) -> bytes:
        return await self.client.key("dashboard forms")


def language_of(request: Request) -> str:
    """Return the language that the reader has chosen, or that the browser prefers."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else chosen_language(request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    """Return the theme that the reader has chosen, or "" for that of the system."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def _requested_page(request: Request, base: str) -> str:
    """Return the page that a request is for, as a URL below that of the dashboard."""
    parts = request.scope.get("raw_path", b"").decode(errors="replace").split("/")
    path = "/".join(parts[-1 - base.count("../") :])
    return f"{path}?{request.url.query}" if request.url.query else path


def away_page(request: Request, base: str) -> Response:
    """Return a page for people whose session cannot be checked, because the store is away. It reloads itself."""
    page = bare_page(request, "away.html", HTTPStatus.SERVICE_UNAVAILABLE, base=base)
    page.headers["Refresh"] = str(AWAY_REFRESH)
    return page


def bare_page(request: Request, template: str, status: int, **values: Any) -> Response:
    """Return a page for people who are not signed in."""
    values |= {"theme": theme_of(request)}
    return HTMLResponse(render(template, language_of(request), values), status, headers=dict(HEADERS))


Handler = Callable[[View], Awaitable[Response]]
"""Answers a request with a page, or does what it asks for."""
