"""Waiting until a store says what a page should show."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sidelane import Job


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait at most ten seconds until a condition holds."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.02)


async def end_of(job: Job[Any]) -> Job[Any]:
    """Wait at most ten seconds until a job has ended, and return it."""
    async with asyncio.timeout(10):
        async for _ in job.events():
            pass
    return job


async def seconds_until(expectation: Awaitable[None]) -> float:
    """Return how long an expectation takes. Of several, the quickest counts, because other tests run beside this one."""
    began = time.monotonic()
    await expectation
    return time.monotonic() - began
