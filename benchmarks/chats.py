"""Clients of event streams: a thousand of them in one process do not distort the measurement.

    python chats.py BASE chats CHATS TOKENS PER_SECOND      POST each chat and read it to the end
    python chats.py BASE cuts CHATS TOKENS PER_SECOND       the same, but each connection breaks once for 0.3 s
    python chats.py BASE light SECONDS                      GET /light 50 times a second

Each prints one line of JSON, in milliseconds. A token contains its number and the time it was made (nanoseconds of this machine's
monotonic clock), so that lost, repeated and late tokens are detected.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from urllib.parse import urlsplit

try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop

TOKEN = re.compile(rb'"(\d+):(\d{6,})"')
ID = re.compile(rb"^id: ?(\S+)", re.MULTILINE)
LOCATION = re.compile(rb"^location: ?(\S+)", re.MULTILINE | re.IGNORECASE)
RECONNECT_DELAY = 0.3
"""Seconds until a broken connection is resumed."""


@dataclass
class Seen:
    """What one client received."""

    numbers: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    ended: bool = False
    location: str = ""
    last_id: str = ""


class Stream(asyncio.Protocol):
    """One connection: sends a request and parses the tokens of its response."""

    def __init__(self, request: bytes, seen: Seen, *, cut_after: int = 0) -> None:
        self._request = request
        self._seen = seen
        self._cut_after = cut_after
        self._rest = b""
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        whole, ending, rest = (self._rest + data).rpartition(b"\n\n")
        self._rest = rest if ending else self._rest + data
        for number, made in TOKEN.findall(whole):
            self._seen.numbers.append(int(number))
            self._seen.delays.append((now - int(made)) / 1e6)
        if not self._seen.location and (found := LOCATION.search(whole)):
            self._seen.location = found[1].decode()
        if self._cut_after and (ids := ID.findall(whole)):
            self._seen.last_id = ids[-1].decode()
        if b"event: end" in whole:
            self._seen.ended = True
            self._transport.abort()
        elif self._cut_after and len(self._seen.numbers) >= self._cut_after:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


@dataclass(frozen=True)
class Address:
    """The address of the service."""

    host: str
    port: int

    async def stream(self, method: str, path: str, seen: Seen, *, cut_after: int = 0) -> None:
        """Send a request and read its stream to the end, or until `cut_after` tokens were received."""
        more = f"Last-Event-ID: {seen.last_id}\r\n" if seen.last_id else ""
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAccept: text/event-stream\r\n"
            f"Content-Length: 0\r\nConnection: close\r\n{more}\r\n"
        )
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(
            lambda: Stream(request.encode(), seen, cut_after=cut_after), self.host, self.port
        )
        await protocol.over


async def chats(address: Address, count: str, tokens: str, per_second: str, *, cuts: bool = False) -> dict[str, Any]:
    """Run `count` chats that start within two seconds, as users do."""
    many, wanted, pace = int(count), int(tokens), float(per_second)
    path = f"/chat?tokens={wanted}&per_second={pace}"
    all_seen: list[Seen] = []

    async def chat(number: int) -> None:
        await asyncio.sleep(2 * number / many)
        seen = Seen()
        all_seen.append(seen)
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * wanted / pace + 20):
                await (broken(number, seen) if cuts else address.stream("POST", path, seen))

    async def broken(number: int, seen: Seen) -> None:
        await address.stream("POST", path, seen, cut_after=wanted // 4 + number % (wanted // 4))
        await asyncio.sleep(RECONNECT_DELAY)
        await address.stream("GET", f"{seen.location}/events", seen)

    await asyncio.gather(*(chat(number) for number in range(many)))
    delays = sorted(delay for seen in all_seen for delay in seen.delays)
    return {
        "tokens": many * wanted,
        "lost": sum(len(set(range(wanted)) - set(seen.numbers)) for seen in all_seen),
        "repeated": sum(len(seen.numbers) - len(set(seen.numbers)) for seen in all_seen),
        "unordered": sum(seen.numbers != sorted(seen.numbers) for seen in all_seen),
        "unended": sum(not seen.ended for seen in all_seen),
        **percentiles(delays),
    }


async def cuts(address: Address, count: str, tokens: str, per_second: str) -> dict[str, Any]:
    return await chats(address, count, tokens, per_second, cuts=True)


async def light(address: Address, seconds: str) -> dict[str, Any]:
    """Request the light endpoint 50 times a second, without waiting for earlier responses."""
    waits: list[float] = []

    async def ask() -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(f"GET /light HTTP/1.1\r\nHost: {address.host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert b" 200 " in answer.split(b"\r\n", 1)[0]
        waits.append((time.perf_counter() - began) * 1e3)

    async with asyncio.TaskGroup() as group:
        for _ in range(int(float(seconds) * 50)):
            group.create_task(ask())
            await asyncio.sleep(1 / 50)
    return percentiles(sorted(waits))


def percentiles(ordered: list[float]) -> dict[str, float]:
    if not ordered:
        return {"p50": 0.0, "p99": 0.0, "most": 0.0}
    return {"p50": median(ordered), "p99": ordered[int(len(ordered) * 0.99)], "most": ordered[-1]}


def main(base: str, what: str, *arguments: str) -> None:
    parts = urlsplit(base)
    address = Address(parts.hostname or "127.0.0.1", parts.port or 80)
    work: Coroutine[Any, Any, dict[str, Any]] = {"chats": chats, "cuts": cuts, "light": light}[what](
        address, *arguments
    )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        print(json.dumps(runner.run(work)))


if __name__ == "__main__":
    main(*sys.argv[1:])
