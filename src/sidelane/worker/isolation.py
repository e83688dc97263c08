"""Isolation workers as seen by the worker that starts them (rule 7).

A job that lost two workers may be the cause of these losses. So the job runs in a separate process with one slot and its own lease,
heartbeat and store connection. No other job is lost with it. If the parent dies, the process finishes its current job.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sidelane.model.settings import Settings
from sidelane.processes.child import start_module
from sidelane.processes.exit_code import describe_exit
from sidelane.tasks.registry import Registry
from sidelane.worker.child_protocol import log_options, pack, unpack, write_line

MIN_PROCESSES, SLOTS_PER_PROCESS = 2, 16
"""The minimum number of isolation workers that a worker may run, and the number of slots for each further one."""

START_INTERVAL = 0.5
"""Seconds that an isolated job waits for the running isolation workers before another one is started."""

IDLE_TIMEOUT = 60.0
"""Seconds without a job after which an isolation worker exits."""

RETRY_DELAY = 10.0
"""Seconds until the next start after a start has failed."""

START_TIMEOUT = 60.0
"""Seconds for an isolation worker to import the tasks and open the store."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Process:
    """One isolation worker, and the socket to it."""

    name: str
    writer: asyncio.StreamWriter | None = None
    ready: bool = False


class IsolationWorkers:
    """Starts isolation workers while isolated jobs wait. Isolation workers exit by themselves after an idle minute."""

    def __init__(self, registry: Registry, settings: Settings, *, name: str, queues: Sequence[str], slots: int) -> None:
        self.error: str | None = None  # why no process could be started, or None
        self.running: set[asyncio.Task[None]] = set()  # one task for each process
        self._registry = registry
        self._settings = settings
        self._name = name
        self._queues = queues
        self._max_processes = max(MIN_PROCESSES, slots // SLOTS_PER_PROCESS)
        self._processes: list[_Process] = []
        self._started = 0
        self._waiting_since: float | None = None  # when an isolated job was first seen that still waits
        self._not_before = -math.inf  # the next start
        self._stop_command: str | None = None  # once they should exit

    def on_claim(self, waiting: bool) -> float:
        """Start a process if an isolated job waits, according to the last claim. Return in how many seconds to claim again."""
        now = time.monotonic()
        if not waiting or self._stop_command is not None:
            self._waiting_since = None
            return math.inf
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if now < self._not_before:
            return self._not_before - now
        starting = any(not process.ready for process in self._processes)
        if not self._processes or (
            not starting and len(self._processes) < self._max_processes and now - self._waiting_since >= START_INTERVAL
        ):
            self._waiting_since = None
            self._start()
        return START_INTERVAL if len(self._processes) < self._max_processes else math.inf

    def drain(self) -> None:
        """Let each isolation worker finish its current job, claim no more jobs, and exit."""
        self._send("drain")

    def resume(self) -> None:
        """Start isolation workers again after a drain."""
        self._stop_command = None

    def stop_now(self) -> None:
        """Let each isolation worker release its current job and exit."""
        self._send("stop")

    def close(self) -> None:
        """Close the sockets. A process that still runs finishes its job."""
        for process in self._processes:
            if process.writer is not None:
                process.writer.close()
        for task in self.running:
            task.cancel()

    def _send(self, command: str) -> None:
        self._stop_command = command
        for process in self._processes:
            if process.writer is not None:
                write_line(process.writer, pack({command: True}))

    def _start(self) -> None:
        self._started += 1
        process = _Process(f"{self._name}-isolated-{self._started}")
        self._processes.append(process)
        task = asyncio.create_task(self._run(process))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _run(self, process: _Process) -> None:
        try:
            await self._run_until_exit(process)
        except (OSError, TimeoutError) as error:
            self._failed(f"{type(error).__name__}: {error}")
        finally:
            self._processes.remove(process)
            if process.writer is not None:
                process.writer.close()

    async def _run_until_exit(self, process: _Process) -> None:
        task = next((task for task in self._registry.tasks.values() if task.isolable), None)
        if task is None:
            self._failed("none of the tasks here can be imported by another process")
            return
        stores = {"SIDELANE_STORE": self._settings.store, "SIDELANE_FILE_STORAGE": self._settings.file_storage}
        started, reader, process.writer = await start_module(
            "sidelane.worker.isolation_main", _loop_package(), environment=stores
        )
        options = {
            "task": [task.function.__module__, task.name], "name": process.name, "queues": [*self._queues],
            "idle": IDLE_TIMEOUT, "log": asdict(log_options(process.name, self._settings)),
        }  # fmt: skip
        write_line(process.writer, pack(options))
        try:
            await self._wait_ready(process, reader, started)
            with contextlib.suppress(ConnectionError):
                await reader.read()  # nothing more comes until it exits
        finally:
            if not process.ready:
                with contextlib.suppress(ProcessLookupError):
                    started.kill()
        code = await started.wait()
        if code and process.ready:
            logger.warning("isolation worker %s died while it ran a job (%s)", process.name, describe_exit(code))

    async def _wait_ready(
        self, process: _Process, reader: asyncio.StreamReader, started: asyncio.subprocess.Process
    ) -> None:
        async with asyncio.timeout(START_TIMEOUT):
            line = await reader.readline()
        if not line:
            self._failed(f"its process exited at once ({describe_exit(await started.wait())})")
        elif problem := unpack(line).get("broken"):
            self._failed(problem)
        else:
            process.ready, self.error, self._waiting_since = True, None, None
            if self._stop_command is not None:
                self._send(self._stop_command)

    def _failed(self, reason: str) -> None:
        self._not_before = time.monotonic() + RETRY_DELAY
        self.error = f"cannot start an isolation worker, for which jobs wait: {reason}"
        logger.error("worker %s %s", self._name, self.error)


def _loop_package() -> str:
    """Return the package of the running event loop, so that another process can use the same kind."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
