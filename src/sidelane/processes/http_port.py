"""HTTP port of a process group: answers to GET requests for fixed paths, by little code, so that the parent stays small."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

MAX_REQUEST_SIZE = 16 * 1024
"""Bytes of a request's headers."""

REQUEST_TIMEOUT = 5.0
"""Seconds for a client to send its request, and for the answer."""


class Answer(NamedTuple):
    """An answer: 200 if `ok`, else 503."""

    ok: bool
    body: bytes
    content_type: str = "application/json"


@asynccontextmanager
async def serve_answers(
    listener: socket.socket, routes: Mapping[str, Callable[[], Awaitable[Answer]]]
) -> AsyncIterator[None]:
    """Answer GET requests for the paths of `routes` during the block."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(request, routes))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, sock=listener, limit=MAX_REQUEST_SIZE)
    try:
        yield
    finally:
        server.close()


async def _response(request: bytes, routes: Mapping[str, Callable[[], Awaitable[Answer]]]) -> bytes:
    method, _, rest = request.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = rest.split(" ")[0].partition("?")[0]
    answer = Answer(ok=False, body=b"{}")
    if method not in {"GET", "HEAD"}:
        status = "405 Method Not Allowed"
    elif path not in routes:
        status = "404 Not Found"
    else:
        answer = await routes[path]()
        status = "200 OK" if answer.ok else "503 Service Unavailable"
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else answer.body)
