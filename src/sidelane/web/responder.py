"""Answering a request with a job: 202 with links, the event stream itself, or the result where the client waits for it."""

import re
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from sidelane.engine.task import Call
from sidelane.model.errors import NotFinished, SidelaneError
from sidelane.model.job import JobRecord
from sidelane.web.connection import while_connected
from sidelane.web.cursors import cursor
from sidelane.web.desk import Desk
from sidelane.web.idempotency import HEADER, check_same, keyed
from sidelane.web.negotiation import wishes
from sidelane.web.problems import error_response

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


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
