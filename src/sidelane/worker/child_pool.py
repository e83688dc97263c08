"""Pool of warm child processes for tasks declared with `process=True`. A timeout kills one process and affects no other job."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from typing import Any

from sidelane.model.errors import ConfigurationError, SidelaneError
from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec, Submission
from sidelane.model.outcome import Outcome
from sidelane.processes.child import start_module
from sidelane.processes.exit_code import describe_exit
from sidelane.processes.logs import LogOptions
from sidelane.tasks.context import Context
from sidelane.tasks.registry import AnyTask
from sidelane.worker.child_protocol import (
    pack,
    pack_submission,
    read_outcome,
    read_spec,
    read_usage,
    unpack,
    write_line,
)
from sidelane.worker.child_stack import ChildStacks
from sidelane.worker.outcome import ProcessDied, ProcessNotReady

Submit = Callable[[JobSpec], Awaitable[Submission]]
"""Submits a job for a task in a child process."""

NOT_SENT = frozenset({"channel", "tracer"})
"""Fields of a context that a child process has by itself."""

START_TIMEOUT = 60.0
"""Seconds for a child process to import its task and open its resources."""


class ChildPool:
    """The child processes of one worker.

    There are as many processes as process tasks that run concurrently. Processes are kept warm between jobs. `log` returns how a
    new process logs.
    """

    def __init__(self, log: Callable[[], LogOptions]) -> None:
        self._log = log
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()

    @asynccontextmanager
    async def child(self, task: AnyTask) -> AsyncIterator["ChildProcess"]:
        """Yield a child that has imported the task and opened its resources.

        If the block is cancelled, the child is asked to stop, and killed after the task's grace.
        """
        child = self._idle.pop() if self._idle else await self._start()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await child.prepare(task)
            yield child
        except TimeoutError:
            await child.stop(0.0)
            raise ProcessNotReady(
                f"A child process was not ready for task {task.name!r} within {START_TIMEOUT:g} seconds."
            ) from None
        except asyncio.CancelledError:
            await child.stop(task.policy.cancel_grace)
            raise
        finally:
            if child.alive:
                self._idle.append(child)
            else:
                self._all.discard(child)

    async def close(self) -> None:
        """Kill every child."""
        for child in list(self._all):
            await child.stop(0.0)
        self._all.clear()
        self._idle.clear()

    async def _start(self) -> "ChildProcess":
        parent_end, child_end = socket.socketpair()
        with child_end:
            descriptor = child_end.fileno()
            started = await start_module("sidelane.worker.child_main", str(descriptor), files=[descriptor])
        child = ChildProcess(*started, parent_end)
        self._all.add(child)
        await child.configure(self._log())
        return child


class ChildProcess:
    """One child process and the sockets to it. `stack_end` is that for requests for stacks."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stack_end: socket.socket,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._prepared: set[str] = set()
        self.stacks = ChildStacks(stack_end, process.pid)
        self.alive = True

    async def configure(self, log: LogOptions) -> None:
        """Let the child log in this way."""
        await self._send(pack({"log": asdict(log)}))

    async def prepare(self, task: AnyTask) -> None:
        """Let the child import a task and open its resources, once.

        Raises `ProcessDied` if the child dies meanwhile, and `ConfigurationError` if it cannot import the task.
        """
        module = task.function.__module__
        if module == "__main__":
            raise ConfigurationError(
                f"Task {task.name!r} runs in a child process, which cannot import it from a script: move it into a module."
            )
        if task.name in self._prepared:
            return
        await self._send(pack({"prepare": [module, task.name]}))
        line = await self._receive()
        if not line:
            raise await self._died()
        if problem := unpack(line).get("broken"):
            raise ConfigurationError(f"A child process cannot import task {task.name!r}: {problem}")
        self._prepared.add(task.name)

    async def execute(
        self,
        task: AnyTask,
        arguments: str,
        context: Context,
        submit: Submit,
        *,
        version: int,
        failures: int | None,
        log_size: int,
    ) -> tuple[Outcome, bool]:
        """Run one attempt with arguments that this version of the task stored. Return its outcome, and whether it was throttled.

        `submit` is called for jobs that the task submits, and `failures` is as for `classify_error`. Up to `log_size` bytes of
        records are kept. Raises `ProcessDied` if the child dies meanwhile.
        """
        values = {each.name: getattr(context, each.name) for each in fields(context) if each.name not in NOT_SENT}
        request = {"task": task.name, "arguments": arguments, "version": version, "failures": failures}
        await self._send(pack({**request, "context": values, "log_size": log_size}))
        while line := await self._receive():
            message = unpack(line)
            if "event" in message:
                await context.channel.put(NewEvent(*message["event"]))
            elif "usage" in message:
                context.channel.report_usage(read_usage(message))
            elif "submit" in message:
                await self._send(pack_submission(message["submit"], await _submit(submit, message)))
            else:
                return read_outcome(message), message["throttled"]
        raise await self._died()

    async def stop(self, grace: float) -> None:
        """Ask the child to stop, and kill it with all its own children after `grace` seconds."""
        self.alive = False
        if self._process.returncode is None:
            write_line(self._writer, pack({"stop": True}))
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._wait_for_end(), grace)
            self._kill()
        self._close()
        await self._process.wait()

    async def _died(self) -> ProcessDied:
        self.alive = False
        self._close()
        code = await self._process.wait()
        return ProcessDied(f"The process that ran the task ended under it ({describe_exit(code)}).")

    def _close(self) -> None:
        self._writer.close()
        self.stacks.close()

    async def _wait_for_end(self) -> None:
        while line := await self._receive():
            message = unpack(line)
            if "submit" in message:
                refusal = SidelaneError("This attempt is asked to stop.")
                await self._send(pack_submission(message["submit"], refusal))
            elif not message.keys() & {"event", "usage"}:
                return

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _send(self, line: bytes) -> None:
        write_line(self._writer, line)
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._writer.drain()

    async def _receive(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""


async def _submit(submit: Submit, message: Mapping[str, Any]) -> Submission | SidelaneError:
    try:
        return await submit(read_spec(message))
    except SidelaneError as error:
        return error
