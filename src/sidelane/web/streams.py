"""Event streams over HTTP (WHATWG Server-Sent Events)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from fastapi import Response
from starlette.types import Receive, Scope, Send

from sidelane.engine.following import follow_batches
from sidelane.model.errors import SidelaneError
from sidelane.model.event import JOB, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store
from sidelane.web.connection import while_connected
from sidelane.web.events import identity, sse
from sidelane.web.listening import Listening
from sidelane.web.negotiation import EVENT_STREAM

RECONNECT = 2000
"""Milliseconds after which a browser's EventSource comes back."""

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "Vary": "Accept, Prefer"}


async def frames(
    store: Store, record: JobRecord, snapshot: str, *, after: Cursor | None, ping: float, named: bool = True
) -> AsyncGenerator[str, None]:
    """Write a job's stream: how soon to come back, the job as it stands (`snapshot`, JSON text), then its log to the end."""
    yield f"retry: {RECONNECT}\n\n{sse(JOB, snapshot, named=named)}"
    try:
        async with aclosing(follow_batches(store, record.id, after, silence=ping)) as batches:
            async for batch in batches:
                yield (
                    "".join(sse(event.name, event.data, identity(record.id, event), named=named) for event in batch)
                    or ": ping\n\n"
                )
    except SidelaneError:
        yield ": the log cannot be read at the moment\n\n"  # the client comes back with its cursor


class EventStream(Response):
    """An answer that lasts as long as its frames, and no longer than its client: one that has gone is noticed at once.

    A client that does not read holds up only its own frames, for `send` waits until there is room.
    """

    media_type = EVENT_STREAM

    def __init__(
        self, frames: AsyncGenerator[str, None], *, listening: Listening, record: JobRecord, headers: dict[str, str]
    ) -> None:
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._frames = frames
        self._listening = listening
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(OSError):  # the connection broke
            await while_connected(receive, self._write(send))

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with self._listening.to(self._record), aclosing(self._frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
