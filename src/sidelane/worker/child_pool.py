"""Warm child processes for tasks declared with `process=True`: a timeout kills them, and nothing else feels it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

from sidelane.model.errors import ConfigurationError, SidelaneError
from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec, Submission
from sidelane.model.outcome import Outcome
from sidelane.tasks.context import Context
from sidelane.tasks.registry import AnyTask
from sidelane.worker.child_protocol import MAX_LINE_SIZE, pack, pack_answer, read_outcome, read_spec, unpack
from sidelane.worker.outcome import ProcessDied, ProcessNotReady

Submit = Callable[[JobSpec], Awaitable[Submission]]
"""Makes a job of what a task in a child process submits."""

START_TIMEOUT = 60.0
"""Seconds in which a child process must have imported its task and opened its resources."""


class ChildPool:
    """The child processes of one worker: as many as process tasks run at once, kept warm between jobs."""

    def __init__(self) -> None:
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()

    @asynccontextmanager
    async def child(self, task: AnyTask) -> AsyncIterator["ChildProcess"]:
        """Give a child that is ready for a task: it has imported it and opened its resources.

        Cancelled in the block, the child is asked to stop, and killed when the task's grace has passed.
        """
        child = self._idle.pop() if self._idle else await self._spawn()
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
        """End every child."""
        for child in list(self._all):
            await child.stop(0.0)
        self._all.clear()
        self._idle.clear()

    async def _spawn(self) -> "ChildProcess":
        child = await ChildProcess.spawn()
        self._all.add(child)
        return child


class ChildProcess:
    """One child process and the line to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._prepared: set[str] = set()
        self.alive = True

    @classmethod
    async def spawn(cls) -> "ChildProcess":
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sidelane.worker.child_main", str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_SIZE)
        return cls(process, reader, writer)

    async def prepare(self, task: AnyTask) -> None:
        """Let the child import a task and open its resources, once.

        Raises `ProcessDied` when it went away under that, `ConfigurationError` when the task cannot be imported.
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

    async def perform(
        self, task: AnyTask, arguments: str, context: Context, submit: Submit, *, version: int, failures: int | None
    ) -> Outcome:
        """Run one attempt with these arguments, stored by this version of the task, and give how it ended.

        `submit` makes jobs of what it submits; `failures` is as for `outcome_of`. Raises `ProcessDied` when the child went away
        under it.
        """
        said = {each.name: getattr(context, each.name) for each in fields(context) if each.name != "voice"}
        await self._send(
            pack({"task": task.name, "arguments": arguments, "version": version, "failures": failures, "context": said})
        )
        while line := await self._receive():
            message = unpack(line)
            if "entry" in message:
                await context.channel.put(NewEvent(*message["entry"]))
            elif "submit" in message:
                await self._send(pack_answer(message["submit"], await _answer(submit, message)))
            else:
                return read_outcome(message)
        raise await self._died()

    async def stop(self, grace: float) -> None:
        """Ask the child to stop, and kill it and all it started when `grace` seconds have passed."""
        self.alive = False
        if self._process.returncode is None:
            self._writer.write(pack({"stop": True}))
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._ended(), grace)
            self._kill()
        self._writer.close()
        await self._process.wait()

    async def _died(self) -> ProcessDied:
        self.alive = False
        self._writer.close()
        code = await self._process.wait()
        return ProcessDied(f"The process that ran the task ended under it ({describe_exit(code)}).")

    async def _ended(self) -> None:
        while line := await self._receive():
            message = unpack(line)
            if "submit" in message:
                await self._send(pack_answer(message["submit"], SidelaneError("This attempt is asked to stop.")))
            elif "entry" not in message:
                return

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _send(self, line: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # what became of the child shows when its answer is read
            self._writer.write(line)
            await self._writer.drain()

    async def _receive(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""


async def _answer(submit: Submit, message: Mapping[str, Any]) -> Submission | SidelaneError:
    try:
        return await submit(read_spec(message))
    except SidelaneError as error:
        return error


def describe_exit(code: int) -> str:
    """Say how a process ended that has this return code."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
