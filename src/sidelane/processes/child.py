"""A process that this one starts, and that does not outlive it."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from sidelane.processes.exit_code import Exit

MAX_LINE_SIZE = 1024 * 1024

READ_TIMEOUT = 0.5
"""Seconds to read what a process that has ended had still to say; a process of its own may hold the line open."""

PR_SET_PDEATHSIG = 1

SIGNAL_BASE = 128
"""Added to a signal's number where it ended a process, as shells do."""


class CliProcess:
    """A `sidelane` command of its own: `arguments` are those of the command line. It has no terminal, so Ctrl-C is for us alone.

    `on_line` hears what it says; without, it says it where we do.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        files: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment or {}
        self._on_line = on_line
        self._files = files
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, again where it has ended."""
        pipe = asyncio.subprocess.PIPE if self._on_line else None
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sidelane.cli", *self._arguments, "--parent", str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT if pipe else None,
            env={**os.environ, **self._environment}, pass_fds=self._files, start_new_session=True, limit=MAX_LINE_SIZE,
        )  # fmt: skip
        if self._process.stdout is not None and self._on_line is not None:
            self._reading = asyncio.create_task(self._read(self._process.stdout, self._on_line))

    async def wait(self) -> int:
        """Wait until it has ended, and give its exit status as shells do."""
        status = await self._running().wait()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=READ_TIMEOUT)
            self._reading.cancel()
        return status if status >= 0 else SIGNAL_BASE - status

    def signal(self, number: int) -> None:
        """Send it a signal, where it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, number: int, patience: float) -> None:
        """Ask it to end by a signal, and kill it after `patience` seconds."""
        if self._process is None:
            return
        self.signal(number)
        try:
            await asyncio.wait_for(self.wait(), patience)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.wait()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    async def _read(self, stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # longer than a line may be
            if not line:
                return
            on_line(line.decode(errors="replace").rstrip("\r\n"))


def exit_with_parent(parent: int | None) -> None:
    """Have this process asked to stop (SIGTERM) when its parent has gone, however that went; on Linux only."""
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has gone already
        raise SystemExit(Exit.FAILED)
