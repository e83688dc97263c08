"""Child processes: `sidelane` commands, and Python modules connected by a socket pair."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sidelane.processes.exit_code import Exit, shell_status

MAX_LINE_SIZE = 1024 * 1024
"""Bytes of one line of output; longer lines are dropped."""

MAX_MESSAGE_SIZE = 64 * 1024 * 1024
"""Bytes of one line on the socket between parent and child."""

READ_TIMEOUT = 0.5
"""Seconds for reading the remaining output after an exit, because a grandchild may keep the pipe open."""

SIDELANE = (sys.executable, "-P", "-m", "sidelane.cli")
"""The command `sidelane` in this environment. With -P, modules in the current folder hide none of Python's."""

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2


class CliProcess:
    """A `sidelane` command in a child process; `arguments` are those of the command line.

    The child starts a new session, so a terminal's Ctrl-C reaches the parent only. The child inherits the descriptors `files`.
    `on_line` is called with each line of output; without it, the child writes where the parent does.
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
        """Start the process, for the first time or after its exit."""
        pipe = asyncio.subprocess.PIPE if self._on_line else None
        self._process = await asyncio.create_subprocess_exec(
            *SIDELANE, *self._arguments, "--parent", str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT if pipe else None,
            env={**os.environ, **self._environment}, pass_fds=self._files, start_new_session=True, limit=MAX_LINE_SIZE,
        )  # fmt: skip
        if self._process.stdout is not None and self._on_line is not None:
            self._reading = asyncio.create_task(self._read(self._process.stdout, self._on_line))

    async def wait(self) -> int:
        """Wait for the exit and return its status as shells do."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        code = await self._process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=READ_TIMEOUT)
            self._reading.cancel()
        return shell_status(code)

    def signal(self, number: int) -> None:
        """Send a signal if the process runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, number: int, timeout: float) -> None:
        """Send a signal, and kill the process if it has not exited after `timeout` seconds."""
        if self._process is None:
            return
        self.signal(number)
        try:
            await asyncio.wait_for(self.wait(), timeout)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.wait()

    async def _read(self, stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # longer than MAX_LINE_SIZE
            if not line:
                return
            on_line(line.decode(errors="replace").rstrip("\r\n"))


async def start_module(
    module: str, *arguments: str, environment: Mapping[str, str] = MappingProxyType({}), files: Sequence[int] = ()
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter]:
    """Start `python -m <module> <descriptor> <arguments>` in its own session. Return the process with the streams of a socket to
    it.

    The child imports from the same folders as this process, and inherits the descriptors `files`. The descriptor is its end of the
    socket (see `connect_to_parent`).
    """
    parent_end, child_end = socket.socketpair()
    with child_end:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, str(child_end.fileno()), *arguments,
            stdin=asyncio.subprocess.DEVNULL, pass_fds=[child_end.fileno(), *files], start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
        )  # fmt: skip
    reader, writer = await asyncio.open_connection(sock=parent_end, limit=MAX_MESSAGE_SIZE)
    return process, reader, writer


async def connect_to_parent(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the child's end of the socket that `start_module` created."""
    return await asyncio.open_connection(sock=socket.socket(fileno=descriptor), limit=MAX_MESSAGE_SIZE)


def signal_on_parent_exit(number: signal.Signals) -> None:
    """Let the kernel send this process a signal when its parent exits for any reason. Works only on Linux."""
    if sys.platform == "linux":
        import ctypes  # here, because it is slow to import and only child processes need it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def has_parent_exit_signal() -> bool:
    """Return whether the kernel sends this process a signal when its parent exits."""
    if sys.platform != "linux":
        return False
    import ctypes

    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value != 0


def exit_with_parent(parent: int | None) -> None:
    """Let this process receive SIGTERM when its parent (a process id) exits. Exit immediately if the parent has already exited."""
    if parent is None:
        return
    signal_on_parent_exit(signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(Exit.FAILED)
