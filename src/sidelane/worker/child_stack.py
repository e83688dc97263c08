"""Stacks of a child process: a thread of the child answers over a separate socket, even if the child's event loop is blocked."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread

from sidelane.model.stack import Stack
from sidelane.worker.child_protocol import pack, unpack

TIMEOUT = 3.0
"""Seconds to wait for a child's answer. It cannot answer while code outside of Python holds the interpreter lock."""

CHUNK_SIZE = 65_536

ReadStack = Callable[[str, int], Stack | None]
"""Returns what an attempt (job and attempt) does, or None if it does not run."""


class ChildStacks:
    """The worker's end of the socket to a child, whose process id is `pid`. Any thread may use it."""

    def __init__(self, end: socket.socket, pid: int) -> None:
        self.pid = pid
        self._socket = end
        self._lock = Lock()
        self._count = 0
        self._received = b""

    def read(self, job_id: str, attempt: int) -> Stack | None:
        """Return what an attempt does in the child. Return None after `TIMEOUT` seconds, or if the attempt does not run there."""
        with self._lock, suppress(OSError):
            self._count += 1
            end = time.monotonic() + TIMEOUT
            self._socket.settimeout(TIMEOUT)
            self._socket.sendall(pack({"number": self._count, "job": job_id, "attempt": attempt}))
            while line := self._receive_line(end):
                answer = unpack(line)
                if answer["number"] == self._count:  # else it answers a request that has timed out
                    return answer["stack"] and Stack(*answer["stack"])
        return None

    def close(self) -> None:
        """End a call of `read` in another thread, and close the socket."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._socket.close()

    def _receive_line(self, end: float) -> bytes:
        """Return a line, or b"" if the child has exited. Raises TimeoutError at the time `end`."""
        while b"\n" not in self._received:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            chunk = self._socket.recv(CHUNK_SIZE)
            if not chunk:
                return b""
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line


def answer_stack_requests(descriptor: int, read: ReadStack) -> None:
    """Answer the worker's requests in a thread, over the child's end of the socket."""
    Thread(target=_answer, args=(socket.socket(fileno=descriptor), read), name="sidelane-stack", daemon=True).start()


def _answer(end: socket.socket, read: ReadStack) -> None:
    with end, suppress(OSError), end.makefile("rb") as requests:  # the worker has exited
        for line in requests:
            request = unpack(line)
            stack = read(request["job"], request["attempt"])
            answer = None if stack is None else [stack.activity, stack.text]
            end.sendall(pack({"number": request["number"], "stack": answer}))
