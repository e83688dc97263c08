"""Event streams over HTTP (WHATWG Server-Sent Events)."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress

from fastapi import Response
from starlette.types import Receive, Scope, Send

from sidelane.client.event_stream import stream_batch, stream_pages
from sidelane.model.batch import BatchRecord
from sidelane.model.errors import SidelaneError
from sidelane.model.event import END, JOB, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store
from sidelane.web.disconnect import run_while_connected
from sidelane.web.events import BATCH, identity, sse
from sidelane.web.negotiation import EVENT_STREAM

RECONNECT = 2000
"""Milliseconds after which a browser's EventSource comes back."""

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "Vary": "Accept, Prefer"}


async def sse_frames(
    store: Store, record: JobRecord, snapshot: str, *, after: Cursor | None, ping: float, named: bool = True
) -> AsyncGenerator[str, None]:
    """Write a job's stream: how soon to come back, the job as it stands (`snapshot`, JSON text), then its log to the end."""
    yield f"retry: {RECONNECT}\n\n{sse(JOB, snapshot, named=named)}"
    try:
        async with aclosing(stream_pages(store, record.id, after, silence=ping)) as readings:
            async for events in readings:
                yield (
                    "".join(sse(event.name, event.data, identity(record.id, event), named=named) for event in events)
                    or ": ping\n\n"
                )
    except SidelaneError:
        yield ": the log cannot be read at the moment\n\n"  # the client comes back with its cursor


async def batch_sse_frames(
    store: Store, batch_id: str, show: Callable[[BatchRecord], Awaitable[str]], *, ping: float
) -> AsyncGenerator[str, None]:
    """Write a batch's stream: the batch as it stands (`show` gives its JSON text), again after every change, then its end."""
    yield f"retry: {RECONNECT}\n\n"
    last: BatchRecord | None = None
    try:
        while last is None or last.ended is None:
            async with aclosing(stream_batch(store, batch_id, timeout=ping)) as records:
                async for record in records:
                    # each time, it begins with the batch as it stands: if that is nothing new, there was silence
                    yield ": ping\n\n" if record == last else sse(BATCH, await show(record))
                    last = record
        yield sse(END, json.dumps({"id": last.id, "state": last.state}))
    except SidelaneError:
        yield ": the batch cannot be read at the moment\n\n"  # the client comes back


class SseResponse(Response):
    """An answer that lasts as long as its frames, and no longer than its client: one that has gone is noticed at once.

    A client that does not read holds up only its own frames, for `send` waits until there is room. `listening` is entered for as
    long as it lasts.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        frames: AsyncGenerator[str, None],
        *,
        headers: dict[str, str],
        listening: AbstractAsyncContextManager[None] | None = None,
    ) -> None:
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._frames = frames
        self._listening = listening or nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(OSError):  # the connection broke
            await run_while_connected(receive, self._write(send))

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with self._listening, aclosing(self._frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
