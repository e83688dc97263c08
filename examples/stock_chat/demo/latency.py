"""Latency of an endpoint, measured in the background."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from httpx2 import AsyncClient

INTERVAL = 0.02  # seconds between requests


@dataclass(slots=True)
class Latencies:
    """Latencies of requests, in milliseconds."""

    samples: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.samples)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    def __str__(self) -> str:
        return f"p50 {self.percentile(50):.1f} ms, p99 {self.percentile(99):.1f} ms ({len(self.samples)} requests)"


@asynccontextmanager
async def measure_latency(client: AsyncClient, url: str) -> AsyncIterator[Latencies]:
    """Request `url` repeatedly while the block runs."""
    latencies = Latencies()

    async def request_repeatedly() -> None:
        while True:
            began = time.perf_counter()
            response = await client.get(url)
            response.raise_for_status()
            took = time.perf_counter() - began
            latencies.samples.append(took * 1000)
            await asyncio.sleep(max(0.0, INTERVAL - took))

    await client.get(url)  # opens the connection, which is not measured
    requests = asyncio.create_task(request_repeatedly())
    try:
        yield latencies
    finally:
        requests.cancel()
        with suppress(asyncio.CancelledError):
            await requests  # raises if a request failed
