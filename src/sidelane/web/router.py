"""Jobs over HTTP: the routes clients follow, and the responder that submits from the user's own endpoints."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response, WebSocket
from fastapi.routing import APIRoute

from sidelane.app import Sidelane
from sidelane.client.client import Client
from sidelane.model import job
from sidelane.model.errors import ConfigurationError, ResultNotReady, SidelaneError
from sidelane.model.ids import new_nonce
from sidelane.tasks.task import Task
from sidelane.web import openapi, websocket_stream
from sidelane.web.access import Access
from sidelane.web.batch_routes import batch_routes
from sidelane.web.batch_views import BatchViews
from sidelane.web.checked_route import check_headers, checked_route
from sidelane.web.completion_routes import completion_routes
from sidelane.web.cursor import parse_cursor
from sidelane.web.file_routes import file_routes
from sidelane.web.job_views import JobViews, retry_after
from sidelane.web.openapi import Responses
from sidelane.web.presence import ListenerPresence
from sidelane.web.problems import SAVED, ProblemRoute
from sidelane.web.responder import Responder
from sidelane.web.schemas import JobDocument

UserDependency = Callable[..., str | Awaitable[str | None] | None]


class Jobs:
    """The HTTP half of a lane.

        jobs = Jobs(lane, user=current_user_id)
        app.include_router(jobs.router, prefix="/jobs")
        app.include_router(jobs.batches, prefix="/batches")  # where `respond.many` is used
        app.include_router(jobs.files, prefix="/files")  # where files lie in a folder, and links to them are used
        uploads = APIRouter(route_class=jobs.route)  # user and headers are checked before the body of a request is read

        @app.post("/chat", responses=jobs.responses(answer))
        async def chat(question: Question, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
            return await respond(answer.call(question))

    `user` is the application's own dependency that gives the id of whoever asks; a job is seen by its submitter alone. With
    `user=None`, written out, the id alone opens a job. `guessable` says whether what can be guessed opens jobs and batches too: a
    key, and an id that the application chose. It does where there are users, and does not without them, unless this says so.
    """

    def __init__(self, lane: Sidelane, *, user: UserDependency | None, guessable: bool | None = None) -> None:
        self._lane = lane
        self._everyone = user is None
        self._guessable = not self._everyone if guessable is None else guessable
        self._user: UserDependency = user or _nobody
        self._name = f"sidelane-job-{new_nonce()}"
        self._batch_name = f"sidelane-batch-{new_nonce()}"
        self._desk: JobViews | None = None
        self.respond: Callable[..., AsyncIterator[Responder]] = self._responding()
        self._viewer = self._viewing()
        self.route: type[APIRoute] = checked_route(self._checking())
        self.router = self._routes()
        self.files = file_routes(lambda: self._lane.files)
        self.batches = batch_routes(self._batch_name, lambda: self.batch_desk, self._viewer)

    def responses(self, task: Task[..., Any, Any], *, many: bool = False) -> Responses:
        """Describe for OpenAPI every answer that `respond`, or `respond.many`, may give for this task."""
        limits = [counted.declared for counted in task.policy.limits]
        if many:
            return openapi.responding_many(limits)
        return openapi.responding(task.signature.result_type, self._lane.registry.rules, limits)

    @property
    def desk(self) -> JobViews:
        """What shows jobs of the open lane. Raises `NotOpen`."""
        client: Client = self._lane.client
        if self._desk is None or self._desk.client is not client:
            access = Access(client, self._lane.registry, everyone=self._everyone, guessable=self._guessable)
            self._desk = JobViews(client, access, ListenerPresence(client.store), self._name)
        return self._desk

    @property
    def batch_desk(self) -> BatchViews:
        """What shows batches of the open lane. Raises `NotOpen`."""
        return BatchViews(self.desk, self._batch_name)

    def _viewing(self) -> Callable[..., str | None]:
        def viewer(user: Annotated[Any, Depends(self._user)]) -> str | None:
            return self._checked(user)

        return viewer

    def _checking(self) -> Callable[..., Awaitable[None]]:
        async def check(request: Request, user: Annotated[str | None, Depends(self._viewer)]) -> None:
            self.desk.access.check_may_submit(user)
            check_headers(request, user)

        return check

    def _responding(self) -> Callable[..., AsyncIterator[Responder]]:
        async def respond(
            request: Request,
            user: Annotated[Any, Depends(self._user)],
            prefer: Annotated[str | None, Header(description="`wait=10` waits so many seconds for the result.")] = None,
            idempotency_key: Annotated[
                str | None,
                Header(
                    description="Sending the same key again, for as long as the job is kept, gets the job that the first request "
                    "made; with another payload 422. 1 to 255 characters."
                ),
            ] = None,
            last_event_id: Annotated[
                str | None, Header(description="Goes on with a stream after this event, and submits nothing.")
            ] = None,
        ) -> AsyncIterator[Responder]:
            """Read by the responder itself, the headers stand here for OpenAPI's sake."""
            async with self._lane.files.remove_on_error() as saved:
                request.scope[SAVED] = saved
                yield Responder(request, lambda: self.batch_desk, lambda: self._checked(user), saved)

        return respond

    def _checked(self, user: object) -> str | None:
        """Check what the application's dependency gave; None and an empty text are nobody, who sees nothing.

        Raises `ConfigurationError`.
        """
        if user is None or isinstance(user, str):
            return user or None
        raise ConfigurationError(f"The user dependency of Jobs gave {user!r}: a user is a text, so let it give str(…).")

    def _routes(self) -> APIRouter:
        router = APIRouter(route_class=ProblemRoute, tags=["jobs"], responses=openapi.problems(openapi.MALFORMED))

        Viewer = Annotated[str | None, Depends(self._viewer)]  # noqa: N806 - a type, made of this application's dependency
        last_event_id = Query(default=None, description="Where to go on: the id of the last event seen.")

        @router.get("/current", responses=openapi.CURRENT)
        async def current(request: Request, key: str, user: Viewer) -> JobDocument:
            """The newest of one's own jobs that was submitted with this key."""
            return await self.desk.document(request, await self.desk.access.current(key, user))

        @router.get("/{job_id}", name=self._name, responses=openapi.JOB_RESPONSES)
        async def status(request: Request, response: Response, job_id: str, user: Viewer) -> JobDocument:
            """The job as it stands."""
            document = await self.desk.document(request, await self.desk.access.record(job_id, user))
            if not document.state.finished:
                response.headers["Retry-After"] = str(retry_after(document))
            return document

        @router.get(
            "/{job_id}/result",
            responses=openapi.RESULT,
        )
        async def result(request: Request, job_id: str, user: Viewer) -> Response:
            """The result; 202 while there is none yet; the problem where the job failed."""
            record = await self.desk.access.record(job_id, user)
            try:
                return await self.desk.result(record)
            except ResultNotReady:
                return await self.desk.accepted(request, record)

        @router.get("/{job_id}/events", response_class=Response, responses=openapi.STREAM)
        async def events(
            request: Request, job_id: str, user: Viewer, after: str | None = last_event_id, events: str | None = None
        ) -> Response:
            """The job's events as they come (text/event-stream)."""
            record = await self.desk.access.record(job_id, user)
            return await self._stream(request, record, after, events)

        @router.get("/{job_id}/events/{token}", response_class=Response, responses=openapi.STREAM)
        async def events_by_token(
            request: Request, job_id: str, token: str, after: str | None = last_event_id, events: str | None = None
        ) -> Response:
            """The same for clients that cannot send headers: the job's links hold the token."""
            await self.desk.access.check(job_id, token)
            return await self._stream(request, await self.desk.client.record(job_id), after, events)

        @router.websocket("/{job_id}/events")
        async def socket(websocket: WebSocket, job_id: str, user: Viewer, after: str | None = None) -> None:
            await self._serve(websocket, job_id, after, lambda: self.desk.access.record(job_id, user))

        @router.websocket("/{job_id}/events/{token}")
        async def socket_by_token(websocket: WebSocket, job_id: str, token: str, after: str | None = None) -> None:
            async def record() -> job.JobRecord:
                await self.desk.access.check(job_id, token)
                return await self.desk.client.record(job_id)

            await self._serve(websocket, job_id, after, record)

        @router.post("/{job_id}/cancel", responses=openapi.JOB_RESPONSES)
        async def cancel(request: Request, job_id: str, user: Viewer) -> JobDocument:
            """Cancel the job: at once while it is queued, as soon as it stops while it runs."""
            await self.desk.access.record(job_id, user)
            return await self.desk.document(request, await self.desk.client.cancel(job_id))

        router.include_router(completion_routes(self._lane))
        return router

    async def _stream(self, request: Request, record: job.JobRecord, after: str | None, events: str | None) -> Response:
        place = parse_cursor(request.headers.get("last-event-id") or after, record.id)
        return await self.desk.stream(request, record, place[1] if place else None, named=events != "message")

    async def _serve(
        self, websocket: WebSocket, job_id: str, after: str | None, find: Callable[[], Awaitable[job.JobRecord]]
    ) -> None:
        try:
            place = parse_cursor(websocket.headers.get("last-event-id") or after, job_id)
            record = await find()
            snapshot = (await self.desk.document(websocket, record)).model_dump_json(by_alias=True)
        except SidelaneError as error:
            await websocket_stream.reject(websocket, error)
            return
        await websocket_stream.stream_events(
            websocket, self.desk.client.store, record, snapshot, after=place[1] if place else None,
            listening=self.desk.listening,
        )  # fmt: skip


def _nobody() -> None:
    return None
