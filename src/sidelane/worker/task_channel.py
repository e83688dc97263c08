"""How a running task's words reach its attempt: straight on the loop, or across from a thread."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec
from sidelane.tasks.context import COMPLETED, LoopPending, Pending, ThreadPending
from sidelane.tasks.job import Job
from sidelane.tasks.task import Task
from sidelane.worker.event_buffer import EventBuffer

R = TypeVar("R")


class AttemptChannel(Protocol):
    """The attempt that a voice speaks for."""

    emission: EventBuffer

    def asked_to_stop(self) -> bool: ...
    async def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Job[R]: ...


class LoopChannel:
    """The voice of a task on the event loop."""

    def __init__(self, speaker: AttemptChannel) -> None:
        self._speaker = speaker
        self._emission = speaker.emission

    def put(self, entry: NewEvent) -> Awaitable[None]:
        self._emission.add(entry)
        return self._emission.wait_for_space() if self._emission.is_full else COMPLETED

    def stopping(self) -> bool:
        return self._speaker.asked_to_stop()

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]:
        return LoopPending(self._speaker.submit(task, spec))


class ThreadChannel:
    """The voice of a task in a thread: everything crosses over to the loop, in order."""

    MOST_CROSSING = 100

    def __init__(self, speaker: AttemptChannel, loop: asyncio.AbstractEventLoop) -> None:
        self._speaker = speaker
        self._emission = speaker.emission
        self._loop = loop
        self._crossed = 0

    def put(self, entry: NewEvent) -> Awaitable[None]:
        self._loop.call_soon_threadsafe(self._put, entry)
        self._crossed += 1
        if self._crossed % self.MOST_CROSSING == 0:  # a fast thread waits now and then until the loop has caught up
            ThreadPending(self._loop, self._emission.wait_for_space).wait()
        return COMPLETED

    def stopping(self) -> bool:
        return self._speaker.asked_to_stop() or self._emission.lost

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]:
        return ThreadPending(self._loop, lambda: self._speaker.submit(task, spec))

    def _put(self, entry: NewEvent) -> None:
        if not self._emission.lost:
            self._emission.add(entry)
