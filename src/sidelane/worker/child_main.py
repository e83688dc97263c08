"""The child process of `process=True` tasks: runs one attempt at a time for the worker at the other end of a socket."""

import asyncio
import ctypes
import importlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

from sidelane.model.errors import ConfigurationError, LaneNotOpen
from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Outcome, Succeeded
from sidelane.tasks.context import COMPLETED, Context, LoopPending, Pending, ThreadPending
from sidelane.tasks.job import Job
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.tasks.resources import Resources
from sidelane.tasks.task import Task
from sidelane.worker.child_protocol import (
    MAX_LINE_SIZE,
    pack,
    pack_entry,
    pack_outcome,
    pack_submit,
    read_answer,
    unpack,
)
from sidelane.worker.executor import execute
from sidelane.worker.outcome import classify_error

R = TypeVar("R")

PR_SET_PDEATHSIG = 1


class SocketChannel:
    """The voice of a task in a child process: entries and submits go to the worker, its answers and its wish to stop come back."""

    def __init__(self, writer: asyncio.StreamWriter, *, on_loop: bool) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._on_loop = on_loop
        self._answers: list[asyncio.Future[dict[str, Any]]] = []
        self.stop = False

    def put(self, entry: NewEvent) -> Awaitable[None]:
        self._loop.call_soon_threadsafe(self._writer.write, pack_entry(entry))
        return COMPLETED

    def stopping(self) -> bool:
        return self.stop

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]:
        if self._on_loop:
            return LoopPending(self._submit(task, spec))
        return ThreadPending(self._loop, lambda: self._submit(task, spec))

    def answered(self, message: dict[str, Any]) -> None:
        """Hear what became of a submit."""
        self._answers[message["answer"]].set_result(message)

    async def _submit(self, task: Task[..., Any, R], spec: JobSpec) -> Job[R]:
        answer = self._loop.create_future()
        self._writer.write(pack_submit(len(self._answers), spec))
        self._answers.append(answer)
        job_id, created = read_answer(await asyncio.shield(answer))
        return Job(job_id, cast(Any, _Elsewhere()), task.decode_result, created)


class _Elsewhere:
    """The open lane of a job that a child process has submitted: it is open in the worker only."""

    def __getattr__(self, name: str) -> Any:
        raise LaneNotOpen(
            "A task with process=True knows the jobs it submits by their ids; look at them from elsewhere."
        )


class ChildMain:
    """Serves attempts until the worker hangs up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._resources = Resources({})
        self._threads = ThreadPoolExecutor(1)
        self._tasks: dict[str, AnyTask] = {}

    async def run(self) -> None:
        while line := await self._line():
            message = unpack(line)
            if "prepare" in message:
                self._writer.write(pack(await self._prepare(*message["prepare"])))
            if "arguments" not in message:
                continue  # also a wish to stop that came too late
            task = self._tasks[message["task"]]
            voice = SocketChannel(self._writer, on_loop=task.signature.is_async)
            attempt = asyncio.create_task(self._attempt(task, message, voice))
            listener = asyncio.create_task(self._listen(task, voice, attempt))
            outcome = await attempt
            listener.cancel()
            await asyncio.wait([listener])
            self._writer.write(pack_outcome(outcome))
            await self._writer.drain()

    async def _line(self) -> bytes:
        """Give the worker's next message. It is empty when the worker is gone, also where that left half a message."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return b""
        return line if line.endswith(b"\n") else b""

    async def _prepare(self, module: str, name: str) -> dict[str, str]:
        try:
            task = self._tasks[name] = find_task(module, name)
            task.lane.load()  # what wraps attempts and explains errors may stand in other modules
        except Exception as error:  # noqa: BLE001 - whatever importing the user's module raises, the worker is told
            return {"broken": f"{type(error).__name__}: {error}"}
        await self._resources.open(task.signature.uses)  # one that does not open shows again in the attempt
        return {"ready": name}

    async def _listen(self, task: AnyTask, voice: SocketChannel, attempt: "asyncio.Task[Outcome]") -> None:
        while line := await self._line():
            message = unpack(line)
            if "answer" in message:
                voice.answered(message)
                continue
            voice.stop = True
            if task.signature.is_async:
                attempt.cancel()  # the others ask `ctx.check()`
        os._exit(0)  # the worker is gone, and with it the lease

    async def _attempt(self, task: AnyTask, message: dict[str, Any], voice: SocketChannel) -> Outcome:
        registry: Registry = task.lane.registry
        try:
            result = await execute(
                task,
                task.decode_arguments(message["arguments"], message["version"]),
                Context(**message["context"], channel=voice),
                resources=self._resources,
                arounds=registry.middleware,
                threads=self._threads,
            )
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - it goes to the worker
            return classify_error(error, failures=message["failures"], retry=task.policy.retry, registry=registry)
        return Succeeded(result)


def find_task(module: str, name: str) -> AnyTask:
    """Import a module and give its task of this name. Raises `ConfigurationError`."""
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, Task) and name in (value.name, *value.aliases):
            return value
    raise ConfigurationError(
        f"Module {module!r} has no task {name!r} at its top level, so a child process cannot find it."
    )


def _die_with_the_worker() -> None:
    """Ask Linux to end this process when its worker is killed; elsewhere the closed socket does it, a little later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def _main(fd: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=MAX_LINE_SIZE)
    with suppress(ConnectionError):  # the worker was killed, and nobody hears how the attempt ended
        await ChildMain(reader, writer).run()


if __name__ == "__main__":
    _die_with_the_worker()
    asyncio.run(_main(int(sys.argv[1])))
