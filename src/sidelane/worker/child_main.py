"""Child process of `process=True` tasks. The process runs one attempt at a time for the worker at the other end of a socket."""

import asyncio
import importlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sidelane.exporters.tracing import open_tracer
from sidelane.model.errors import ConfigurationError, LaneNotOpen, SidelaneError
from sidelane.model.event import NewEvent
from sidelane.model.history import Usage
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Outcome, Succeeded
from sidelane.model.stack import Stack
from sidelane.processes.child import connect_to_parent, signal_on_parent_exit
from sidelane.processes.logs import LogOptions, log_to_stderr
from sidelane.tasks.context import COMPLETED, Context, LoopPending, Pending, ThreadPending, current_context
from sidelane.tasks.job import Job
from sidelane.tasks.job_log_filter import JobLogFilter
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.tasks.resources import Resources
from sidelane.tasks.task import Task
from sidelane.telemetry.tracer import NEW_TRACE, NO_TRACER
from sidelane.worker.child_protocol import (
    pack,
    pack_event,
    pack_outcome,
    pack_submit,
    pack_usage,
    read_submission,
    unpack,
)
from sidelane.worker.child_stack import answer_stack_requests
from sidelane.worker.executor import execute
from sidelane.worker.job_log import JobLog, keep_records
from sidelane.worker.outcome import classify_error, is_throttled
from sidelane.worker.stack import LoopStacks

R = TypeVar("R")

FLUSH_TIMEOUT = 1.0
"""Seconds that an attempt may wait for its spans to be sent."""


class SocketChannel:
    """The channel of a task in a child process.

    The channel sends events and submits to the worker, and receives answers and the request to stop. After the end of the attempt
    it sends nothing, because the worker would take that for a part of the next attempt.
    """

    def __init__(self, writer: asyncio.StreamWriter, task: AnyTask) -> None:
        self.thread: int | None = None
        self.registry = task.lane.registry
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._on_loop = task.signature.is_async
        self._answers: list[asyncio.Future[dict[str, Any]]] = []
        self.stop_requested = False
        self.ended = False

    def put(self, event: NewEvent) -> Awaitable[None]:
        self._loop.call_soon_threadsafe(self.write, pack_event(event))
        return COMPLETED

    def write(self, line: bytes) -> None:
        """Send a line to the worker, unless the attempt has ended."""
        if not self.ended:
            self._writer.write(line)

    def stopping(self) -> bool:
        return self.stop_requested

    def report_usage(self, usage: Usage) -> None:
        self._loop.call_soon_threadsafe(self.write, pack_usage(usage))

    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]:
        if self._on_loop:
            return LoopPending(self._submit(task, spec))
        return ThreadPending(self._loop, lambda: self._submit(task, spec))

    def on_submission(self, message: dict[str, Any]) -> None:
        """Pass the answer to a submit to the task."""
        self._answers[message["answer"]].set_result(message)

    async def _submit(self, task: Task[..., Any, R], spec: JobSpec) -> Job[R]:
        if self.ended:
            raise SidelaneError("The attempt that submits this job has ended.")
        answer = self._loop.create_future()
        self._writer.write(pack_submit(len(self._answers), spec))
        self._answers.append(answer)
        job_id, created = read_submission(await asyncio.shield(answer))
        return Job(job_id, cast(Any, _ClosedLane()), task.decode_result, created)


class _ClosedLane:
    """The client of a job that a child process has submitted. The lane is open only in the worker."""

    def __getattr__(self, name: str) -> Any:
        raise LaneNotOpen(
            "A task with process=True has only the ids of the jobs it submits; use another process to follow them."
        )


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """The attempt that runs in the child."""

    job_id: str
    number: int
    body: asyncio.Task[tuple[Outcome, bool]]
    channel: SocketChannel


