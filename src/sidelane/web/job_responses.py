"""Responses about jobs: documents with links, 202 answers, event streams and results."""

import logging
from collections.abc import Awaitable

from fastapi import Request, Response
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound

from sidelane.client.client import Client
from sidelane.model.errors import ConfigurationError, StoreError, UnknownJob
from sidelane.model.event import Cursor
from sidelane.model.job import JobRecord, State
from sidelane.telemetry.events import StreamKind
from sidelane.telemetry.spans import job_attributes
from sidelane.telemetry.streams import Streams
from sidelane.telemetry.tracer import NO_SPAN, Span
from sidelane.web.access import Access
from sidelane.web.documents import JobDocument, Links, job_document
from sidelane.web.negotiation import JSON
from sidelane.web.presence import ListenerPresence
from sidelane.web.problems import whole_seconds
from sidelane.web.spans import stream_span
from sidelane.web.sse import SseResponse, sse_frames

VARY = {"Vary": "Accept, Prefer"}

MAX_RETRY_AFTER = 30
"""The longest `Retry-After` of an unfinished job or batch, in seconds."""

JOBS_PER_SECOND = 10
"""Assumed speed of a queue whose throughput is unknown."""

logger = logging.getLogger(__name__)


class JobResponses:
    """Builds the responses about jobs."""

    def __init__(
        self, client: Client, access: Access, presence: ListenerPresence, streams: Streams, route_name: str
    ) -> None:
        self.client = client
        self.access = access
        self.presence = presence
        self.streams = streams
        self._route_name = route_name

    def path(self, connection: HTTPConnection, job_id: str) -> str:
        """Return the path of a job's document. Raises `ConfigurationError` if the application has not included the router."""
        missing = 'Jobs have no routes here: app.include_router(jobs.router, prefix="/jobs").'
        return path_of(connection, self._route_name, missing, job_id=job_id)

    async def links(self, connection: HTTPConnection, record: JobRecord) -> Links:
        """Return a job's links, as absolute paths on this host."""
        path = self.path(connection, record.id)
        token = await token_or_none(self.access.token(record))
        return Links(
            self_=path,
            events=f"{path}/events" + (f"/{token}" if token else ""),
            result=f"{path}/result",
            cancel=None if record.state.finished else f"{path}/cancel",
        )

    async def document(self, connection: HTTPConnection, record: JobRecord) -> JobDocument:
        """Return the document of a job.

        If the store is unavailable, the document has no position, because the job itself is known.
        """
        links = await self.links(connection, record)
        position = has_worker = None
        if record.state is State.QUEUED:
            try:
                position = await self.client.store.queue_position(record.id)
                has_worker = await self.client.workers.has_worker(record.spec)
            except StoreError as error:
                logger.warning("the queue position of job %s is unknown: %s", record.id, error)
        return job_document(record, links, position=position, has_worker=has_worker)

    async def accepted(self, request: Request, record: JobRecord, applied: str | None = None) -> Response:
        """Answer with 202, because the job is stored (RFC 9110, 15.3.3). `applied` is the value of `Preference-Applied`."""
        document = await self.document(request, record)
        headers = {**VARY, "Location": document.links.self_, "Retry-After": str(retry_after(document))}
        if applied:
            headers["Preference-Applied"] = applied
        return Response(document.model_dump_json(by_alias=True), 202, headers, JSON)

    async def stream(
        self, connection: HTTPConnection, record: JobRecord, after: Cursor | None, *, named: bool = True
    ) -> Response:
        """Answer with the event stream, or with 204 if `after` is the job's end, so that an EventSource stops reconnecting."""
        if after is not None:
            page = await self.client.store.read(record.id, after=after, limit=1)
            if page is None:
                raise UnknownJob(f"There is no job {record.id!r}.")
            if page.ended and not page.gap and not page.events:
                return Response(status_code=204)
        document = await self.document(connection, record)
        snapshot = document.model_dump_json(by_alias=True)
        frames = sse_frames(
            self.client.store, record, snapshot, after=after, ping=self.client.settings.sse_ping_interval, named=named
        )  # fmt: skip
        return SseResponse(
            frames,
            headers={"Location": document.links.self_},
            stream=self.streams.track(
                StreamKind.SSE, job=record.id, resumed=after is not None, span=self.stream_span(connection, record)
            ),
            presence=self.presence.track(record),
        )

    def stream_span(self, connection: HTTPConnection, record: JobRecord) -> Span:
        """Start the span of a stream of the job's events."""
        tracer, spec = self.client.telemetry.tracer, record.spec
        if not tracer.active:
            return NO_SPAN
        return stream_span(tracer, connection, job_attributes("receive", spec), trace=spec.trace)

    async def result(self, record: JobRecord, applied: str | None = None) -> Response:
        """Answer with a finished job's result. Raises `ResultNotReady`, `JobFailed` or `JobCancelled`."""
        text = await self.client.result(record.id, timeout=0)
        headers = {**VARY, **({"Preference-Applied": applied} if applied else {})}
        return Response(text, 200, headers, JSON)


async def token_or_none(token: Awaitable[str | None]) -> str | None:
    """Return the token.

    Return None if the store, which may hold the signing secret, is unavailable, because links work without a token.
    """
    try:
        return await token
    except StoreError as error:
        logger.warning("links have no token for events: %s", error)
        return None


def path_of(connection: HTTPConnection, route_name: str, missing: str, **parameters: str) -> str:
    """Return the absolute path of a route on this host. Raises `ConfigurationError(missing)` if there is no such route."""
    root: str = connection.scope.get("root_path", "").rstrip("/")
    try:
        return root + str(connection.app.url_path_for(route_name, **parameters))
    except NoMatchFound as error:
        raise ConfigurationError(missing) from error


def retry_after(document: JobDocument) -> int:
    """Return the `Retry-After` of an unfinished job, in seconds. The value is about the time until the job may start."""
    if document.estimated_wait is not None:
        return bounded_retry_after(document.estimated_wait)
    return bounded_retry_after(1 + (document.position or 0) // JOBS_PER_SECOND)


def bounded_retry_after(seconds: float) -> int:
    """Round a wait up to 1 to 30 whole seconds."""
    return whole_seconds(min(MAX_RETRY_AFTER, seconds))
