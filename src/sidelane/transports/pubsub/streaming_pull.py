"""StreamingPull: one stream of messages. The service ends streams occasionally, which is no error."""

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
"""Seconds between keepalive requests. The service ends a stream that sends no request for a minute."""

MAX_OUTSTANDING_BYTES = 100_000_000
"""Maximum unacknowledged bytes, in addition to the number of messages."""

STABLE_AFTER = 1.0
"""Seconds after which a stream counts as opened successfully."""

LOST_REASON = "Internal error from Core"
"""Error of gRPC if a stream is refused during its first request.

The error has no reason, but the next attempt returns the reason.
"""

ATTEMPTS = 5

CLOSE_TIMEOUT = 1.0
"""Seconds to wait for the service to end a closed stream."""


class StreamingPull:
    """One stream of a subscription, with at most `max_outstanding` unacknowledged messages, which `on_messages` receives."""

    def __init__(
        self,
        client: SubscriberAsyncClient,
        request: types.StreamingPullRequest,
        *,
        on_messages: Callable[[Any], Awaitable[None]],
        on_end: Callable[[], None],
    ) -> None:
        self.max_outstanding: int = request.max_outstanding_messages
        self._client = client
        self._request = request
        self._on_messages = on_messages
        self._opened = math.inf
        self.was_open = False  # whether the stream was open for some time; set when it ends
        self._closing = False
        self._over = asyncio.Event()  # no more requests follow
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda done: on_end())

    @property
    def ended(self) -> bool:
        return self._reading.done()

    @property
    def failure(self) -> BaseException | None:
        """Why the stream ended, or None if the service ended it without an error."""
        return None if self._reading.cancelled() else self._reading.exception()

    async def close(self) -> None:
        """Receive the messages in transit, and end the stream."""
        self._closing = True
        self._over.set()
        await asyncio.wait([self._reading], timeout=CLOSE_TIMEOUT)
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                await self._stream()
                break
            except grpc.RpcError as error:
                if error.details() != LOST_REASON or self._closing or not left:
                    raise from_grpc_error(error) from error  # type: ignore[no-untyped-call]  # Google's

    async def _stream(self) -> None:
        """Receive until the stream ends. Raises `grpc.RpcError`."""
        over = self._over = asyncio.Event()
        # not by the client's own method, which waits for ever without a server
        open_stream: Any = self._client.transport.streaming_pull
        routing = (("x-goog-request-params", f"subscription={self._request.subscription}"),)
        call = open_stream(self._requests(over), metadata=routing)
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                await self._on_messages(answer.received_messages)
        finally:
            self.was_open = asyncio.get_running_loop().time() - self._opened >= STABLE_AFTER
            over.set()
            call.cancel()

    async def _requests(self, over: asyncio.Event) -> AsyncIterator[types.StreamingPullRequest]:
        """Yield the request, then keepalives until the stream ends."""
        yield self._request
        self._opened = asyncio.get_running_loop().time()
        while not (over.is_set() or self._closing):
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEPALIVE):
                    await over.wait()
                    return
            yield types.StreamingPullRequest()
