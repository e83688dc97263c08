"""One StreamingPull: messages come as long as it is open. The service ends each now and then, which is no failure."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.api_core.exceptions import from_grpc_error
from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

KEEPALIVE = 30.0
"""Seconds between signs of life: the service ends a stream that gives none for a minute."""

MOST_BYTES = 100_000_000
"""What may be outstanding at once, beside the number of messages."""

STABLE_AFTER = 1.0
"""Seconds after which a stream was one: its end is no failure to open it."""

LOST_REASON = "Internal error from Core"
"""What gRPC says where the stream was refused while the first request was on its way: the reason is lost, the next try tells it."""

TRIES = 5

CLOSE_TIMEOUT = 1.0
"""Seconds in which the service must end a stream that is closed."""


class StreamingPull:
    """One stream to a subscription, with at most `most` messages outstanding. `on_messages` is given what comes."""

    def __init__(
        self,
        client: SubscriberAsyncClient,
        request: types.StreamingPullRequest,
        *,
        on_messages: Callable[[Any], Awaitable[None]],
        on_end: Callable[[], None],
    ) -> None:
        self.most: int = request.max_outstanding_messages
        self._client = client
        self._request = request
        self._on_messages = on_messages
        self._opened = math.inf
        self.lived = False  # whether it was open for some time, once it has ended
        self._closing = False
        self._over = asyncio.Event()  # there is nothing more to say
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda done: on_end())

    @property
    def ended(self) -> bool:
        return self._reading.done()

    @property
    def failure(self) -> BaseException | None:
        """Why it ended, once it has; None where the service just ended it."""
        return None if self._reading.cancelled() else self._reading.exception()

    async def close(self) -> None:
        """Take what is on its way, and end."""
        self._closing = True
        self._over.set()
        await asyncio.wait([self._reading], timeout=CLOSE_TIMEOUT)
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        for left in reversed(range(TRIES)):
            try:
                await self._follow()
                break
            except grpc.RpcError as error:
                if error.details() != LOST_REASON or self._closing or not left:
                    raise from_grpc_error(error) from error  # type: ignore[no-untyped-call]  # Google's

    async def _follow(self) -> None:
        """Take what comes until the stream ends. Raises `grpc.RpcError`."""
        over = self._over = asyncio.Event()
        # not by the client's own method: it waits for ever where no server is
        open_stream: Any = self._client.transport.streaming_pull
        routing = (("x-goog-request-params", f"subscription={self._request.subscription}"),)
        call = open_stream(self._say(over), metadata=routing)
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                await self._on_messages(answer.received_messages)
        finally:
            self.lived = asyncio.get_running_loop().time() - self._opened >= STABLE_AFTER
            over.set()
            call.cancel()

    async def _say(self, over: asyncio.Event) -> AsyncIterator[types.StreamingPullRequest]:
        """Say what is wanted, then give signs of life until there is nothing more to say."""
        yield self._request
        self._opened = asyncio.get_running_loop().time()
        while not (over.is_set() or self._closing):
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEPALIVE):
                    await over.wait()
                    return
            yield types.StreamingPullRequest()
