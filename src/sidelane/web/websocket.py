"""WebSocket: sends each event of a job as one JSON message."""

from contextlib import aclosing, suppress

from fastapi import WebSocket, WebSocketDisconnect

from sidelane.client.event_stream import stream_pages
from sidelane.model.errors import SidelaneError
from sidelane.model.event import JOB, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store
from sidelane.telemetry.events import StreamKind
from sidelane.telemetry.streams import Stream, Streams
from sidelane.telemetry.tracer import Span
from sidelane.web.disconnect import run_while_connected
from sidelane.web.presence import ListenerPresence
from sidelane.web.problems import public_problem
from sidelane.web.sse import event_id

NORMAL_CLOSURE = 1000
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013

MAX_REASON_LENGTH = 120
"""The longest reason of a close frame, in bytes (RFC 6455, 5.5, allows 123)."""


async def reject_websocket(socket: WebSocket, error: SidelaneError) -> None:
    """Close a WebSocket with an error. The code is 4000 plus the HTTP status, and the reason is the problem's detail."""
    problem = public_problem(error)
    await socket.accept()  # a browser shows neither code nor reason of a refused handshake
    await socket.close(4000 + problem.status, problem.detail.encode()[:MAX_REASON_LENGTH].decode(errors="ignore"))


async def stream_events(
    socket: WebSocket,
    store: Store,
    record: JobRecord,
    snapshot: str,
    *,
    after: Cursor | None,
    presence: ListenerPresence,
    streams: Streams,
    span: Span,
) -> None:
    """Send `snapshot` (the job's document as JSON) and its log to the end, then close.

    Stop if the client disconnects or the server stops.
    """
    await socket.accept()
    tracked = streams.track(StreamKind.WEBSOCKET, job=record.id, resumed=after is not None, span=span)
    with (
        tracked as stream,
        suppress(WebSocketDisconnect, RuntimeError),
    ):  # the connection broke, or the client closed it
        writing = _write(socket, stream, store, record, snapshot, after=after, presence=presence)
        code = await run_while_connected(socket.receive, writing)
        await socket.close(SERVICE_RESTART if code is None else code)


async def _write(
    socket: WebSocket,
    stream: Stream,
    store: Store,
    record: JobRecord,
    snapshot: str,
    *,
    after: Cursor | None,
    presence: ListenerPresence,
) -> int:
    """Send the events and return the code to close with."""
    async with presence.track(record):
        try:
            await stream.send(socket.send_text(_message(JOB, snapshot)))
            async with aclosing(stream_pages(store, record.id, after)) as pages:
                async for events in pages:
                    for event in events:
                        text = _message(event.name, event.data, event_id(record.id, event))
                        await stream.send(socket.send_text(text))
        except SidelaneError:
            return TRY_AGAIN_LATER  # the client reconnects with its cursor
    return NORMAL_CLOSURE


def _message(name: str, data: str, id_: str = "") -> str:
    """Return one event as a JSON object of id, event and data."""
    head = f'"id":"{id_}",' if id_ else ""
    return f'{{{head}"event":"{name}","data":{data}}}'
