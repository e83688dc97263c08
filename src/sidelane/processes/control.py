"""Control socket: commands to a running group parent, and its answers. One request per connection, JSON lines in UTF-8."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sidelane.model.errors import ConfigurationError

MAX_REQUEST_SIZE = 64 * 1024
"""Bytes of one request or of one line of an answer."""

REQUEST_TIMEOUT = 5.0
"""Seconds for a client to send its request."""

Handler = Callable[[Mapping[str, Any]], AsyncIterator[Mapping[str, Any]]]
"""Yields the lines of the answer to a request."""


@asynccontextmanager
async def serve_control(path: Path, handle: Handler) -> AsyncIterator[None]:
    """Answer requests on a Unix socket that only this user may open, during the block."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await _answer(reader, writer, handle)
        writer.close()

    listener = _bind(path)
    inode = _inode(path)
    server = await asyncio.start_unix_server(connected, sock=listener, limit=MAX_REQUEST_SIZE)
    try:
        yield
    finally:
        server.close()
        _unlink(path, inode)


def _bind(path: Path) -> socket.socket:
    """Bind a Unix socket, in place of one that a killed parent left."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"Cannot open the control socket {path}: {error.strerror or error}.") from error
    finally:
        os.umask(mask)
    return listener


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _unlink(path: Path, inode: int | None) -> None:
    """Remove a socket, unless it is a successor's by now."""
    if _inode(path) == inode:
        path.unlink(missing_ok=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            request = json.loads(await reader.readline())
    except (TimeoutError, ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        writer.write(_line({"error": "The request is not a JSON object on one line."}))
        return await writer.drain()
    async for answer in handle(request):  # to its end, also if the client has gone: half a restart would be worse
        with suppress(OSError):
            writer.write(_line(answer))
            await writer.drain()
    return None


def call(path: Path, request: Mapping[str, object], *, timeout: float) -> Iterator[dict[str, Any]]:
    """Send a request and yield the lines of the answer. Raises `OSError`, if a line takes longer than `timeout` seconds too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(_line(request))
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
