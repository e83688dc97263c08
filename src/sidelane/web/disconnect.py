"""Working for a client only for as long as it is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Do something for a client; None when it goes before that is done. `receive` is that of its request or WebSocket."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait([working, leaving])
    return None if working.cancelled() else working.result()


async def _left(receive: Receive) -> None:
    while not (await receive())["type"].endswith(".disconnect"):
        pass  # what a client sends to a stream is not for us
