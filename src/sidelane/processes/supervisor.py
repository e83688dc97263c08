"""Supervision of child processes: restart with backoff, replacement on request, forwarded signals."""

import asyncio
import logging
import math
import signal
import time
from collections.abc import Callable
from typing import Any

from sidelane.processes.child import CliProcess
from sidelane.processes.exit_code import SIGNAL_BASE, Exit

MIN_DELAY, MAX_DELAY = 0.5, 30.0
"""Seconds before a process that died is started again, which are doubled each time, up to the maximum."""

STABLE_AFTER = 60.0
"""Seconds after which a process counts as healthy, so that its next restart is not delayed further."""

STOP_TIMEOUT = 6.0
"""Seconds a process has to exit before it is killed, when it is replaced or its supervision is cancelled."""

FATAL_EXITS = frozenset({Exit.USAGE, Exit.CONFIGURATION})
"""Exit codes of a process that would exit in the same way after a restart."""

REQUESTED_EXITS = frozenset({SIGNAL_BASE + signal.SIGTERM, SIGNAL_BASE + signal.SIGINT, SIGNAL_BASE + signal.SIGQUIT})
"""Exit statuses of a process that was stopped before it could handle the signal, so that no job was lost."""

RestartPolicy = Callable[[int, float], float | None]
"""Maps the exit status of a process and the seconds it ran to the seconds until its restart.

None ends the supervision, and `math.inf` waits for `SupervisedProcess.restart`.
"""

logger = logging.getLogger(__name__)


class SupervisedProcess:
    """Keeps one child process running. Starts the process again after each exit, by `policy`, and when `restart` is called.

    `stop_signal` asks the process to exit when it is replaced.
    """

    def __init__(self, child: CliProcess, policy: RestartPolicy, *, stop_signal: int = signal.SIGTERM) -> None:
        self.name = child.name
        self._child = child
        self._policy = policy
        self._stop_signal = stop_signal
        self._stopping = asyncio.Event()
        self._restart = asyncio.Event()

    def restart(self) -> None:
        """Replace the process by a new process, or start it now if it waits for its restart."""
        self._restart.set()

    def signal(self, number: int) -> None:
        """Send the process a signal that ends it, and do not start it again."""
        self._stopping.set()
        self._child.signal(number)

    async def run(self) -> int:
        """Run until `signal` or the policy ends it, and return the last exit status. If cancelled, stop the process first."""
        while True:
            self._restart.clear()
            await self._child.start()
            if self._stopping.is_set():
                self._child.signal(signal.SIGTERM)  # it was being started when `signal` was called
            began = time.monotonic()
            try:
                status = await self._exit_or_restart()
            finally:
                await asyncio.shield(self._child.stop(self._stop_signal, STOP_TIMEOUT))
            if status is None:
                continue
            delay = None if self._stopping.is_set() else self._policy(status, time.monotonic() - began)
            if delay is None:
                return status
            requests = (asyncio.create_task(event.wait()) for event in (self._restart, self._stopping))
            await _first(*requests, timeout=delay if math.isfinite(delay) else None)
            if self._stopping.is_set():
                return Exit.DONE

    async def _exit_or_restart(self) -> int | None:
        """Wait for the exit and return its status, or return None after a restart request."""
        exited = asyncio.create_task(self._child.wait())
        await _first(exited, asyncio.create_task(self._restart.wait()))
        return exited.result() if exited.done() and not exited.cancelled() else None


async def _first(*tasks: "asyncio.Task[Any]", timeout: float | None = None) -> None:
    """Wait until one of the tasks is done, or for `timeout` seconds, and cancel the others."""
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def process_names(name: str, count: int) -> list[str]:
    """Return the names of `count` processes: the name itself for one process, else "w-1", "w-2" and so on."""
    return [name] if count == 1 else [f"{name}-{number + 1}" for number in range(count)]
