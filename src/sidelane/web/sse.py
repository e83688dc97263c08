"""Server-Sent Events (WHATWG): frames of a job's or a batch's stream, cursors (`Last-Event-ID`), and the response."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, nullcontext, suppress

from fastapi import Response
from starlette.types import Receive, Scope, Send

from sidelane.client.event_stream import stream_batch, stream_pages
from sidelane.model.batch import BatchRecord
from sidelane.model.errors import SidelaneError, StoreUnavailable
from sidelane.model.event import END, JOB, Cursor, Event
from sidelane.model.job import JobRecord
from sidelane.model.json_text import dump_json
from sidelane.stores.contract import Store
from sidelane.telemetry.streams import Stream
from sidelane.web.disconnect import run_while_connected
from sidelane.web.documents import BATCH
from sidelane.web.negotiation import EVENT_STREAM

RECONNECT_DELAY = (1500, 3000)
"""Milliseconds that a client waits before it reconnects. The time is random, so that many clients do not reconnect together."""

STORE_RETRY_DELAY = (1.0, 3.0)
"""Random seconds that an open stream waits before it reads an unavailable store again."""

logger = logging.getLogger(__name__)

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "Vary": "Accept, Prefer"}

PING = ": ping\n"
"""A comment. The comment does not end with an empty line, because some clients read that as the end of an empty event."""


class MalformedCursor(SidelaneError):
    """Last-Event-ID is not the id of an event of this job."""

    status = 400


def parse_cursor(text: str | None, job_id: str | None = None) -> tuple[str, Cursor] | None:
    """Parse a Last-Event-ID into its job id and cursor. Returns None if it is empty.

    Raises `MalformedCursor` if the text is not the id of an event of the job `job_id`.
    """
    if not text:
        return None
    try:
        parsed = Cursor.parse(text)
    except ValueError as error:
        raise MalformedCursor(f"Last-Event-ID {text[:80]!r} is not the id of an event.") from error
    if job_id is not None and parsed[0] != job_id:
        raise MalformedCursor(f"Last-Event-ID {text[:80]!r} is of another job.")
    return parsed


def event_id(job_id: str, event: Event) -> str:
    """Return the id that clients see for an event, or "" for an event that is not in the log."""
    return event.cursor.text(job_id) if event.number else ""


def sse_frame(name: str, data: str, id_: str = "", *, named: bool = True) -> str:
    """Return one event as text. If not `named`, its name is put into the data, for clients that have only `onmessage`.

    `data` is JSON text, so it has no line break and needs no escaping.
    """
    lines = f"id: {id_}\n" if id_ else ""
    if named:
        return f"{lines}event: {name}\ndata: {data}\n\n"
    return f'{lines}data: {{"event":"{name}","data":{data}}}\n\n'


def retry_field() -> str:
    """Return the field with the time after which clients reconnect.

    The field belongs to the first event, because alone it is an empty event.
    """
    return f"retry: {random.randint(*RECONNECT_DELAY)}\n"


async def sse_frames(
    store: Store, record: JobRecord, snapshot: str, *, after: Cursor | None, ping: float, named: bool = True
) -> AsyncGenerator[str, None]:
    """Yield the frames of a job's stream: `snapshot` (the job's document as JSON), then its log to the end.

    After `ping` seconds without an event, and while the store is unavailable, yield comments.
    """
    yield retry_field() + sse_frame(JOB, snapshot, named=named)
    while True:
        try:
            async with aclosing(stream_pages(store, record.id, after, silence=ping)) as pages:
                async for events in pages:
                    frames = [
                        sse_frame(event.name, event.data, event_id(record.id, event), named=named) for event in events
                    ]
                    yield "".join(frames) or PING
                    after = _cursor_after(events, after)
            return
        except StoreUnavailable:
            yield PING
            await _wait_for_store()
        except SidelaneError:
            yield ": the log cannot be read\n"  # the client reconnects with its cursor, and gets the status
            return


def _cursor_after(events: Sequence[Event], after: Cursor | None) -> Cursor | None:
    """Return the cursor of the last event of a page. After a gap without events the log is read from its beginning."""
    if not events:
        return after
    return events[-1].cursor if events[-1].number else None


async def batch_sse_frames(
    store: Store, batch_id: str, to_json: Callable[[BatchRecord], Awaitable[str]], *, ping: float
) -> AsyncGenerator[str, None]:
    """Yield the frames of a batch's stream: the batch (`to_json`) now and after every change, then its end."""
    last: BatchRecord | None = None
    while last is None or last.ended is None:
        try:
            async with aclosing(stream_batch(store, batch_id, timeout=ping)) as records:
                async for record in records:
                    # each time it begins with the current record: if that is unchanged, there was no event
                    frame = PING if record == last else sse_frame(BATCH, await to_json(record))
                    yield frame if last else retry_field() + frame
                    last = record
        except StoreUnavailable:
            yield PING
            await _wait_for_store()
        except SidelaneError:
            yield ": the batch cannot be read\n"  # the client reconnects, and gets the status
            return
    yield sse_frame(END, dump_json({"id": last.id, "state": last.state}))


async def _wait_for_store() -> None:
    await asyncio.sleep(random.uniform(*STORE_RETRY_DELAY))


async def stream_or_reconnect(response: Awaitable[Response]) -> Response:
    """Return the response. If the store is unavailable, return a stream that ends immediately.

    An EventSource does not reconnect after a 503, but reconnects after the end of a stream.
    """
    try:
        return await response
    except StoreUnavailable as error:
        logger.warning("an event stream cannot start, so its client reconnects: %s", error)
        return Response(retry_field() + ": the store is unavailable\n", headers=HEADERS, media_type=EVENT_STREAM)


class SseResponse(Response):
    """A streaming response that ends after its frames, or as soon as its client disconnects.

    A client that does not read delays only its own frames, because `send` waits for buffer space. `stream` and `presence` are
    entered while the response is sent.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        frames: AsyncGenerator[str, None],
        *,
        headers: dict[str, str],
        stream: AbstractContextManager[Stream],
        presence: AbstractAsyncContextManager[None] | None = None,
    ) -> None:
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._frames = frames
        self._stream = stream
        self._presence = presence or nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(OSError):  # the connection broke
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await run_while_connected(receive, self._write(send))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        with self._stream as stream:
            async with self._presence, aclosing(self._frames) as frames:
                async for frame in frames:
                    await stream.send(send({"type": "http.response.body", "body": frame.encode(), "more_body": True}))
