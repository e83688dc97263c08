"""Lag of events: the time between a task's event and its arrival at clients, through nginx and directly.

python -m tests.ops.deploy.stream_lag       print the figures of 200 streams
"""

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.ops.deploy.live import live_service

STREAMS, EVENTS, PACE = 200, 20, 0.25

DIRECT = 40
"""Streams without nginx, which are open at the same time, so that the load of the machine is the same for both."""

ROUNDS = 5


async def lags(
    proxied: str, direct: str, *, streams: int = STREAMS, events: int = EVENTS, pace: float = PACE
) -> tuple[list[float], list[float]]:
    """Return the lag in seconds of each event of one job at each stream, through nginx and directly."""
    opening = 3.0  # the first seconds are for opening the streams, whose replay is no lag
    async with httpx2.AsyncClient(base_url=proxied, trust_env=False, timeout=60) as client:
        answer = await client.post("/ticks/a", params={"count": events + round(opening / pace), "pace": pace})
        path = f"/jobs/{answer.json()['id']}/events"
    since = time.clock_gettime(time.CLOCK_MONOTONIC) + opening - pace
    every = streams // DIRECT
    urls = [url for number in range(streams) for url in ([proxied] if number % every else [direct, proxied])]
    found = await asyncio.gather(*(_read(url, path, since) for url in urls))
    by_url: dict[str, list[float]] = {proxied: [], direct: []}
    for url, each in zip(urls, found, strict=True):
        by_url[url] += each[-events:]
    return by_url[proxied], by_url[direct]


class _Recorder(asyncio.Protocol):
    """Keeps what a stream sends, each part with the time of its arrival. Parsing it at once would delay the other streams."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, bytes]] = []
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.parts.append((time.clock_gettime(time.CLOCK_MONOTONIC), data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def lags(self, since: float) -> list[float]:
        """Return the lags of the events that were emitted after `since`."""
        found, text = [], b""
        for now, part in self.parts:
            *lines, text = (text + part).split(b"\n")
            for line in lines:
                if line.startswith(b'data: {"text":'):
                    # one event may have the texts of several tokens
                    times = map(float, json.loads(line.removeprefix(b"data: "))["text"].split())
                    found += [now - at for at in times if at > since]
        return found


async def _read(url: str, path: str, since: float) -> list[float]:
    """Read a stream to its end, and return the lags of its events."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    transport, recorder = await loop.create_connection(_Recorder, parts.hostname or "", parts.port or 80)
    # an answer of HTTP/1.0 has no chunks, whose sizes would be between the lines
    transport.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode())
    await recorder.ended.wait()
    return recorder.lags(since)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, live_service(Path(folder)) as service:
        for number in range(ROUNDS):
            proxied, direct = await lags(service.url, service.direct)
            one, other = statistics.median(direct), statistics.median(proxied)
            print(
                f"round {number + 1}: p50 {one * 1000:.2f} ms direct, {other * 1000:.2f} ms through nginx, "
                f"added {(other - one) * 1000:+.2f} ms; {len(proxied)} events at {STREAMS} streams"
            )


if __name__ == "__main__":
    asyncio.run(main())
