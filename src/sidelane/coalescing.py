"""Concurrent calls that become one: `CallCoalescer` joins their items, and `SharedRead` gives all of them one answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SECOND_CALL_THRESHOLD = 16
"""Number of waiting items from which a second concurrent call starts, so that it is prepared while the store processes the first.
"""


class CallCoalescer(Generic[T, R]):
    """Joins concurrent calls on single items into calls on at most `limit` items, at most two of them concurrent.

    Items that arrive during a call are part of the next call. A single call never waits.
    With `ordered`, calls run one at a time, so that all items are processed in the order of their arrival.
    """

    def __init__(
        self, call: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, limit: int = 50, ordered: bool = False
    ) -> None:
        self._call = call
        self._limit = limit
        self._max_calls = 1 if ordered else 2
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, item: T) -> R:
        """Return one item's result. Raises what the joined call raised."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._calls == 0 or (self._calls < self._max_calls and len(self._waiting) >= SECOND_CALL_THRESHOLD):
            self._calls += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._process(batch)
        finally:
            self._calls -= 1

    async def _process(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._call([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


class SharedRead(Generic[R]):
    """Reads a value for many callers, who share one read if they are concurrent, or follow one another closely."""

    def __init__(self, read: Callable[[], Awaitable[R]]) -> None:
        self._read = read
        self._reading: asyncio.Task[R] | None = None
        self._read_at = -math.inf

    async def value(self, max_age: float) -> R:
        """Return the value, which may be `max_age` seconds old. Raises what the read raises."""
        reading = self._reading
        expired = time.monotonic() - self._read_at > max_age
        if reading is None or reading.cancelled() or (reading.done() and expired):
            reading = self._reading = asyncio.create_task(self._run())
            reading.add_done_callback(_retrieve)
        return await asyncio.shield(reading)  # a caller that gives up must not end it for the others

    async def _run(self) -> R:
        try:
            return await self._read()
        finally:
            self._read_at = time.monotonic()


def _retrieve(reading: "asyncio.Task[R]") -> None:
    """Mark the error of a read as seen, because every caller that waited for it may have given up."""
    if not reading.cancelled():
        reading.exception()
