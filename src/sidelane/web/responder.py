"""Answering a request with a job: 202 with links, the event stream itself, or the result where the client waits for it.

Or with a batch of jobs: 202 with links.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastapi import Request, Response

from sidelane.files.upload import SavedFiles
from sidelane.model.errors import JobRefused, ResultNotReady, SidelaneError
from sidelane.model.ids import is_traceparent
from sidelane.model.job import JobRecord
from sidelane.tasks.task import Call
from sidelane.web.batch_views import BatchViews
from sidelane.web.cursor import parse_cursor
from sidelane.web.disconnect import run_while_connected
from sidelane.web.idempotency import HEADER, check_all_same, check_new, check_same, keyed, keyed_batch
from sidelane.web.job_views import JobViews
from sidelane.web.negotiation import parse_preferences
from sidelane.web.problems import error_response


class Responder:
    """Answers one request with one job: `return await respond(answer.call(question))`; or with a batch, `respond.many(calls)`."""

    def __init__(
        self, request: Request, open_desk: Callable[[], BatchViews], viewer: Callable[[], str | None], saved: SavedFiles
    ) -> None:
        self._request = request
        self._open_desk = open_desk
        self._viewer = viewer
        self._saved = saved  # the files that this request has brought

    async def __call__(self, call: Call[Any], *, stream: bool = False) -> Response:
        """Submit the call, or resume its stream, and answer as the request's headers ask. Errors become problem documents.

        `stream`: a client that takes anything gets the event stream; else it gets a 202.
        """
        try:
            return await self._answer(call, self._open_desk().desk, self._viewer(), stream=stream)
        except SidelaneError as error:
            return await self._refused(error)

    async def many(
        self, calls: Iterable[Call[Any]], *, then: Call[Any] | Sequence[Call[Any]] = (), retention: float | None = None
    ) -> Response:
        """Submit the calls as one batch and answer 202 with it; `then` and `retention` as for `Sidelane.submit_many`.

        The calls that are refused are listed in the answer; where all are, it is the problem of the first, and there is no batch.
        """
        try:
            return await self._answer_many(list(calls), self._open_desk(), self._viewer(), then, retention)
        except SidelaneError as error:
            return await self._refused(error)

    async def _refused(self, error: SidelaneError) -> Response:
        """Answer with an error; the files that came for a job that is not there go at once."""
        await self._saved.remove()
        return error_response(error)

    async def _answer(self, call: Call[Any], desk: JobViews, user: str | None, *, stream: bool) -> Response:
        headers = self._request.headers
        resumed = parse_cursor(headers.get("last-event-id"))
        if resumed is not None:  # a client that comes back after a broken stream must not submit again
            job_id, after = resumed
            await self._saved.remove()
            return await desk.stream(self._request, await desk.access.record(job_id, user), after)
        desk.access.check_may_submit(call.options.user or user)
        desk.path(self._request, call.options.id or "any")  # without routes to link to, nothing is submitted
        record = await self._submit(call, desk, user)
        wish = parse_preferences(headers, stream=stream)
        if wish.stream:
            return await desk.stream(self._request, record, None)
        if wish.wait is None:
            return await desk.accepted(self._request, record, wish.applied)
        try:
            return await self._waited(record, desk, wish.wait, wish.applied)
        except ResultNotReady:
            return await desk.accepted(self._request, await desk.client.record(record.id), wish.applied)

    async def _waited(self, record: JobRecord, desk: JobViews, seconds: float, applied: str | None) -> Response:
        """Answer with the result. Raises `NotFinished` when it is not there in time, or the client has gone before."""
        async with desk.listening.to(record):
            await run_while_connected(self._request.receive, desk.client.wait(record.id, seconds))
        return await desk.result(record, applied)

    async def _answer_many(
        self,
        calls: list[Call[Any]],
        batches: BatchViews,
        user: str | None,
        then: Call[Any] | Sequence[Call[Any]],
        retention: float | None,
    ) -> Response:
        batches.access.check_may_submit(user)
        for call in calls:
            if call.options.id is not None:
                batches.access.check_opens(call.options.id)
        for path in (batches.path, batches.desk.path):  # without routes to link to, nothing is submitted
            path(self._request, "any")
        batch_id = None
        key = self._request.headers.get(HEADER)
        if key is not None:
            batch_id, calls = keyed_batch(calls, key, user)
        client = batches.client
        try:
            batch = await client.submit_many(
                calls, then=then, id=batch_id, user=user, retention=retention, trace=self._trace()
            )
        except JobRefused:
            if batch_id is not None:
                await check_new(client, batch_id)
            raise
        if batch_id is not None:
            await check_all_same(client, calls, batch)
        return await batches.accepted(self._request, batch)

    async def _submit(self, call: Call[Any], desk: JobViews, user: str | None) -> JobRecord:
        headers = self._request.headers
        if call.options.user is None and user is not None:
            call = call.with_options(user=user)
        key = headers.get(HEADER)
        if key is not None:
            call = keyed(call, key, call.options.user)
        if call.options.id is not None:
            desk.access.check_opens(call.options.id)
        submission = await desk.client.submission(call, trace=self._trace())
        if key is not None and not submission.created:
            check_same(call, submission.record)
        return submission.record

    def _trace(self) -> str | None:
        trace: str = self._request.headers.get("traceparent", "")
        return trace if is_traceparent(trace) else None
