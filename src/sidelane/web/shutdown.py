"""Server shutdown: ends open streams when the server is asked to stop, because servers wait for open responses.

Servers notify applications of their end only after that. So this module handles the signal itself, in addition to the server's own
handler. Workers of hypercorn get no signal. Their parent sets an event, which this module reads every 0.1 seconds, as workers do.
"""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT)

POLL_INTERVAL = 0.1
"""Seconds between two looks at the event of hypercorn's parent."""


class StopEvent(Protocol):
    """The event by which a parent process tells its workers to stop."""

    def is_set(self) -> bool: ...


class ServerShutdown:
    """Whether this process was asked to stop. `SHUTDOWN` is the only instance, because signal handlers belong to the process."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Future[None]] = set()
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}  # ours, by signal
        self._received: int | None = None  # the last signal

    @contextmanager
    def watch(self) -> Iterator[asyncio.Future[None]]:
        """Yield a future that is done when the server is asked to stop.

        It is never done if no server handles signals in this process.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._watchers.add(future)
        event = stop_event()
        polling = None if event is None else loop.create_task(_poll(event, future))
        try:
            self.listen()
            if self.stopping:
                _finish(future)
            yield future
        finally:
            if polling is not None:
                polling.cancel()
            self._watchers.discard(future)
            future.cancel()

    def listen(self) -> None:
        """Add a handler before each handler of the server, if it is missing, because a server may have replaced it meanwhile.

        Requests call this before they submit, so that a signal that comes before they wait is not missed.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            by_server = callable(handler) and handler is not signal.default_int_handler
            if by_server and handler is not self._handlers.get(number):
                self._handlers[number] = self._before(handler)
                signal.signal(number, self._handlers[number])
                self._received = None  # that was for another server

    @property
    def stopping(self) -> bool:
        """Whether the server that runs now has received a signal. A server removes its handlers when it has stopped."""
        number = self._received
        return number is not None and signal.getsignal(number) is self._handlers[number]

    def _before(self, handler: Any) -> Callable[[int, FrameType | None], Any]:
        def notify_and_handle(number: int, frame: FrameType | None) -> Any:
            self._received = number
            for future in list(self._watchers):
                with suppress(RuntimeError):  # its loop is closed
                    future.get_loop().call_soon_threadsafe(_finish, future)
            return handler(number, frame)

        return notify_and_handle


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def _poll(event: StopEvent, future: "asyncio.Future[None]") -> None:
    while not event.is_set():  # noqa: ASYNC110 - another process sets it, which wakes no loop
        await asyncio.sleep(POLL_INTERVAL)
    _finish(future)


def stop_event() -> StopEvent | None:
    """Return the event that hypercorn's parent passed to this process, or None in any other process."""
    arguments: dict[str, Any] = getattr(multiprocessing.current_process(), "_kwargs", {})
    found: StopEvent | None = arguments.get("shutdown_event")
    return found if hasattr(found, "is_set") else None


SHUTDOWN = ServerShutdown()
