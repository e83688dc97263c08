"""Jobs: the routers and dependencies that an application includes to serve jobs over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response, WebSocket
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from sidelane.admin.findings.monitor import monitoring
from sidelane.app import Sidelane
from sidelane.client.client import Client
from sidelane.model.errors import ConfigurationError, LaneNotOpen, ResultNotReady, SidelaneError
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord
from sidelane.tasks.task import Task
from sidelane.web import openapi
from sidelane.web.access import Access
from sidelane.web.batches import BatchResponses, batch_router
from sidelane.web.checked_route import check_headers, checked_route
from sidelane.web.completion_routes import completion_router
from sidelane.web.documents import JobDocument
from sidelane.web.file_routes import file_router
from sidelane.web.health import health_router
from sidelane.web.job_responses import JobResponses, retry_after
from sidelane.web.openapi import Responses
from sidelane.web.origin import ANY, AllowedOrigins
from sidelane.web.presence import ListenerPresence
from sidelane.web.problems import SAVED_FILES, ProblemRoute
from sidelane.web.responder import Responder
from sidelane.web.scale import scale_router
from sidelane.web.sse import parse_cursor, stream_or_reconnect
from sidelane.web.websocket import reject_websocket, stream_events

UserDependency = Callable[..., str | Awaitable[str | None] | None]


class Jobs:
    """Serves a lane's jobs over HTTP.

        jobs = Jobs(lane, user=current_user_id)
        app.include_router(jobs.router, prefix="/jobs")
        app.include_router(jobs.batches, prefix="/batches")  # needed by `respond.many`
        app.include_router(jobs.files, prefix="/files")  # needed by signed URLs of files in a folder
        app.include_router(jobs.health, prefix="/health")  # for load balancers and orchestrators
        app.include_router(jobs.metrics)  # GET /metrics, for Prometheus
        app.include_router(jobs.scale)  # GET /scale, for KEDA
        uploads = APIRouter(route_class=jobs.route)  # checks user and headers before it reads a request's body

        @app.post("/chat", responses=jobs.responses(answer))
        async def chat(question: Question, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
            return await respond(answer.call(question))

    `user` is the application's dependency that returns the current user's id. Only its submitter can see a job. Without users, pass
    `user=None`. Then anyone who knows a job's id can see the job.

    With `guessable=True`, ids chosen by the application, and keys, give access to jobs and batches, as generated ids do. Other
    people may guess these ids and keys. So the default is True with users, because each job's user is checked, and False without
    users.

    `allowed_origins` are the origins of other sites whose pages may open WebSockets as the user that their cookies identify,
    e.g. `["https://app.example.com"]`. The service's own origin, links with a token, and clients that send no `Origin` are
    always allowed.
    """

    def __init__(
        self,
        lane: Sidelane,
        *,
        user: UserDependency | None,
        guessable: bool | None = None,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._lane = lane
        self._everyone = user is None
        self._guessable = not self._everyone if guessable is None else guessable
        self._user: UserDependency = user or _no_user
        # without users there are no cookies that a page of another site could use
        origins = AllowedOrigins([ANY] if self._everyone else allowed_origins)
        self._route_name = f"sidelane-job-{new_nonce()}"
        self._batch_route_name = f"sidelane-batch-{new_nonce()}"
        self._responses: JobResponses | None = None
        self.respond: Callable[..., AsyncIterator[Responder]] = self._respond_dependency()
        self._viewer = self._viewer_dependency()
        self.route: type[APIRoute] = checked_route(self._check_dependency())
        self.router = _job_router(self._route_name, lambda: self.job_responses, self._viewer, origins)
        self.router.lifespan_context = self._lifespan
        self.router.include_router(completion_router(lane))
        self.files = file_router(lambda: self._lane.files)
        self.health = health_router(lambda: self._lane.client.store)
        self.batches = batch_router(self._batch_route_name, lambda: self.batch_responses, self._viewer)

    @cached_property
    def metrics(self) -> APIRouter:
        """The route `/metrics` for Prometheus. Raises `MissingExtra` without the extra `metrics`."""
        from sidelane.web.metrics import metrics_router

        return metrics_router(self._lane)

    @cached_property
    def scale(self) -> APIRouter:
        """The route `/scale` for KEDA and other autoscalers."""
        return scale_router(self._lane)

    def responses(self, task: Task[..., Any, Any], *, many: bool = False) -> Responses:
        """Return the OpenAPI descriptions of every response that `respond`, or `respond.many`, may return for this task."""
        limits = [limit.declared for limit in task.policy.limits]
        if many:
            return openapi.batch_responses(limits)
        return openapi.job_responses(task.signature.result_type, self._lane.registry.rules, limits)

    @property
    def job_responses(self) -> JobResponses:
        """The responses of the open lane's jobs. Raises `LaneNotOpen`."""
        client: Client = self._lane.client
        if self._responses is None or self._responses.client is not client:
            access = Access(client, self._lane.registry, everyone=self._everyone, guessable=self._guessable)
            self._responses = JobResponses(
                client,
                access,
                ListenerPresence(client.store),
                self._lane.services.api_process.streams,
                self._route_name,
            )
        return self._responses

    @property
    def batch_responses(self) -> BatchResponses:
        """The responses of the open lane's batches. Raises `LaneNotOpen`."""
        return BatchResponses(self.job_responses, self._batch_route_name)

    @asynccontextmanager
    async def _lifespan(self, app: object) -> AsyncIterator[None]:
        """Report this process to the store, and evaluate findings, while the application runs, if its lane is open by then."""
        try:
            store = self._lane.client.store
        except LaneNotOpen:
            yield
            return
        async with self._lane.services.api_process.heartbeats(store), monitoring(store, self._lane.settings):
            yield

    def _viewer_dependency(self) -> Callable[..., str | None]:
        def viewer(user: Annotated[Any, Depends(self._user)]) -> str | None:
            return _checked_user(user)

        return viewer

    def _check_dependency(self) -> Callable[..., Awaitable[None]]:
        async def check(request: Request, user: Annotated[str | None, Depends(self._viewer)]) -> None:
            self.job_responses.access.check_may_submit(user)
            check_headers(request, user)

        return check

    def _respond_dependency(self) -> Callable[..., AsyncIterator[Responder]]:
        async def respond(
            request: Request,
            user: Annotated[Any, Depends(self._user)],
            prefer: Annotated[
                str | None, Header(description="`wait=10` waits up to 10 seconds for the result.")
            ] = None,
            idempotency_key: Annotated[
                str | None,
                Header(
                    description="1 to 255 characters. A repeat with the same key returns the job of the first request, as long as "
                    "the job is kept; with another payload it is a 422.",
                    json_schema_extra=openapi.IDEMPOTENCY_KEY_SCHEMA,
                ),
            ] = None,
            last_event_id: Annotated[
                str,
                Header(
                    description="Resumes a stream after this event, and submits nothing.",
                    json_schema_extra=openapi.CURSOR_SCHEMA,
                ),
            ] = "",
        ) -> AsyncIterator[Responder]:
            """Yield the request's responder, which reads the headers itself; the parameters document them in OpenAPI."""
            async with self._lane.files.remove_on_error() as saved:
                request.scope[SAVED_FILES] = saved
                try:
                    yield Responder(
                        request, lambda: self.batch_responses, lambda: _checked_user(user), saved, self._lane.telemetry
                    )
                except ClientDisconnect:  # during an upload: no error of this service, and nobody reads the answer
                    raise HTTPException(HTTPStatus.BAD_REQUEST) from None

        return respond


def _checked_user(user: object) -> str | None:
    """Return the user that the application's dependency returned. None and "" become None, which may see and submit no jobs.

    Raises `ConfigurationError` for any other type.
    """
    if user is None or isinstance(user, str):
        return user or None
    raise ConfigurationError(
        f"The user dependency of Jobs returned {user!r}: a user is a str, so let it return str(…)."
    )


def _no_user() -> None:
    return None


# --- routes -----------------------------------------------------------------------------------------------------------


def _job_router(
    name: str, responses: Callable[[], JobResponses], viewer: Callable[..., str | None], origins: AllowedOrigins
) -> APIRouter:
    """Return the router of jobs. `name` is the route that links point to; `viewer` is the dependency that returns the user."""
    router = APIRouter(route_class=ProblemRoute, tags=["jobs"], responses=openapi.problems(openapi.MALFORMED))
    Viewer = Annotated[str | None, Depends(viewer)]  # noqa: N806 - a type, made of this application's dependency

    @router.get("/current", responses=openapi.CURRENT_RESPONSES)
    async def current(request: Request, key: str, user: Viewer) -> JobDocument:
        """Get the current user's newest job with this key."""
        return await responses().document(request, await responses().access.current(key, user))

    @router.get("/{job_id}", name=name, responses=openapi.JOB_RESPONSES)
    async def status(request: Request, response: Response, job_id: str, user: Viewer) -> JobDocument:
        """Get the job's current state."""
        document = await responses().document(request, await responses().access.record(job_id, user))
        if not document.state.finished:
            response.headers["Retry-After"] = str(retry_after(document))
        return document

    @router.get("/{job_id}/result", responses=openapi.RESULT_RESPONSES)
    async def result(request: Request, job_id: str, user: Viewer) -> Response:
        """Get the result: 202 if the job has not finished, its problem if it failed."""
        record = await responses().access.record(job_id, user)
        try:
            return await responses().result(record)
        except ResultNotReady:
            return await responses().accepted(request, record)

    @router.post("/{job_id}/cancel", responses=openapi.JOB_RESPONSES)
    async def cancel(request: Request, job_id: str, user: Viewer) -> JobDocument:
        """Cancel the job: a queued job at once, a running job as soon as it stops."""
        await responses().access.record(job_id, user)
        return await responses().document(request, await responses().client.cancel(job_id))

    _add_event_streams(router, responses, viewer)
    _add_websockets(router, responses, viewer, origins)
    return router


def _add_event_streams(
    router: APIRouter, responses: Callable[[], JobResponses], viewer: Callable[..., str | None]
) -> None:
    Viewer = Annotated[str | None, Depends(viewer)]  # noqa: N806 - a type, made of this application's dependency
    last_event_id = Query(
        default="",
        description="The id of the last event received; the stream continues after it.",
        json_schema_extra=openapi.CURSOR_SCHEMA,
    )

    async def stream(
        request: Request, job_id: str, find: Callable[[], Awaitable[JobRecord]], after: str, events: str | None
    ) -> Response:
        cursor = parse_cursor(request.headers.get("last-event-id") or after, job_id)

        async def start() -> Response:
            position = cursor[1] if cursor else None
            return await responses().stream(request, await find(), position, named=events != "message")

        return await stream_or_reconnect(start())

    @router.get("/{job_id}/events", response_class=Response, responses=openapi.STREAM_RESPONSES)
    async def events(
        request: Request, job_id: str, user: Viewer, after: str = last_event_id, events: str | None = None
    ) -> Response:
        """Stream the job's events (text/event-stream). A WebSocket at the same path sends them as JSON messages."""

        async def find() -> JobRecord:
            return await responses().access.record(job_id, user)

        return await stream(request, job_id, find, after, events)

    @router.get("/{job_id}/events/{token}", response_class=Response, responses=openapi.STREAM_RESPONSES)
    async def events_by_token(
        request: Request, job_id: str, token: str, after: str = last_event_id, events: str | None = None
    ) -> Response:
        """Stream the events to clients that cannot send headers. `links.events` of the job holds the token."""

        async def find() -> JobRecord:
            await responses().access.check(job_id, token)
            return await responses().client.record(job_id)

        return await stream(request, job_id, find, after, events)


def _add_websockets(
    router: APIRouter,
    responses: Callable[[], JobResponses],
    viewer: Callable[..., str | None],
    origins: AllowedOrigins,
) -> None:
    Viewer = Annotated[str | None, Depends(viewer)]  # noqa: N806 - a type, made of this application's dependency

    async def stream(
        websocket: WebSocket, job_id: str, after: str | None, find: Callable[[], Awaitable[JobRecord]]
    ) -> None:
        try:
            cursor = parse_cursor(websocket.headers.get("last-event-id") or after, job_id)
            record = await find()
            snapshot = (await responses().document(websocket, record)).model_dump_json(by_alias=True)
        except SidelaneError as error:
            await reject_websocket(websocket, error)
            return
        await stream_events(
            websocket, responses().client.store, record, snapshot, after=cursor[1] if cursor else None,
            presence=responses().presence, streams=responses().streams, span=responses().stream_span(websocket, record),
        )  # fmt: skip

    @router.websocket("/{job_id}/events")
    async def events(websocket: WebSocket, job_id: str, user: Viewer, after: str | None = None) -> None:
        async def find() -> JobRecord:
            origins.check(websocket.headers)
            return await responses().access.record(job_id, user)

        await stream(websocket, job_id, after, find)

    @router.websocket("/{job_id}/events/{token}")
    async def events_by_token(websocket: WebSocket, job_id: str, token: str, after: str | None = None) -> None:
        async def find() -> JobRecord:
            await responses().access.check(job_id, token)
            return await responses().client.record(job_id)

        await stream(websocket, job_id, after, find)
