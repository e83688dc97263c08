"""Run of a load: arrivals at a rate, users in a loop, and the light route beside them."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from itertools import count, cycle
from typing import Any

from sidelane.ops.load.client import LoadClient, open_load_client
from sidelane.ops.load.figures import Distribution, LoadFigures
from sidelane.ops.load.plan import LoadPlan, arrivals

ERROR_PAUSE = 1.0
"""Seconds that a user waits at least after a request that failed, so that a dead service is not requested in a busy loop."""

Send = Callable[[float], Coroutine[Any, Any, object]]
"""Sends a request that was due at a time of the monotonic clock."""


async def run_load(plan: LoadPlan, figures: LoadFigures, stop: asyncio.Event) -> None:
    """Send the load of a plan, and wait for what it began; once `stop` is set, end without waiting.

    Raises `ServiceUnreachable` if nothing answers at the address before the load begins.
    """
    async with open_load_client(plan, figures) as client:
        running = asyncio.create_task(LoadRun(plan, figures, client).run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            figures.end()
            unfinished = figures.in_flight
            stopping.cancel()
            running.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
            figures.in_flight = unfinished
        if not running.cancelled():
            running.result()


class LoadRun:
    """One run of a plan."""

    def __init__(self, plan: LoadPlan, figures: LoadFigures, client: LoadClient) -> None:
        self._plan = plan
        self._figures = figures
        self._client = client
        self._numbers = count(1)
        self._routes = cycle(plan.heavy)

    async def run(self) -> None:
        """Send all requests, and wait for their ends. Raises `ServiceUnreachable` before the first."""
        plan, figures = self._plan, self._figures
        await self._client.probe()
        if plan.light and plan.heavy and plan.idle:
            await self._arrive(plan.light_rate, plan.idle, 0, self._light(figures.idle))
        figures.begin()
        async with asyncio.TaskGroup() as group:
            if plan.light:
                group.create_task(self._arrive(plan.light_rate, plan.duration, 0, self._light(figures.light)))
            if plan.rate is not None:
                group.create_task(self._arrive(plan.rate, plan.duration, plan.ramp, self._heavy_request))
            for number in range(plan.users or 0):
                group.create_task(self._user(number + 1, plan.ramp * number / (plan.users or 1)))

    async def _arrive(self, rate: float, duration: float, ramp: float, send: Send) -> None:
        """Begin requests when they are due, whether or not earlier ones have ended."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for offset in arrivals(rate, duration, ramp):
                due = began + offset
                await sleep_until(due)
                group.create_task(send(due))

    def _light(self, times: Distribution) -> Send:
        numbers = count(1)
        return lambda due: self._client.light(next(numbers), due, times)

    async def _heavy_request(self, due: float) -> None:
        number = next(self._numbers)
        await self._client.heavy(next(self._routes), number, number, due)

    async def _user(self, user: int, delay: float) -> None:
        """Send requests one after another, as one user, until the load ends."""
        end = time.monotonic() + self._plan.duration
        due = time.monotonic() + delay
        while due < end:
            await sleep_until(due)
            succeeded = await self._client.heavy(next(self._routes), next(self._numbers), user, due)
            pause = self._plan.think * random.uniform(0.5, 1.5)
            due = time.monotonic() + max(pause, 0.0 if succeeded else ERROR_PAUSE)


async def sleep_until(due: float) -> None:
    """Wait until a time of the monotonic clock, and let other tasks run if it has passed."""
    await asyncio.sleep(max(0.0, due - time.monotonic()))
