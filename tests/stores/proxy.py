"""A network in trouble between a client and a server: slow, silent, reset, cut or closed."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any


class Proxy:
    """Passes bytes on between its port and a server's. What is set counts from then on."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.latency = 0.0
        """Seconds by which bytes of new connections come late, each way."""

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    def stall(self) -> None:
        """Pass nothing on over the connections there are, and tell neither side."""
        for line in self._lines:
            line.passing.clear()

    def reset(self) -> None:
        """Reset the connections there are, as a router does that has forgotten them."""
        for line in list(self._lines):
            line.reset()

    def cut(self) -> None:
        """End the connections there are in good order, as a server does that is told to stop."""
        for line in list(self._lines):
            line.close()

    async def close(self) -> None:
        """Take no new connections, and reset those there are."""
        self.refuse()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(writer)
        self._lines.add(line)
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
            line.add(other_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(line.carry(reader, other_writer, self.latency))
                group.create_task(line.carry(other_reader, writer, self.latency))
        except* (OSError, RuntimeError):  # the latter is what uvloop raises on a connection that was reset
            pass
        finally:
            self._lines.discard(line)
            line.reset()


class Line:
    """One connection through the proxy: both of its halves."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writers = [writer]
        self.passing = asyncio.Event()
        self.passing.set()

    def add(self, writer: asyncio.StreamWriter) -> None:
        """Hear of the half towards the server."""
        self._writers.append(writer)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
        """Pass bytes on in one direction until the connection ends."""
        while data := await reader.read(65_536):
            await asyncio.sleep(latency)
            await self.passing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def close(self) -> None:
        """End both halves."""
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """Reset both halves."""
        for writer in self._writers:
            connection: Any = writer.get_extra_info("socket")
            with suppress(OSError, ValueError, AttributeError):  # the other side was quicker: uvloop has no socket then
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by RST
            writer.transport.abort()


@asynccontextmanager
async def between(port: int) -> AsyncIterator[Proxy]:
    """Open a proxy before a server's port."""
    proxy = Proxy(port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
