"""Lane context: what `lane.open()` returns, a context manager that cannot be awaited."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")


class LaneContext(AbstractAsyncContextManager[T], Generic[T]):
    """The context manager of `lane.open()`."""

    def __init__(self, opening: AbstractAsyncContextManager[T]) -> None:
        self._opening = opening

    async def __aenter__(self) -> T:
        return await self._opening.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._opening.__aexit__(kind, error, trace)

    def __await__(self) -> NoReturn:
        raise TypeError("`await lane.open()` would never close the lane: write `async with lane.open():`.")
