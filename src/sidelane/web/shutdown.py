"""Server shutdown: ends open streams when the server is asked to stop, because servers wait for open responses.

Servers notify applications of their end only after that. So this module handles the signal itself, in addition to the server's own
handler.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ServerShutdown:
    """Whether this process was asked to stop. `SHUTDOWN` is the only instance, because signal handlers belong to the process."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Future[None]] = set()
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}  # ours, by signal

    @contextmanager
    def watch(self) -> Iterator[asyncio.Future[None]]:
        """Yield a future that is done when the server is asked to stop.

        It is never done if no server handles signals in this process.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.add(future)
        try:
            self._listen()
            yield future
        finally:
            self._watchers.discard(future)
            future.cancel()

    def _listen(self) -> None:
        """Add a handler before each handler of the server, if it is missing, because a server may have replaced it meanwhile."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            by_server = callable(handler) and handler is not signal.default_int_handler
            if by_server and handler is not self._handlers.get(number):
                self._handlers[number] = self._before(handler)
                signal.signal(number, self._handlers[number])

    def _before(self, handler: Any) -> Callable[[int, FrameType | None], Any]:
        def notify_and_handle(number: int, frame: FrameType | None) -> Any:
            for future in list(self._watchers):
                with suppress(RuntimeError):  # its loop is closed
                    future.get_loop().call_soon_threadsafe(_finish, future)
            return handler(number, frame)

        return notify_and_handle


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


SHUTDOWN = ServerShutdown()
