"""How a running task's words reach its attempt: straight on the loop, or across from a thread."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from sidelane.engine.context import DONE, Answer, FromThread, OnLoop
from sidelane.engine.emission import Emission
from sidelane.engine.handle import Job
from sidelane.engine.task import Task
from sidelane.model.event import Entry
from sidelane.model.job import JobSpec

R = TypeVar("R")


class Speaker(Protocol):
    """The attempt that a voice speaks for."""

    emission: Emission

    def asked_to_stop(self) -> bool: ...
    async def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Job[R]: ...


class LoopVoice:
    """The voice of a task on the event loop."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._emission = speaker.emission

    def put(self, entry: Entry) -> Awaitable[None]:
        self._emission.put(entry)
        return self._emission.room() if self._emission.full else DONE

    def stopping(self) -> bool:
        return self._speaker.asked_to_stop()

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Answer[Job[R]]:
        return OnLoop(self._speaker.submit(task, spec))


class ThreadVoice:
    """The voice of a task in a thread: everything crosses over to the loop, in order."""

    MOST_CROSSING = 100

    def __init__(self, speaker: Speaker, loop: asyncio.AbstractEventLoop) -> None:
        self._speaker = speaker
        self._emission = speaker.emission
        self._loop = loop
        self._crossed = 0

    def put(self, entry: Entry) -> Awaitable[None]:
        self._loop.call_soon_threadsafe(self._put, entry)
        self._crossed += 1
        if self._crossed % self.MOST_CROSSING == 0:  # a fast thread waits now and then until the loop has caught up
            FromThread(self._loop, self._emission.room).wait()
        return DONE

    def stopping(self) -> bool:
        return self._speaker.asked_to_stop() or self._emission.lost

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Answer[Job[R]]:
        return FromThread(self._loop, lambda: self._speaker.submit(task, spec))

    def _put(self, entry: Entry) -> None:
        if not self._emission.lost:
            self._emission.put(entry)
