"""Output pipe of a process under supervisord, which stays usable if supervisord or the parent of the group is killed.

Without a reader, each write fails with EPIPE. So a task that prints would fail, though its worker should finish its jobs.
"""

import contextlib
import fcntl
import os
import stat
import threading

SUPERVISED = "SUPERVISOR_ENABLED"
"""Environment variable that supervisord sets in all that it starts."""

F_SETPIPE_SZ = 1031
PIPE_SIZE = 2**20
"""Bytes that the pipe holds. A process can write them before it finds that the reader has ended."""

READ_SIZE = 2**16


class OutputPipe:
    """Holds the other end of this process's standard output, if that is a pipe to supervisord. Works only on Linux."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            if SUPERVISED in os.environ and stat.S_ISFIFO(os.fstat(1).st_mode):
                self._descriptor = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_CLOEXEC)
                fcntl.fcntl(self._descriptor, F_SETPIPE_SZ, PIPE_SIZE)

    def discard(self) -> None:
        """Read and discard all output from now on, because its reader has ended."""
        if self._descriptor is not None:
            threading.Thread(target=self._read, args=(self._descriptor,), name="output", daemon=True).start()

    def _read(self, descriptor: int) -> None:
        while os.read(descriptor, READ_SIZE):
            pass
