"""Showing batches to clients: documents with links, their jobs, streams."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from starlette.requests import HTTPConnection

from sidelane.client.batch import Batch
from sidelane.model.batch import BatchRecord
from sidelane.model.job import Query
from sidelane.web.job_views import LATER, PER_POSITION, SOON, JobViews, path_of
from sidelane.web.negotiation import JSON
from sidelane.web.problems import ProblemDocument, public_problem
from sidelane.web.schemas import BatchDocument, BatchLinks, JobPage, RefusedCall, batch_document, job_document
from sidelane.web.sse import SseResponse, batch_sse_frames

PAGE = 50


class BatchViews:
    """Shows batches to clients: documents with links, their jobs, streams. Jobs are shown by `desk`."""

    def __init__(self, desk: JobViews, name: str) -> None:
        self.desk = desk
        self.client = desk.client
        self.access = desk.access
        self._name = name

    def path(self, connection: HTTPConnection, batch_id: str) -> str:
        """Say where a batch's document is. Raises `ConfigurationError` where the application has not included the router."""
        missing = 'Batches have no routes here: app.include_router(jobs.batches, prefix="/batches").'
        return path_of(connection, self._name, missing, batch_id=batch_id)

    async def document(
        self, connection: HTTPConnection, record: BatchRecord, refused: Sequence[RefusedCall] = ()
    ) -> BatchDocument:
        """Show a batch."""
        here = self.path(connection, record.id)
        token = await self.access.batch_token(record.id)
        links = BatchLinks(
            self_=here,
            events=f"{here}/events" + (f"/{token}" if token else ""),
            jobs=f"{here}/jobs",
            cancel=None if record.ended is not None else f"{here}/cancel",
        )
        return batch_document(record, links, refused)

    async def accepted(self, request: Request, batch: Batch[Any]) -> Response:
        """Answer 202: the jobs are safe, all but the refused ones, and this is where to look."""
        refused = [
            RefusedCall(index=each.index, problem=ProblemDocument(**public_problem(each.error).document()))
            for each in batch.rejected
        ]
        record = await batch.record()
        document = await self.document(request, record, refused)
        headers = {"Location": document.links.self_, "Retry-After": str(retry_after(record))}
        return Response(document.model_dump_json(by_alias=True), 202, headers, JSON)

    async def stream(self, connection: HTTPConnection, record: BatchRecord) -> Response:
        """Answer with the stream of what becomes of a batch."""

        async def show(record: BatchRecord) -> str:
            return (await self.document(connection, record)).model_dump_json(by_alias=True)

        written = batch_sse_frames(self.client.store, record.id, show, ping=self.client.settings.sse_ping_interval)
        return SseResponse(written, headers={"Location": self.path(connection, record.id)})

    async def jobs(
        self, connection: HTTPConnection, record: BatchRecord, user: str | None, before: int | None
    ) -> JobPage:
        """Show a page of a batch's jobs, those that this user sees."""
        query = Query(batch=record.id, user=self.access.of(user), before=before, limit=PAGE)
        found = await self.client.find(query)
        older = f"{self.path(connection, record.id)}/jobs?before={found[-1].sequence}" if len(found) == PAGE else None
        shown = [each for each in found if self.access.shows(each, user)]
        return JobPage(jobs=[job_document(each, await self.desk.links(connection, each)) for each in shown], next=older)


def retry_after(record: BatchRecord) -> int:
    """Say in how many seconds it is worth looking again."""
    return min(LATER, SOON + record.unfinished // PER_POSITION)
