"""A network in trouble between a client and a server: slow, silent, cut or closed."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes bytes on between its port and a server's. What is set counts from then on."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self.port = 0
        self.latency = 0.0
        """Seconds by which bytes of new connections come late, each way."""

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
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
        """Cut the connections there are."""
        for line in list(self._lines):
            line.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
        line = Line(writer, other_writer)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(line.carry(reader, other_writer, self.latency))
                group.create_task(line.carry(other_reader, writer, self.latency))
        except* OSError:
            pass
        finally:
            self._lines.discard(line)
            line.cut()


class Line:
    """One connection through the proxy: both of its halves."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.passing = asyncio.Event()
        self.passing.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
        """Pass bytes on in one direction until the connection ends."""
        while data := await reader.read(65_536):
            await asyncio.sleep(latency)
            await self.passing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def cut(self) -> None:
        """Reset both halves."""
        for writer in self._writers:
            connection: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
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
        proxy.refuse()
        proxy.reset()
