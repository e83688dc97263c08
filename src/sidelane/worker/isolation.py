"""Isolation workers, as the worker that starts them sees them (rules 7).

A job whose workers were lost twice may be why. It runs in a process of its own: one slot, with a lease, a heartbeat and a store
connection of its own, so that nobody is lost with it. The process outlives its parent by the job in hand.
"""

import asyncio
import contextlib
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sidelane.model.settings import Settings
from sidelane.tasks.registry import Registry
from sidelane.worker.child_pool import describe_exit
from sidelane.worker.child_protocol import MAX_LINE_SIZE, pack, unpack

MIN_PROCESSES, SLOTS_PER_PROCESS = 2, 16
"""A worker runs one isolation worker for so many slots, and at least two if it needs them."""

START_INTERVAL = 0.5
"""Seconds that an isolated job may wait for the isolation workers there are, before another is started."""

IDLE_TIMEOUT = 60.0
"""Seconds without a job after which one ends."""

RETRY_DELAY = 10.0
"""Seconds until the next try after one could not be started."""

START_TIMEOUT = 60.0
"""Seconds in which an isolation worker must have imported the tasks and opened the store."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Process:
    """One isolation worker, and the line to it."""

    name: str
    writer: asyncio.StreamWriter | None = None
    ready: bool = False


class IsolationWorkers:
    """Starts isolation workers while isolated jobs wait. They end by themselves when they have been idle for a minute."""

    def __init__(self, registry: Registry, settings: Settings, *, name: str, queues: Sequence[str], slots: int) -> None:
        self.error: str | None = None  # why none could be started, until one can
        self.running: set[asyncio.Task[None]] = set()  # one task for each, as long as its process lives
        self._registry = registry
        self._settings = settings
        self._name = name
        self._queues = queues
        self._most = max(MIN_PROCESSES, slots // SLOTS_PER_PROCESS)
        self._processes: list[_Process] = []
        self._started = 0
        self._since: float | None = None  # when an isolated job was first seen that still waits
        self._not_before = -math.inf
        self._last_word: str | None = None  # once they are told to end

    def heard(self, waits: bool) -> float:
        """Hear whether an isolated job waits, as the last claim saw it; tell in how many seconds to ask again."""
        now = time.monotonic()
        if not waits or self._last_word is not None:
            self._since = None
            return math.inf
        self._since = now if self._since is None else self._since
        if now < self._not_before:
            return self._not_before - now
        starting = any(not process.ready for process in self._processes)
        if not self._processes or (
            not starting and len(self._processes) < self._most and now - self._since >= START_INTERVAL
        ):
            self._since = None
            self._start()
        return START_INTERVAL if len(self._processes) < self._most else math.inf

    def drain(self) -> None:
        """Let each finish the job in hand, take no more and end."""
        self._say("drain")

    def stop_now(self) -> None:
        """Let each give back the job in hand and end."""
        self._say("stop")

    def close(self) -> None:
        """Hang up. One that still runs finishes the job in hand."""
        for process in self._processes:
            if process.writer is not None:
                process.writer.close()
        for task in self.running:
            task.cancel()

    def _say(self, word: str) -> None:
        self._last_word = word
        for process in self._processes:
            if process.writer is not None:
                process.writer.write(pack({word: True}))

    def _start(self) -> None:
        self._started += 1
        process = _Process(f"{self._name}-isolated-{self._started}")
        self._processes.append(process)
        task = asyncio.create_task(self._run(process))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _run(self, process: _Process) -> None:
        try:
            await self._until_its_end(process)
        except (OSError, TimeoutError) as error:
            self._failed(f"{type(error).__name__}: {error}")
        finally:
            self._processes.remove(process)
            if process.writer is not None:
                process.writer.close()

    async def _until_its_end(self, process: _Process) -> None:
        task = next((task for task in self._registry.tasks.values() if task.isolable), None)
        if task is None:
            self._failed("none of the tasks here can be imported by another process")
            return
        ours, theirs = socket.socketpair()
        with theirs:
            started = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sidelane.worker.isolation_main", str(theirs.fileno()), _loop(),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "SIDELANE_STORE": self._settings.store,
                    "SIDELANE_FILE_STORAGE": self._settings.file_storage,
                },
            )  # fmt: skip
        reader, process.writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_SIZE)
        process.writer.write(
            pack(
                {
                    "task": [task.function.__module__, task.name], "name": process.name, "queues": [*self._queues],
                    "idle": IDLE_TIMEOUT, "level": logging.getLogger().getEffectiveLevel(),
                }
            )
        )  # fmt: skip
        try:
            await self._get_ready(process, reader, started)
            with contextlib.suppress(ConnectionError):
                await reader.read()  # it says no more until it ends
        finally:
            if not process.ready:
                with contextlib.suppress(ProcessLookupError):
                    started.kill()
        status = await started.wait()
        if status and process.ready:
            logger.warning("isolation worker %s ended under its job (%s)", process.name, describe_exit(status))

    async def _get_ready(
        self, process: _Process, reader: asyncio.StreamReader, started: asyncio.subprocess.Process
    ) -> None:
        async with asyncio.timeout(START_TIMEOUT):
            line = await reader.readline()
        if not line:
            self._failed(f"its process ended at once ({describe_exit(await started.wait())})")
        elif problem := unpack(line).get("broken"):
            self._failed(problem)
        else:
            process.ready, self.error, self._since = True, None, None
            if self._last_word is not None:
                self._say(self._last_word)

    def _failed(self, why: str) -> None:
        self._not_before = time.monotonic() + RETRY_DELAY
        self.error = f"cannot start an isolation worker, for which jobs wait: {why}"
        logger.error("worker %s %s", self._name, self.error)


def _loop() -> str:
    """Name the kind of the running event loop, for another process to run the same."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
