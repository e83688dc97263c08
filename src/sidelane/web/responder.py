"""Answering a request with a job: 202 with links, the event stream itself, or the result where the client waits for it."""

import re
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound

from sidelane.engine.client import Client
from sidelane.engine.task import Call
from sidelane.model.errors import ConfigurationError, NotFinished, SidelaneError, UnknownJob
from sidelane.model.event import Cursor
from sidelane.model.job import JobRecord, State
from sidelane.web.access import Access
from sidelane.web.connection import while_connected
from sidelane.web.documents import JobDocument, Links, job_document
from sidelane.web.idempotency import HEADER, check_same, keyed
from sidelane.web.listening import Listening
from sidelane.web.negotiation import JSON, wishes
from sidelane.web.problems import error_response
from sidelane.web.streams import EventStream, frames

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

VARY = {"Vary": "Accept, Prefer"}

SOON, LATER, PER_POSITION = 1, 30, 10
"""Retry-After: seconds at least and at most, and how many jobs in front make one more."""


class MalformedCursor(SidelaneError):
    """Last-Event-ID is not the id of an event of this job."""

    status = 400


def cursor(text: str | None, job_id: str | None = None) -> tuple[str, Cursor] | None:
    """Read a Last-Event-ID; empty is none. Raises `MalformedCursor`, also where it is of another job than `job_id`."""
    if not text:
        return None
    try:
        of, place = Cursor.parse(text)
    except ValueError as error:
        raise MalformedCursor(f"Last-Event-ID {text[:80]!r} is not the id of an event.") from error
    if job_id is not None and of != job_id:
        raise MalformedCursor(f"Last-Event-ID {text[:80]!r} is of another job.")
    return of, place


class Desk:
    """Shows jobs to clients: documents with links, streams, results."""

    def __init__(self, client: Client, access: Access, listening: Listening, name: str) -> None:
        self.client = client
        self.access = access
        self.listening = listening
        self._name = name

    def path(self, connection: HTTPConnection, job_id: str) -> str:
        """Say where a job's document is. Raises `ConfigurationError` where the application has not included the router."""
        root: str = connection.scope.get("root_path", "").rstrip("/")
        try:
            return root + str(connection.app.url_path_for(self._name, job_id=job_id))
        except NoMatchFound as error:
            raise ConfigurationError(
                'Jobs have no routes here: app.include_router(jobs.router, prefix="/jobs").'
            ) from error

    async def links(self, connection: HTTPConnection, record: JobRecord) -> Links:
        """Say where a job's documents are, as paths from this host's root."""
        here = self.path(connection, record.id)
        token = await self.access.token(record)
        return Links(
            self_=here,
            events=f"{here}/events" + (f"/{token}" if token else ""),
            result=f"{here}/result",
            cancel=None if record.state.finished else f"{here}/cancel",
        )

    async def document(self, connection: HTTPConnection, record: JobRecord) -> JobDocument:
        """Show a job."""
        links = await self.links(connection, record)
        if record.state is not State.QUEUED:
            return job_document(record, links)
        position = await self.client.store.position(record.id)
        return job_document(record, links, position=position, served=await self.client.served(record.spec))

    async def accepted(self, request: Request, record: JobRecord, applied: str | None = None) -> Response:
        """Answer 202: the job is safe, and this is where to look (RFC 9110, 15.3.3)."""
        document = await self.document(request, record)
        headers = {**VARY, "Location": document.links.self_, "Retry-After": str(retry_after(document))}
        if applied:
            headers["Preference-Applied"] = applied
        return Response(document.model_dump_json(by_alias=True), 202, headers, JSON)

    async def stream(
        self, connection: HTTPConnection, record: JobRecord, after: Cursor | None, *, named: bool = True
    ) -> Response:
        """Answer with the event stream; 204 to a cursor at the end, which is what stops an EventSource."""
        if after is not None:
            reading = await self.client.store.read(record.id, after=after, limit=1)
            if reading is None:
                raise UnknownJob(f"There is no job {record.id!r}.")
            if reading.ended and not reading.gap and not reading.events:
                return Response(status_code=204)
        document = await self.document(connection, record)
        snapshot = document.model_dump_json(by_alias=True)
        written = frames(
            self.client.store, record, snapshot, after=after, ping=self.client.settings.ping, named=named
        )  # fmt: skip
        return EventStream(written, listening=self.listening, record=record, headers={"Location": document.links.self_})

    async def result(self, record: JobRecord, applied: str | None = None) -> Response:
        """Answer with a finished job's result. Raises `JobFailed` or `JobCancelled`, which say their own problem."""
        text = await self.client.result(record.id, timeout=0)
        headers = {**VARY, **({"Preference-Applied": applied} if applied else {})}
        return Response(text, 200, headers, JSON)


class Responder:
    """Answers one request with one job: `return await respond(answer.call(question))`."""

    def __init__(self, request: Request, open_desk: Callable[[], Desk], viewer: Callable[[], str | None]) -> None:
        self._request = request
        self._open_desk = open_desk
        self._viewer = viewer

    async def __call__(self, call: Call[Any], *, stream: bool = False) -> Response:
        """Submit the call, or resume its stream, and answer as the request's headers ask. Errors become problem documents.

        `stream`: a client that takes anything gets the event stream; else it gets a 202.
        """
        try:
            return await self._answer(call, self._open_desk(), self._viewer(), stream=stream)
        except SidelaneError as error:
            return error_response(error)

    async def _answer(self, call: Call[Any], desk: Desk, user: str | None, *, stream: bool) -> Response:
        headers = self._request.headers
        resumed = cursor(headers.get("last-event-id"))
        if resumed is not None:  # a client that comes back after a broken stream must not submit again
            job_id, after = resumed
            return await desk.stream(self._request, await desk.access.record(job_id, user), after)
        desk.access.check_may_submit(call.options.user or user)
        desk.path(self._request, call.options.id or "any")  # without routes to link to, nothing is submitted
        record = await self._submit(call, desk, user)
        wish = wishes(headers, stream=stream)
        if wish.stream:
            return await desk.stream(self._request, record, None)
        if wish.wait is None:
            return await desk.accepted(self._request, record, wish.applied)
        try:
            return await self._waited(record, desk, wish.wait, wish.applied)
        except NotFinished:
            return await desk.accepted(self._request, await desk.client.record(record.id), wish.applied)

    async def _waited(self, record: JobRecord, desk: Desk, seconds: float, applied: str | None) -> Response:
        """Answer with the result. Raises `NotFinished` when it is not there in time, or the client has gone before."""
        async with desk.listening.to(record):
            await while_connected(self._request.receive, desk.client.wait(record.id, seconds))
        return await desk.result(record, applied)

    async def _submit(self, call: Call[Any], desk: Desk, user: str | None) -> JobRecord:
        headers = self._request.headers
        if call.options.user is None and user is not None:
            call = call.with_options(user=user)
        key = headers.get(HEADER)
        if key is not None:
            call = keyed(call, key, call.options.user)
        trace = headers.get("traceparent", "")
        submission = await desk.client.submission(call, trace=trace if TRACEPARENT.fullmatch(trace) else None)
        if key is not None and not submission.created:
            check_same(call, submission.record)
        return submission.record


def retry_after(document: JobDocument) -> int:
    """Say in how many seconds it is worth looking again."""
    return min(LATER, SOON + (document.position or 0) // PER_POSITION)
