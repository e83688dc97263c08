"""Showing jobs to clients: documents with links, streams, results."""

import math

from fastapi import Request, Response
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound

from sidelane.client.client import Client
from sidelane.model.errors import ConfigurationError, UnknownJob
from sidelane.model.event import Cursor
from sidelane.model.job import JobRecord, State
from sidelane.web.access import Access
from sidelane.web.negotiation import JSON
from sidelane.web.presence import ListenerPresence
from sidelane.web.schemas import JobDocument, Links, job_document
from sidelane.web.sse import SseResponse, sse_frames

VARY = {"Vary": "Accept, Prefer"}

SOON, LATER, PER_POSITION = 1, 30, 10
"""Retry-After: seconds at least and at most, and how many jobs in front make one more where nobody knows how fast they go."""


class JobViews:
    """Shows jobs to clients: documents with links, streams, results."""

    def __init__(self, client: Client, access: Access, listening: ListenerPresence, name: str) -> None:
        self.client = client
        self.access = access
        self.listening = listening
        self._name = name

    def path(self, connection: HTTPConnection, job_id: str) -> str:
        """Say where a job's document is. Raises `ConfigurationError` where the application has not included the router."""
        missing = 'Jobs have no routes here: app.include_router(jobs.router, prefix="/jobs").'
        return path_of(connection, self._name, missing, job_id=job_id)

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
        place = await self.client.store.queue_position(record.id)
        return job_document(record, links, place=place, has_worker=await self.client.has_worker(record.spec))

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
        written = sse_frames(
            self.client.store, record, snapshot, after=after, ping=self.client.settings.sse_ping_interval, named=named
        )  # fmt: skip
        return SseResponse(written, headers={"Location": document.links.self_}, listening=self.listening.to(record))

    async def result(self, record: JobRecord, applied: str | None = None) -> Response:
        """Answer with a finished job's result. Raises `JobFailed` or `JobCancelled`, which say their own problem."""
        text = await self.client.result(record.id, timeout=0)
        headers = {**VARY, **({"Preference-Applied": applied} if applied else {})}
        return Response(text, 200, headers, JSON)


def path_of(connection: HTTPConnection, name: str, missing: str, **parameters: str) -> str:
    """Say where a route is, from this host's root. Raises `ConfigurationError(missing)` where the application has none."""
    root: str = connection.scope.get("root_path", "").rstrip("/")
    try:
        return root + str(connection.app.url_path_for(name, **parameters))
    except NoMatchFound as error:
        raise ConfigurationError(missing) from error


def retry_after(document: JobDocument) -> int:
    """Say in how many seconds it is worth looking again: about when the job may start."""
    if document.estimated_wait is not None:
        return min(LATER, max(SOON, math.ceil(document.estimated_wait)))
    return min(LATER, SOON + (document.position or 0) // PER_POSITION)
