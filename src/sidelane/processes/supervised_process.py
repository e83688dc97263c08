"""One child process of `sidelane dev`, which is started again after its exit or on request."""

import asyncio
import math
import signal
import time
from collections.abc import Callable
from typing import Any

from sidelane.processes.child import CliProcess

STOP_TIMEOUT = 6.0
"""Seconds a process has to exit before it is killed, when it is replaced or its supervision is cancelled."""

RestartPolicy = Callable[[int, float], float]
"""Maps the exit status of a process and the seconds it ran to the seconds until its restart.

`math.inf` waits for `SupervisedProcess.restart`.
"""


class SupervisedProcess:
    """Keeps one child process running. Starts the process again after each exit, by `policy`, and when `restart` is called.

    `stop_signal` asks the process to exit when it is replaced.
    """

    def __init__(self, child: CliProcess, policy: RestartPolicy, *, stop_signal: int = signal.SIGTERM) -> None:
        self.name = child.name
        self._child = child
        self._policy = policy
        self._stop_signal = stop_signal
        self._restart = asyncio.Event()

    def restart(self) -> None:
        """Replace the process by a new process, or start it now if it waits for its restart."""
        self._restart.set()

    async def run(self) -> None:
        """Run until cancelled, and stop the process then."""
        while True:
            self._restart.clear()
            await self._child.start()
            began = time.monotonic()
            try:
                status = await self._exit_or_restart()
            finally:
                await asyncio.shield(self._child.stop(self._stop_signal, STOP_TIMEOUT))
            if status is not None:
                delay = self._policy(status, time.monotonic() - began)
                restart = asyncio.create_task(self._restart.wait())
                await _first(restart, timeout=delay if math.isfinite(delay) else None)

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
