"""HTTP receiver for tests that fails, stalls, redirects or sends slowly on demand."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """Verify the signature, and return the document. Raises if it is invalid."""
        return Verifier(secret).verify(self.body, self.headers)


Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def status(code: int, text: str = "", **headers: str) -> Reply:
    """Answer with a status."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {code} So\r\n{named}Content-Length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()

    return reply


async def stalled(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Send one byte at a time, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


async def pouring(writer: asyncio.StreamWriter) -> None:
    """Send an endless response, as fast as it is read."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        await writer.drain()


async def cut(writer: asyncio.StreamWriter) -> None:
    """Close the connection in the middle of the response."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()


@dataclass
class Receiver:
    """Listens on a port of 127.0.0.1. `replies` are used one by one; after them it answers 200."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    usual: Reply = field(default_factory=lambda: status(200, "ok"))
    connections: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jobs"

    async def until(self, count: int) -> list[Received]:
        """Wait for so many requests."""
        while len(self.received) < count:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 60)
        return self.received

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
                self.received.append(Received(method, path, headers, body))
                self.news.set()
                await (self.replies.pop(0) if self.replies else self.usual)(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            await task
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def receiving(port: int = 0, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver, on a free port by default."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver._accept, "127.0.0.1", port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(receiver._open):
            task.cancel()
        await server.wait_closed()
