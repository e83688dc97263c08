"""Waiting for something to become true, and no longer than it must."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar, overload

T = TypeVar("T")

EVERY = 0.02


@overload
async def until(look: Callable[[], Awaitable[T]], what: str, *, within: float = ...) -> T: ...
@overload
async def until(look: Callable[[], T], what: str, *, within: float = ...) -> T: ...
async def until(look: Callable[[], Any], what: str, *, within: float = 10.0) -> Any:
    """Look again and again until there is something true to see, and give it. Raises AssertionError after `within` seconds."""
    end = time.monotonic() + within
    while True:
        looked = look()
        seen = await looked if isawaitable(looked) else looked
        if seen:
            return seen
        assert time.monotonic() < end, f"waited {within:g} s in vain: {what}"
        await asyncio.sleep(EVERY)
