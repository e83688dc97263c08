"""The same events over a WebSocket, one JSON message each."""

from contextlib import aclosing, suppress

from fastapi import WebSocket, WebSocketDisconnect

from sidelane.client.event_stream import stream_pages
from sidelane.model.errors import SidelaneError
from sidelane.model.event import JOB, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store
from sidelane.web.disconnect import run_while_connected
from sidelane.web.events import identity, message
from sidelane.web.presence import ListenerPresence
from sidelane.web.problems import public_problem

NORMAL = 1000
TRY_AGAIN = 1013

MAX_REASON_LENGTH = 120
"""Bytes a close frame's reason may have, about (RFC 6455, 5.5)."""


async def reject(socket: WebSocket, error: SidelaneError) -> None:
    """Close a socket on an error: the code is 4000 and the HTTP status, the reason the problem's detail."""
    problem = public_problem(error)
    await socket.accept()  # before that, a browser would only learn that it failed
    await socket.close(4000 + problem.status, problem.detail.encode()[:MAX_REASON_LENGTH].decode(errors="ignore"))


async def stream_events(
    socket: WebSocket,
    store: Store,
    record: JobRecord,
    snapshot: str,
    *,
    after: Cursor | None,
    listening: ListenerPresence,
) -> None:
    """Send a job as it stands and its log to the end, then close; stop when the client has gone."""
    await socket.accept()
    with suppress(WebSocketDisconnect, RuntimeError):  # the connection broke, or was closed by the client
        await run_while_connected(socket.receive, _write(socket, store, record, snapshot, after, listening))


async def _write(
    socket: WebSocket, store: Store, record: JobRecord, snapshot: str, after: Cursor | None, listening: ListenerPresence
) -> None:
    code = NORMAL
    async with listening.to(record):
        try:
            await socket.send_text(message(JOB, snapshot))
            async with aclosing(stream_pages(store, record.id, after)) as readings:
                async for events in readings:
                    for event in events:
                        await socket.send_text(message(event.name, event.data, identity(record.id, event)))
        except SidelaneError:
            code = TRY_AGAIN  # the client comes back with its cursor
    await socket.close(code)
