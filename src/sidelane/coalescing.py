"""Natural batching: whatever has gathered while calls were under way goes together; a lone call never waits."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SECOND_CALL_THRESHOLD = 16
"""How many must wait for a second call beside the one under way: the other side works on one while the next is made ready."""


class CallCoalescer(Generic[T, R]):
    """Joins concurrent calls on single items into calls on sequences of at most `limit` items, at most two under way.

    `one_by_one`: at most one, so that all items are seen to in the order they came in.
    """

    def __init__(
        self, call: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, limit: int = 50, one_by_one: bool = False
    ) -> None:
        self._call = call
        self._limit = limit
        self._at_once = 1 if one_by_one else 2
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, item: T) -> R:
        """Give one item's answer. Raises what the joined call raised."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._under_way == 0 or (self._under_way < self._at_once and len(self._waiting) >= SECOND_CALL_THRESHOLD):
            self._under_way += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._answer(batch)
        finally:
            self._under_way -= 1

    async def _answer(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._call([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it goes to each caller
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
