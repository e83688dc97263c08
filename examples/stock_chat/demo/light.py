"""What a light endpoint takes, asked all the while."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from httpx2 import AsyncClient

EVERY = 0.02  # seconds: 50 requests a second


@dataclass(slots=True)
class Latencies:
    """How long requests took, in milliseconds."""

    taken: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.taken)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    def __str__(self) -> str:
        return f"p50 {self.percentile(50):.1f} ms, p99 {self.percentile(99):.1f} ms ({len(self.taken)} requests)"


@asynccontextmanager
async def measured(client: AsyncClient, url: str) -> AsyncIterator[Latencies]:
    """Ask `url` again and again while the block runs."""
    latencies = Latencies()

    async def ask() -> None:
        while True:
            began = time.perf_counter()
            response = await client.get(url)
            response.raise_for_status()
            took = time.perf_counter() - began
            latencies.taken.append(took * 1000)
            await asyncio.sleep(max(0.0, EVERY - took))

    await client.get(url)  # the first opens a connection, which is not what is measured
    asking = asyncio.create_task(ask())
    try:
        yield latencies
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking  # raises what went wrong, if a request failed
