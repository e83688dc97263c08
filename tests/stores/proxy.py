"""TCP proxy that simulates network faults: latency, stalls, resets, closed connections."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any


class Proxy:
    """Forwards bytes between its port and a server's. Settings apply from then on."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server: asyncio.Server | None = None
        self._connections: set[ProxiedConnection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.latency = 0.0
        """Seconds of delay in each direction, for new connections."""

    async def open(self) -> None:
        """Listen, on the same port as before if opened again."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections."""
        if self._server is not None:
            self._server.close()

    def stall(self) -> None:
        """Stop forwarding on existing connections without closing them."""
        for connection in self._connections:
            connection.forwarding.clear()

    def reset(self) -> None:
        """Reset existing connections, as a router that lost its state does."""
        for connection in list(self._connections):
            connection.reset()

    def cut(self) -> None:
        """Close existing connections normally, as a stopping server does."""
        for connection in list(self._connections):
            connection.close()

    async def close(self) -> None:
        """Refuse new connections and reset existing ones."""
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
        connection = ProxiedConnection(writer)
        self._connections.add(connection)
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
            connection.add(other_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.forward(reader, other_writer, self.latency))
                group.create_task(connection.forward(other_reader, writer, self.latency))
        except* (OSError, RuntimeError):  # the latter is what uvloop raises on a connection that was reset
            pass
        finally:
            self._connections.discard(connection)
            connection.reset()


class ProxiedConnection:
    """One connection through the proxy, with both of its halves."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writers = [writer]
        self.forwarding = asyncio.Event()
        self.forwarding.set()

    def add(self, writer: asyncio.StreamWriter) -> None:
        """Add the half towards the server."""
        self._writers.append(writer)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
        """Forward bytes in one direction until the connection ends."""
        while data := await reader.read(65_536):
            await asyncio.sleep(latency)
            await self.forwarding.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def close(self) -> None:
        """Close both halves."""
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """Reset both halves."""
        for writer in self._writers:
            raw_socket: Any = writer.get_extra_info("socket")
            with suppress(OSError, ValueError, AttributeError):  # already closed: uvloop has no socket then
                raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by RST
            writer.transport.abort()


@asynccontextmanager
async def between(port: int) -> AsyncIterator[Proxy]:
    """Open a proxy in front of a server's port."""
    proxy = Proxy(port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
