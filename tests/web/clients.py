"""Test clients: a parser of event streams, and an application on a real server with its client."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

EVENT_STREAM = {"Accept": "text/event-stream"}


@dataclass(frozen=True)
class Frame:
    """One event of a stream, a comment, or a `retry`, as sent."""

    event: str = "message"
    data: Any = None
    id: str | None = None
    comment: str | None = None
    retry: int | None = None


def frames_of(text: str) -> list[Frame]:
    """Parse a whole stream."""
    reader = FrameReader()
    return [frame for line in text.split("\n") for frame in reader.feed(line)]


class FrameReader:
    """Parses an event stream line by line by the WHATWG rules, and checks that data is JSON."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Iterator[Frame]:
        if line.startswith(":"):
            yield Frame(comment=line[1:].strip())
        elif line:
            name, _, value = line.partition(":")
            assert name in {"id", "event", "data", "retry"}
            assert name not in self._fields, "data must be a single line"
            self._fields[name] = value.removeprefix(" ")
        elif fields := self._take():
            if "retry" in fields:
                yield Frame(retry=int(fields.pop("retry")))
            if fields:
                yield Frame(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))

    def _take(self) -> dict[str, str]:
        fields, self._fields = self._fields, {}
        return fields


class Stream:
    """An open event stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self._reader = FrameReader()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        async for line in self._lines:
            for frame in self._reader.feed(line):
                yield frame

    async def until(self, name: str, count: int = 1) -> list[Frame]:
        """Read events up to the `count`-th of this name."""
        found = []
        async for frame in self:
            if frame.data is not None:
                found.append(frame)
                count -= frame.event == name
                if not count:
                    return found
        raise AssertionError(f"The stream ended before {name!r}; it had {[frame.event for frame in found]}")

    async def rest(self) -> list[Frame]:
        """Read events to the end of the stream."""
        return [frame async for frame in self if frame.data is not None]

    async def until_silent(self) -> list[Frame]:
        """Read events up to the next comment, which the server sends when there are no events."""
        found: list[Frame] = []
        async for frame in self:
            if frame.comment is not None:
                assert frame.comment == "ping"
                return found
            found += [frame] if frame.data is not None else []
        raise AssertionError("The stream ended before a comment.")


@dataclass(frozen=True)
class Server:
    """An application on a running server, and a client of it."""

    port: int
    client: httpx2.AsyncClient
    uvicorn: uvicorn.Server

    @asynccontextmanager
    async def stream(self, path: str, method: str = "GET", **request: Any) -> AsyncIterator[Stream]:
        """Open an event stream. Leaving the block closes the connection."""
        request["headers"] = {**EVENT_STREAM, **request.get("headers", {})}
        async with self.client.stream(method, path, **request) as response:
            assert response.status_code == 200, await response.aread()
            yield Stream(response)


@asynccontextmanager
async def run_server(app: ASGIApp, *, user: str | None = "ann") -> AsyncIterator[Server]:
    """Run an application, with its lifespan, in uvicorn on a free port and on this event loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = _ServerWithoutSignals(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    headers = {"X-User": user} if user else {}
    try:
        await _started(server, serving)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client:
            yield Server(port, client, server)
    finally:
        server.should_exit = True
        await serving
        listener.close()


class _ServerWithoutSignals(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # the test process keeps its own signal handlers
        yield


async def _started(server: uvicorn.Server, serving: "asyncio.Task[None]") -> None:
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)  # uvicorn has no event for its start
    if serving.done():
        await serving