class ChildMain:
    """Runs attempts until the worker closes the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._resources = Resources({})
        self._threads = ThreadPoolExecutor(1)
        self._tasks: dict[str, AnyTask] = {}
        self._tracer = NO_TRACER
        self._stacks = LoopStacks(asyncio.get_running_loop(), threading.get_ident())
        self._running: RunningAttempt | None = None

    async def run(self) -> None:
        while line := await self._receive():
            message = unpack(line)
            if "log" in message:
                log_to_stderr(LogOptions(**message["log"]), JobLogFilter())
            if "prepare" in message:
                self._writer.write(pack(await self._prepare(*message["prepare"])))
            if "arguments" not in message:
                continue  # also a request to stop that came too late
            task = self._tasks[message["task"]]
            channel = SocketChannel(self._writer, task)
            attempt = asyncio.create_task(self._attempt(task, message, channel))
            self._running = RunningAttempt(
                message["context"]["job_id"], message["context"]["attempt"], attempt, channel
            )
            listener = asyncio.create_task(self._handle_messages(task, channel, attempt))
            outcome, throttled = await attempt
            self._running, channel.ended = None, True
            listener.cancel()
            await asyncio.wait([listener])
            await self._tracer.flush(FLUSH_TIMEOUT)  # first, because the worker may kill this process after the outcome
            self._writer.write(pack_outcome(outcome, throttled=throttled))
            await self._writer.drain()

    def stack(self, job_id: str, attempt: int) -> Stack | None:
        """Return what an attempt does, or None if it does not run. Another thread calls it."""
        running = self._running
        if running is None or (running.job_id, running.number) != (job_id, attempt):
            return None
        return self._stacks.read(running.body, running.channel)

    async def _receive(self) -> bytes:
        """Return the worker's next message, or b"" if the worker has exited, even in the middle of a message."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return b""
        return line if line.endswith(b"\n") else b""

    async def _prepare(self, module: str, name: str) -> dict[str, str]:
        try:
            task = self._tasks[name] = find_task(module, name)
            task.lane.load()  # middleware and problem rules may be in other modules
            if self._tracer is NO_TRACER:
                self._tracer = open_tracer(task.lane.settings)
        except Exception as error:  # noqa: BLE001 - whatever importing the user's module raises goes to the worker
            return {"broken": f"{type(error).__name__}: {error}"}
        await self._resources.open(task.signature.uses)  # one that fails to open fails again in the attempt
        return {"ready": name}

    async def _handle_messages(
        self, task: AnyTask, channel: SocketChannel, attempt: "asyncio.Task[tuple[Outcome, bool]]"
    ) -> None:
        while line := await self._receive():
            message = unpack(line)
            if "answer" in message:
                channel.on_submission(message)
                continue
            channel.stop_requested = True
            if task.signature.is_async:
                attempt.cancel()  # the others call `ctx.check()`
        os._exit(0)  # the worker has exited, so the lease will end

    async def _attempt(self, task: AnyTask, message: dict[str, Any], channel: SocketChannel) -> tuple[Outcome, bool]:
        """Return the outcome of an attempt, and whether a provider asked to try later."""
        registry: Registry = task.lane.registry
        context = Context(**message["context"], channel=channel, tracer=self._tracer)
        current_context.set(context)  # each attempt runs in its own asyncio task
        if message["log_size"]:
            keep_records(JobLog(message["log_size"], lambda event: channel.write(pack_event(event))))
        try:
            with self._tracer.current(self._tracer.remote(context.trace or NEW_TRACE)):
                result = await execute(
                    task,
                    task.decode_arguments(message["arguments"], message["version"]),
                    context,
                    resources=self._resources,
                    middleware=registry.middleware,
                    threads=self._threads,
                )
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - it goes to the worker
            outcome = classify_error(error, failures=message["failures"], retry=task.policy.retry, registry=registry)
            return outcome, is_throttled(error)
        return Succeeded(result), False


def find_task(module: str, name: str) -> AnyTask:
    """Import a module and return its task of this name. Raises `ConfigurationError`."""
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, Task) and name in (value.name, *value.aliases):
            return value
    raise ConfigurationError(
        f"Module {module!r} has no task {name!r} at its top level, so a child process cannot find it."
    )


async def _main(descriptor: int, stack_descriptor: int) -> None:
    reader, writer = await connect_to_parent(descriptor)
    child = ChildMain(reader, writer)
    answer_stack_requests(stack_descriptor, child.stack)
    with suppress(ConnectionError):  # the worker was killed, so the outcome of the attempt does not count
        await child.run()


if __name__ == "__main__":
    signal_on_parent_exit(signal.SIGKILL)  # elsewhere than on Linux the closed socket ends the process, a little later
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
