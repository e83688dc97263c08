"""Cancellation of a request's work when its client disconnects, or when the server stops."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from sidelane.web.shutdown import SHUTDOWN

T = TypeVar("T")


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Run `work` and return its result. Return None if the client disconnects, or the server is asked to stop, before that.

    `receive` is the `receive` function of the request or WebSocket.
    """
    working = asyncio.create_task(work)
    disconnect = asyncio.create_task(_wait_for_disconnect(receive))
    with SHUTDOWN.watch() as shutdown:
        try:
            ends: list[asyncio.Future[Any]] = [working, disconnect, shutdown]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect.cancel()
            working.cancel()
            await asyncio.wait([working, disconnect])
    return None if working.cancelled() else working.result()


async def _wait_for_disconnect(receive: Receive) -> None:
    while not (await receive())["type"].endswith(".disconnect"):
        pass  # messages from the client are ignored
