"""Waiting until a condition becomes true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar, overload

T = TypeVar("T")

INTERVAL = 0.02


@overload
async def until(condition: Callable[[], Awaitable[T]], what: str, *, within: float = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], what: str, *, within: float = ...) -> T: ...
async def until(condition: Callable[[], Any], what: str, *, within: float = 10.0) -> Any:
    """Evaluate a condition until it is true, and return its value. Raises AssertionError after `within` seconds."""
    end = time.monotonic() + within
    while True:
        value = condition()
        value = await value if isawaitable(value) else value
        if value:
            return value
        assert time.monotonic() < end, f"not within {within:g} s: {what}"
        await asyncio.sleep(INTERVAL)
