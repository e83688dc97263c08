"""Health port of a process group: HTTP answers about all its processes, for load balancers and orchestrators."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

MAX_REQUEST_SIZE = 16 * 1024
"""Bytes of a request's headers."""

REQUEST_TIMEOUT = 5.0
"""Seconds for a client to send its request."""


class Health(NamedTuple):
    """What the health port answers: `live` if an event loop turns, `ready` if a process can work now."""

    live: bool
    ready: bool
    document: Mapping[str, Any]


@asynccontextmanager
async def serve_health(listener: socket.socket, health: Callable[[], Health]) -> AsyncIterator[None]:
    """Answer `GET /health/live`, `/health/ready` and `/health` with 200 or 503, during the block."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(request, health()))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, sock=listener, limit=MAX_REQUEST_SIZE)
    try:
        yield
    finally:
        server.close()


def _response(request: bytes, health: Health) -> bytes:
    method, _, rest = request.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = rest.split(" ")[0].partition("?")[0]
    answers = {"/health/live": health.live, "/health/ready": health.ready, "/health": health.live and health.ready}
    if method not in {"GET", "HEAD"}:
        status, body = "405 Method Not Allowed", b"{}"
    elif path not in answers:
        status, body = "404 Not Found", b"{}"
    else:
        status = "200 OK" if answers[path] else "503 Service Unavailable"
        body = json.dumps(health.document, ensure_ascii=False).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
