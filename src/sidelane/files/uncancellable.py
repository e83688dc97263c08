"""Work that comes to its end where whoever waits for it is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


async def to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """Wait for some work. Where the waiting is cancelled, it ends at once, and the work goes on."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else looks at it
        raise


async def before_it_is_cancelled(work: Coroutine[Any, Any, R]) -> R:
    """Wait for some short work. Where the waiting is cancelled, it ends when the work has: what it did can be undone then."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # it has been looked at
        raise
