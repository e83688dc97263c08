"""Synchronous harness: for tests of endpoints with starlette's `TestClient`, which runs the application in a thread."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sidelane.app import Sidelane
from sidelane.model.durations import Duration
from sidelane.model.errors import ConfigurationError, LaneNotOpen
from sidelane.model.event import Event
from sidelane.model.job import JobRecord
from sidelane.tasks.task import Call, Task
from sidelane.testing.harness import Harness, open_harness

R = TypeVar("R")


class SyncHarness:
    """A lane under test, which the application opens. Methods run on the application's event loop."""

    def __init__(self) -> None:
        self._harness: Harness | None = None

    def run(self, call: Call[R]) -> R:
        """Submit a call, run all ready jobs, and return its result. Raises the errors of `Harness.run`."""
        return self._wait(self._opened.run(call))

    def drain(self) -> int:
        """Run all ready jobs, and those that they submit. Return the number of attempts."""
        return self._wait(self._opened.drain())

    def deliver(self) -> int:
        """Run callbacks and dispatches, which really send. Return the number of attempts."""
        return self._wait(self._opened.deliver())

    def advance(self, duration: Duration) -> None:
        """Advance the clock, and apply schedules, each at its times, then deadlines and retention."""
        self._wait(self._opened.advance(duration))

    def records(self, task: Task[..., Any, Any]) -> list[JobRecord]:
        """Return the records of a task's jobs, oldest first."""
        return self._wait(self._opened.records(task))

    def results(self, task: Task[..., Any, R]) -> list[R]:
        """Return the results of a task's jobs, oldest first. Raises the error of `Job.result` for the first without one."""

        async def collect(opened: Harness) -> list[R]:
            return [await job.result(timeout=0) for job in await opened.submitted(task)]

        return self._wait(collect(self._opened))

    def events(self, task: Task[..., Any, Any]) -> list[list[Event]]:
        """Return the events of each of a task's jobs, oldest first."""

        async def collect(opened: Harness) -> list[list[Event]]:
            return [await opened.events(job) for job in await opened.submitted(task)]

        return self._wait(collect(self._opened))

    @property
    def _opened(self) -> Harness:
        if self._harness is None:
            raise LaneNotOpen(
                "The application has not opened the lane: use `with TestClient(app) as client`, and "
                "FastAPI(lifespan=lane.lifespan)."
            )
        return self._harness

    def _wait(self, work: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(work, self._opened.loop).result()

    @asynccontextmanager
    async def open(self, lane: Sidelane, *, eager: bool) -> AsyncIterator[Sidelane]:
        """Open the lane for the application."""
        if self._harness is not None:
            raise ConfigurationError("This lane is already open in this process.")
        async with open_harness(lane, eager=eager) as opened:
            self._harness = opened
            try:
                yield lane
            finally:
                self._harness = None


@contextmanager
def sync_harness(lane: Sidelane, *, eager: bool = False) -> Iterator[SyncHarness]:
    """Let the application open the lane with an in-memory store, a manual clock, and files in a temporary folder.

    Write `with sync_harness(lane) as t, TestClient(app) as client:`. With `eager`, jobs run as they are submitted, so that streams
    and requests with `Prefer: wait` end.
    """
    opened = SyncHarness()
    with lane.opened_by(lambda lane, workers: opened.open(lane, eager=eager)):
        yield opened
