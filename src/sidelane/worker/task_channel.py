"""Task channels: how events and submits of a running task reach its attempt, from the event loop or from a thread."""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any, Protocol, TypeVar

from sidelane.model.event import NewEvent
from sidelane.model.history import NO_USAGE, Usage
from sidelane.model.job import JobSpec, Submission
from sidelane.model.worker_request import Instructions
from sidelane.stores.contract import Store
from sidelane.tasks.context import COMPLETED, LoopPending, Pending, ThreadPending
from sidelane.tasks.job import Job
from sidelane.tasks.task import Task
from sidelane.telemetry.port import Telemetry
from sidelane.worker.event_buffer import EventBuffer

R = TypeVar("R")

MAX_IN_FLIGHT = 100
"""Events that a thread may emit before it waits until the loop has handled them."""


class TaskClient(Protocol):
    """The client that running tasks use: `client.Client`, or `NullClient` on machines without access to the store."""

    @property
    def store(self) -> Store: ...
    @property
    def registry(self) -> object: ...
    @property
    def telemetry(self) -> Telemetry: ...
    async def submit_spec(self, spec: JobSpec) -> Submission: ...
    async def keep_files(self, spec: JobSpec, text: str) -> None: ...
    async def follow_instructions(self, worker_id: str, on_read: Callable[[Instructions], None]) -> None: ...
    def job(self, task: Task[..., Any, R], job_id: str, *, created: bool = True) -> Job[R]: ...


class UsageMeter:
    """Adds up what an attempt used. Threads may add, too."""

    __slots__ = ("total",)
    _lock = Lock()  # one for all, because hardly any attempt needs it

    def __init__(self) -> None:
        self.total = NO_USAGE

    def add(self, usage: Usage) -> None:
        """Add to the total. Raises ValueError if it becomes too large."""
        with self._lock:
            self.total += usage


class LoopChannel:
    """The channel of a task on the event loop. `is_stopping` returns whether its attempt should stop."""

    def __init__(
        self, events: EventBuffer, client: TaskClient, is_stopping: Callable[[], bool], *, usage: UsageMeter
    ) -> None:
        self.thread: int | None = None
        self.registry = client.registry
        self.report_usage = usage.add
        self._events = events
        self._client = client
        self._is_stopping = is_stopping

    def put(self, event: NewEvent) -> Awaitable[None]:
        self._events.add(event)
        return self._events.wait_for_space() if self._events.is_full else COMPLETED

    def stopping(self) -> bool:
        return self._is_stopping()

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]:
        return LoopPending(_submit(self._client, task, spec))


class ThreadChannel:
    """The channel of a task in a thread. The task's events are passed to the loop, in order."""

    def __init__(
        self,
        events: EventBuffer,
        client: TaskClient,
        is_stopping: Callable[[], bool],
        *,
        usage: UsageMeter,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.thread: int | None = None
        self.registry = client.registry
        self.report_usage = usage.add
        self._events = events
        self._client = client
        self._is_stopping = is_stopping
        self._loop = loop
        self._count = 0

    def put(self, event: NewEvent) -> Awaitable[None]:
        self._loop.call_soon_threadsafe(self._put, event)
        self._count += 1
        if self._count % MAX_IN_FLIGHT == 0:
            ThreadPending(self._loop, self._events.wait_for_space).wait()
        return COMPLETED

    def stopping(self) -> bool:
        return self._is_stopping() or self._events.closed

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]:
        return ThreadPending(self._loop, lambda: _submit(self._client, task, spec))

    def _put(self, event: NewEvent) -> None:
        if not self._events.closed:
            self._events.add(event)


async def _submit(client: TaskClient, task: Task[..., Any, R], spec: JobSpec) -> Job[R]:
    submission = await client.submit_spec(spec)
    return client.job(task, submission.record.id, created=submission.created)
