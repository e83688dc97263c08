"""Batches over HTTP: documents with links, pages of jobs, the event stream, and the routes that return them."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import HTTPConnection

from sidelane.client.batch_handle import Batch
from sidelane.model import job
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.errors import StoreError
from sidelane.telemetry.events import StreamKind
from sidelane.web import openapi
from sidelane.web.documents import BatchDocument, BatchLinks, JobPage, RefusedCall, batch_document, job_document
from sidelane.web.job_responses import JOBS_PER_SECOND, JobResponses, bounded_retry_after, path_of, token_or_none
from sidelane.web.negotiation import JSON
from sidelane.web.problems import ProblemDocument, ProblemRoute, public_problem
from sidelane.web.spans import stream_span
from sidelane.web.sse import SseResponse, batch_sse_frames, stream_or_reconnect

PAGE_SIZE = 50

MAX_OFFSET = 2**53
"""The largest integer that JSON clients and every store represent exactly."""

logger = logging.getLogger(__name__)


class BatchResponses:
    """Builds the responses about batches. `job_responses` builds those about their jobs."""

    def __init__(self, job_responses: JobResponses, route_name: str) -> None:
        self.job_responses = job_responses
        self.client = job_responses.client
        self.access = job_responses.access
        self._route_name = route_name

    def path(self, connection: HTTPConnection, batch_id: str) -> str:
        """Return the path of a batch's document. Raises `ConfigurationError` if the application has not included the router."""
        missing = 'Batches have no routes here: app.include_router(jobs.batches, prefix="/batches").'
        return path_of(connection, self._route_name, missing, batch_id=batch_id)

    async def document(
        self, connection: HTTPConnection, record: BatchRecord, refused: Sequence[RefusedCall] = ()
    ) -> BatchDocument:
        """Return the document of a batch."""
        path = self.path(connection, record.id)
        token = await token_or_none(self.access.batch_token(record.id))
        links = BatchLinks(
            self_=path,
            events=f"{path}/events" + (f"/{token}" if token else ""),
            jobs=f"{path}/jobs",
            cancel=None if record.ended is not None else f"{path}/cancel",
        )
        return batch_document(record, links, refused)

    async def accepted(self, request: Request, batch: Batch[Any], user: str | None) -> Response:
        """Answer with 202, because all jobs are stored, except those listed as refused."""
        refused = [
            RefusedCall(index=each.index, problem=ProblemDocument(**public_problem(each.error).document()))
            for each in batch.rejected
        ]
        record = await self._record(batch, user)
        document = await self.document(request, record, refused)
        headers = {"Location": document.links.self_, "Retry-After": str(retry_after(record))}
        return Response(document.model_dump_json(by_alias=True), 202, headers, JSON)

    async def _record(self, batch: Batch[Any], user: str | None) -> BatchRecord:
        """Return the batch's record.

        If the store is unavailable, return the first record, because the jobs exist and a 503 would be wrong.
        """
        try:
            return await batch.record()
        except StoreError as error:
            logger.warning("batch %s was submitted, but its counts are unknown: %s", batch.id, error)
        total = len(batch.jobs) - len(batch.rejected)
        return BatchRecord(spec=BatchSpec(id=batch.id, user=user), submitted=time.time(), sealed=True, total=total)

    async def stream(self, connection: HTTPConnection, record: BatchRecord) -> Response:
        """Answer with the batch's event stream."""

        async def to_json(record: BatchRecord) -> str:
            return (await self.document(connection, record)).model_dump_json(by_alias=True)

        frames = batch_sse_frames(self.client.store, record.id, to_json, ping=self.client.settings.sse_ping_interval)
        span = stream_span(self.client.telemetry.tracer, connection, {"sidelane.batch": record.id})
        stream = self.job_responses.streams.track(StreamKind.SSE, span=span)
        return SseResponse(frames, headers={"Location": self.path(connection, record.id)}, stream=stream)

    async def jobs(
        self, connection: HTTPConnection, record: BatchRecord, user: str | None, before: int | None
    ) -> JobPage:
        """Return a page of the batch's jobs, newest first, without those that this user may not see."""
        query = job.Query(batch=record.id, user=self.access.owner_filter(user), before=before, limit=PAGE_SIZE)
        found = await self.client.find(query)
        older = (
            f"{self.path(connection, record.id)}/jobs?before={found[-1].sequence}" if len(found) == PAGE_SIZE else None
        )
        visible = [each for each in found if self.access.can_see_job(each, user)]
        documents = [job_document(each, await self.job_responses.links(connection, each)) for each in visible]
        return JobPage(jobs=documents, next=older)


def retry_after(record: BatchRecord) -> int:
    """Return the `Retry-After` of an unfinished batch, in seconds. The time is longer if more jobs of the batch are unfinished."""
    return bounded_retry_after(1 + record.unfinished // JOBS_PER_SECOND)


def batch_router(name: str, responses: Callable[[], BatchResponses], viewer: Callable[..., str | None]) -> APIRouter:
    """Return the router. `name` is the route that links point to; `viewer` is the dependency that returns the current user."""
    router = APIRouter(route_class=ProblemRoute, tags=["batches"], responses=openapi.problems(openapi.MALFORMED))
    Viewer = Annotated[str | None, Depends(viewer)]  # noqa: N806 - a type, made of this application's dependency

    @router.get("/{batch_id}", name=name, responses=openapi.BATCH_RESPONSES)
    async def status(request: Request, response: Response, batch_id: str, user: Viewer) -> BatchDocument:
        """Get the batch's current state."""
        record = await responses().access.batch(batch_id, user)
        if record.ended is None:
            response.headers["Retry-After"] = str(retry_after(record))
        return await responses().document(request, record)

    @router.get("/{batch_id}/jobs", responses=openapi.BATCH_RESPONSES)
    async def jobs(
        request: Request,
        batch_id: str,
        user: Viewer,
        before: int | None = Query(
            default=None, ge=0, le=MAX_OFFSET, description="Where the page begins; the previous page's `next` has it."
        ),
    ) -> JobPage:
        """List the jobs of the batch, newest first."""
        return await responses().jobs(request, await responses().access.batch(batch_id, user), user, before)

    @router.get("/{batch_id}/events", response_class=Response, responses=openapi.BATCH_STREAM_RESPONSES)
    async def events(request: Request, batch_id: str, user: Viewer) -> Response:
        """Stream the batch: its document after every change, until its end (text/event-stream)."""

        async def start() -> Response:
            return await responses().stream(request, await responses().access.batch(batch_id, user))

        return await stream_or_reconnect(start())

    @router.get("/{batch_id}/events/{token}", response_class=Response, responses=openapi.BATCH_STREAM_RESPONSES)
    async def events_by_token(request: Request, batch_id: str, token: str) -> Response:
        """Stream the batch to clients that cannot send headers. `links.events` of the batch holds the token."""

        async def start() -> Response:
            await responses().access.check_batch(batch_id, token)
            return await responses().stream(request, await responses().client.batch(batch_id).record())

        return await stream_or_reconnect(start())

    @router.post("/{batch_id}/cancel", responses=openapi.BATCH_RESPONSES)
    async def cancel(request: Request, batch_id: str, user: Viewer) -> BatchDocument:
        """Cancel the unfinished jobs of the batch: queued jobs at once, running jobs as soon as they stop."""
        await responses().access.batch(batch_id, user)
        return await responses().document(request, await responses().client.batch(batch_id).cancel())

    return router
