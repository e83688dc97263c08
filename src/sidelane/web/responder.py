"""Responder: answers a request with a job (202 with links, its event stream, or its result), or with a batch of jobs."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request, Response

from sidelane.files.upload import SavedFiles
from sidelane.model.durations import Duration
from sidelane.model.errors import JobRefused, ResultNotReady, SidelaneError, StoreError
from sidelane.model.job import JobRecord
from sidelane.tasks.task import Call
from sidelane.telemetry.port import Telemetry
from sidelane.web.batches import BatchResponses
from sidelane.web.disconnect import run_while_connected
from sidelane.web.idempotency import HEADER, batch_with_key, check_all_same, check_new, check_same, with_key
from sidelane.web.job_responses import JobResponses
from sidelane.web.negotiation import parse_preferences
from sidelane.web.problems import error_response
from sidelane.web.shutdown import SHUTDOWN
from sidelane.web.spans import record_status, request_span, trace_of
from sidelane.web.sse import parse_cursor


class Responder:
    """Answers one request: `return await respond(answer.call(question))`, or with a batch, `await respond.many(calls)`."""

    def __init__(
        self,
        request: Request,
        responses: Callable[[], BatchResponses],
        viewer: Callable[[], str | None],
        saved: SavedFiles,
        telemetry: Telemetry,
    ) -> None:
        self._request = request
        self._responses = responses
        self._viewer = viewer
        self._saved = saved  # the files that this request has uploaded
        self._tracer = telemetry.tracer

    async def __call__(self, call: Call[Any], *, stream: bool = False) -> Response:
        """Submit the call, or resume its stream, and answer as the request's headers require. Errors become problem documents.

        With `stream`, a client that accepts anything gets the event stream; otherwise it gets a 202.
        """
        SHUTDOWN.listen()
        with request_span(self._tracer, self._request) as span:
            try:
                response = await self._respond(call, self._responses().job_responses, self._viewer(), stream=stream)
            except SidelaneError as error:
                response = await self._error(error)
            record_status(span, response)
        return response

    async def many(
        self,
        calls: Iterable[Call[Any]],
        *,
        then: Call[Any] | Sequence[Call[Any]] = (),
        retention: Duration | None = None,
    ) -> Response:
        """Submit the calls as one batch and answer 202 with it; `then` and `retention` are those of `Sidelane.submit_many`.

        The answer lists refused calls. If all calls are refused, the answer is the problem of the first call, and there is no
        batch.
        """
        with request_span(self._tracer, self._request) as span:
            try:
                response = await self._respond_many(list(calls), self._responses(), self._viewer(), then, retention)
            except SidelaneError as error:
                response = await self._error(error)
            record_status(span, response)
        return response

    async def _error(self, error: SidelaneError) -> Response:
        """Answer with an error, and remove the files that were uploaded for the job."""
        await self._saved.remove()
        return error_response(error)

    async def _respond(self, call: Call[Any], responses: JobResponses, user: str | None, *, stream: bool) -> Response:
        headers = self._request.headers
        cursor = parse_cursor(headers.get("last-event-id"))
        if cursor is not None:  # a client that resumes a broken stream must not submit again
            job_id, after = cursor
            await self._saved.remove()
            return await responses.stream(self._request, await responses.access.record(job_id, user), after)
        responses.access.check_may_submit(call.options.user or user)
        responses.path(
            self._request, call.options.id or "any"
        )  # fail before the submit if there are no routes to link to
        record = await self._submit(call, responses, user)
        preference = parse_preferences(headers, default_stream=stream)
        if preference.stream:
            return await responses.stream(self._request, record, None)
        if preference.wait is not None:
            try:
                return await self._wait_for_result(record, responses, preference.wait, preference.applied)
            except (ResultNotReady, StoreError):  # the job exists, so the answer is a 202 also during an outage
                with suppress(StoreError):
                    record = await responses.client.record(record.id)
        return await responses.accepted(self._request, record, preference.applied)

    async def _wait_for_result(
        self, record: JobRecord, responses: JobResponses, seconds: float, applied: str | None
    ) -> Response:
        """Answer with the result. Raises `ResultNotReady` if there is no result in time, or the client disconnects."""
        async with responses.presence.track(record):
            await run_while_connected(self._request.receive, responses.client.wait(record.id, seconds))
        return await responses.result(record, applied)

    async def _respond_many(
        self,
        calls: list[Call[Any]],
        responses: BatchResponses,
        user: str | None,
        then: Call[Any] | Sequence[Call[Any]],
        retention: Duration | None,
    ) -> Response:
        responses.access.check_may_submit(user)
        for call in calls:
            if call.options.id is not None:
                responses.access.check_id(call.options.id)
        for path in (
            responses.path,
            responses.job_responses.path,
        ):  # fail before the submit if there are no routes to link to
            path(self._request, "any")
        batch_id = None
        key = self._request.headers.get(HEADER)
        if key is not None:
            batch_id, calls = batch_with_key(calls, key, user)
        client = responses.client
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
        return await responses.accepted(self._request, batch, user)

    async def _submit(self, call: Call[Any], responses: JobResponses, user: str | None) -> JobRecord:
        if call.options.user is None and user is not None:
            call = call.with_options(user=user)
        key = self._request.headers.get(HEADER)
        if key is not None:
            call = with_key(call, key, call.options.user)
        if call.options.id is not None:
            responses.access.check_id(call.options.id)
        submission = await responses.client.submission(call, trace=self._trace())
        if key is not None and not submission.created:
            check_same(call, submission.record)
        return submission.record

    def _trace(self) -> str | None:
        """Return the parent of the submit."""
        return self._tracer.traceparent or trace_of(self._request)
