"""Synchronous harness: for tests of endpoints with starlette's `TestClient`, which runs the application in a thread."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sidelane.app import Sidelane
from sidelane.consumers.consumer import Consumer
from sidelane.external.task import ExternalTask
from sidelane.model.durations import Duration
from sidelane.model.errors import ConfigurationError, LaneNotOpen
from sidelane.model.event import Event
from sidelane.model.job import JobRecord
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call, Task
from sidelane.testing.harness import Harness, open_harness
from sidelane.transports.job_messages import DispatchedJob

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

    def submitted(self, task: Task[..., Any, R]) -> list[Job[R]]:
        """Return handles on the jobs of a task, oldest first, for the other methods."""
        return self._wait(self._opened.submitted(task))

    def result(self, job: Job[R]) -> R:
        """Return the result of a job that has ended. Raises `JobFailed`, `JobCancelled` or `ResultNotReady`."""
        return self._wait(job.result(timeout=0))

    def callbacks(self, job: Job[Any]) -> list[tuple[str, str]]:
        """Return the callbacks of a job's end, each as its receiver and its body."""
        return self._wait(self._opened.callbacks(job))

    def dispatched(self, task: ExternalTask[Any, Any]) -> list[DispatchedJob]:
        """Return the messages of a task's jobs that external workers have now, oldest first. In a test nothing is sent."""
        return self._wait(self._opened.dispatched(task))

    def complete(self, job: Job[R], result: R) -> None:
        """Complete the job of an external task. Raises `JobConflict` if no external worker has it."""
        self._wait(self._opened.complete(job, result))

    def fail(self, job: Job[Any], problem: Problem, *, retry: bool = True) -> None:
        """Fail the job of an external task; with `retry=False`, without another attempt.

        Raises `JobConflict` if no external worker has it.
        """
        self._wait(self._opened.fail(job, problem, retry=retry))

    def consume(self, consumer: Consumer, message: Message) -> Job[Any] | None:
        """Submit the job that a consumer creates from a message. Return None if the consumer skips the message.

        Raises `MalformedMessage` if the message is invalid, and what a submit raises.
        """
        return self._wait(self._opened.consume(consumer, message))

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
