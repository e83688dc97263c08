"""Event streams over HTTP (WHATWG Server-Sent Events)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import Response
from starlette.types import Receive, Scope, Send

from sidelane.engine.following import follow_batches
from sidelane.model.errors import SidelaneError
from sidelane.model.event import JOB, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store
from sidelane.web.events import identity, sse
from sidelane.web.listening import Listening
from sidelane.web.negotiation import EVENT_STREAM

RECONNECT = 2000
"""Milliseconds after which a browser's EventSource comes back."""

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "Vary": "Accept, Prefer"}


async def frames(
    store: Store, record: JobRecord, snapshot: str, *, after: Cursor | None, ping: float, named: bool = True
) -> AsyncIterator[str]:
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
        self, frames: AsyncIterator[str], *, listening: Listening, record: JobRecord, headers: dict[str, str]
    ) -> None:
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._frames = frames
        self._listening = listening
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            writing.cancel()
            await asyncio.wait([writing, leaving])
        if not writing.cancelled() and (error := writing.exception()) is not None and not isinstance(error, OSError):
            raise error

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with self._listening.to(self._record):
            async for frame in self._frames:
                await send({"type": "http.response.body", "body": frame.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
