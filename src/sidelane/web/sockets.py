"""The same events over a WebSocket, one JSON message each."""

import asyncio
from contextlib import aclosing

from fastapi import WebSocket, WebSocketDisconnect

from sidelane.engine.following import follow_batches
from sidelane.model.errors import SidelaneError
from sidelane.model.event import JOB, Cursor
from sidelane.model.job import JobRecord
from sidelane.stores.contract import Store
from sidelane.web.events import identity, message
from sidelane.web.listening import Listening

TRY_AGAIN = 1013
NORMAL = 1000


def close_code(error: SidelaneError) -> int:
    """Give the code a socket closes with on an error: 4000 and the HTTP status."""
    return 4000 + error.status


async def serve(
    socket: WebSocket, store: Store, record: JobRecord, snapshot: str, *, after: Cursor | None, listening: Listening
) -> None:
    """Send a job as it stands and its log to the end, then close; stop when the client has gone."""
    await socket.accept()
    writing = asyncio.create_task(_write(socket, store, record, snapshot, after, listening))
    leaving = asyncio.create_task(_left(socket))
    await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    writing.cancel()
    await asyncio.wait([writing, leaving])


async def _write(
    socket: WebSocket, store: Store, record: JobRecord, snapshot: str, after: Cursor | None, listening: Listening
) -> None:
    code = NORMAL
    async with listening.to(record):
        try:
            await socket.send_text(message(JOB, snapshot))
            async with aclosing(follow_batches(store, record.id, after)) as batches:
                async for batch in batches:
                    for event in batch:
                        await socket.send_text(message(event.name, event.data, identity(record.id, event)))
        except SidelaneError:
            code = TRY_AGAIN  # the client comes back with its cursor
        except (WebSocketDisconnect, RuntimeError):
            return
    await socket.close(code)


async def _left(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return
