"""Natural batching: a thread that runs whatever calls have gathered while it was busy as one group.

A lone call never waits for company, and a crowd shares one transaction.
"""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from sidelane.model.errors import StoreUnavailable
from sidelane.stores.chunking import MAX_BYTES, MAX_ITEMS

T = TypeVar("T")


class Request(Generic[T]):
    """One call of the store on its way: what it runs, how large it is, and the future that waits for it."""

    __slots__ = ("durable", "error", "future", "items", "result", "run", "size")

    def __init__(
        self, run: Callable[..., T], future: "asyncio.Future[T]", *, items: int = 1, size: int = 0, durable: bool = True
    ) -> None:
        self.run = run
        self.future = future
        self.items = items
        self.size = size
        self.durable = durable
        self.result: T | None = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Hand the outcome to whoever waits. On the loop's thread."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class BatchingThread:
    """The thread `name`, which hands groups of calls to `handle`, and their outcomes back to the loop in one go."""

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, handle: Callable[[list[Request[Any]]], None]
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._queue: SimpleQueue[Request[Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._closed = False

    def call(
        self, run: Callable[..., T], *, items: int = 1, size: int = 0, durable: bool = True
    ) -> "asyncio.Future[T]":
        """Put a call in the queue. Raises `StoreUnavailable` once the store is closed."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        call = Request(run, self._loop.create_future(), items=items, size=size, durable=durable)
        self._queue.put(call)
        return call.future

    async def close(self) -> None:
        """End the thread after the calls under way."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        held: Request[Any] | None = None
        while True:
            first = held or self._queue.get()
            if first is None:
                return
            group, held, ended = self._gather(first)
            try:
                self._handle(group)
            except Exception as error:  # noqa: BLE001 - whoever waits is told, and the next group has its turn
                for call in group:
                    call.error = error
            try:
                self._loop.call_soon_threadsafe(_resolve, group)
            except RuntimeError:  # the loop has been closed; nobody waits any more
                return
            if ended:
                return

    def _gather(self, first: Request[Any]) -> tuple[list[Request[Any]], Request[Any] | None, bool]:
        """Give the group that begins with `first`, a call that did not fit in any more, and whether the end has come."""
        group, items, size = [first], first.items, first.size
        while not self._queue.empty():
            call = self._queue.get()
            if call is None:
                return group, None, True
            items += call.items
            size += call.size
            if items > MAX_ITEMS or size > MAX_BYTES:
                return group, call, False
            group.append(call)
        return group, None, False


def _resolve(group: list[Request[Any]]) -> None:
    for call in group:
        call.settle()
