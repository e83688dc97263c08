"""Receive loop: receives messages from one endpoint for as long as a worker runs, and reconnects with backoff."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from sidelane.model.errors import ConfigurationError, TransportError
from sidelane.outage import RetryUntilAvailable
from sidelane.transports.contract import VISIBILITY_TIMEOUT, Delivery, Endpoint, Receiver, Transport
from sidelane.transports.factory import TransportPool

IDLE_OK_AFTER = 15.0
"""Seconds of waiting for messages without an error after which the connection counts as healthy."""

MIN_RECONNECT_DELAY, MAX_RECONNECT_DELAY = 0.2, 30.0
"""Seconds between two attempts to receive: the delay doubles from the first to the second."""

MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.1, VISIBILITY_TIMEOUT / 3
"""Seconds between two attempts to apply a message while the store is unavailable: the delay doubles likewise."""

REDELIVERY_DELAY = 10.0
"""Seconds after which a message is delivered again if handling it raised an unexpected error."""

R = TypeVar("R")

logger = logging.getLogger(__name__)


class ReceiveLoop:
    """Receives from one endpoint, handles each delivery, and records why a receive or a delivery fails.

    `source` completes "this worker cannot receive …", and `applying` "this worker cannot …".
    """

    def __init__(self, source: str, *, applying: str = "") -> None:
        self._source = source
        self._receiving = RetryUntilAvailable(f"receive {source}")
        self._applying = RetryUntilAvailable(applying)
        self._delay = MIN_RECONNECT_DELAY

    @property
    def error(self) -> str | None:
        """Why messages cannot be received or applied at the moment, or None."""
        return self._receiving.error or self._applying.error

    async def run(
        self, endpoint: Endpoint, transports: TransportPool, consume: Callable[[Transport, Receiver], Awaitable[None]]
    ) -> None:
        """Run `consume`, which receives messages, until cancelled. Reconnect and run it again after any error."""
        while True:
            try:
                transport = await transports.get(endpoint)
                async with transport.open_receiver(visibility_timeout=VISIBILITY_TIMEOUT) as receiver:
                    await consume(transport, receiver)
            except (TransportError, ConfigurationError) as error:
                await self.wait_after(error)
            except Exception as error:
                logger.exception("receiving %s failed unexpectedly and starts again", self._source)
                await self.wait_after(error)

    async def receive(self, receiver: Receiver, limit: int) -> list[Delivery]:
        """Wait for messages and return 1 to `limit` of them. Raises the errors of `Receiver.receive`."""
        async with self._ok_when_idle():
            deliveries = await receiver.receive(limit)
        self._received()
        return deliveries

    async def wait_after(self, error: Exception) -> None:
        """Record an error, and wait before the next attempt to receive."""
        self._receiving.failed(error)
        delay, self._delay = self._delay, min(self._delay * 2, MAX_RECONNECT_DELAY)
        await asyncio.sleep(delay)

    async def handle(self, delivery: Delivery, work: Awaitable[R]) -> R | None:
        """Wait for the handling of one delivery. Any error except a cancellation is logged, and the message is delivered again."""
        try:
            return await work
        except TransportError as error:
            logger.warning(
                "message %s of %s will be delivered again: %s", delivery.message.id, self._source, error
            )  # fmt: skip
        except Exception:
            logger.exception(
                "unexpected error in handling message %s of %s, which is delivered again in %g s",
                delivery.message.id, self._source, REDELIVERY_DELAY,
            )  # fmt: skip
            with suppress(TransportError):
                await delivery.release(REDELIVERY_DELAY)
        return None

    async def apply(
        self, delivery: Delivery, call: Callable[[], Awaitable[R]], retry_on: tuple[type[Exception], ...]
    ) -> R:
        """Return what `call` returns. Repeat it after these errors, and extend the delivery meanwhile.

        So the message is not delivered again while the store is unavailable. Otherwise it might reach its maximum number of
        deliveries.
        """
        delay = MIN_RETRY_DELAY
        while True:
            try:
                applied = await call()
            except retry_on as error:
                self._applying.failed(error)
                with suppress(TransportError):
                    await delivery.extend(VISIBILITY_TIMEOUT)
                await asyncio.sleep(delay)
                delay = min(delay * 2, MAX_RETRY_DELAY)
            else:
                self._applying.recovered()
                return applied

    def apply_failed(self, error: Exception) -> None:
        """Record why a message could not be applied."""
        self._applying.failed(error)

    @asynccontextmanager
    async def _ok_when_idle(self) -> AsyncIterator[None]:
        """Count the transport as available after some time without an error, because perhaps no message ever arrives."""
        timer = asyncio.get_running_loop().call_later(IDLE_OK_AFTER, self._received)
        try:
            yield
        finally:
            timer.cancel()

    def _received(self) -> None:
        self._receiving.recovered()
        self._delay = MIN_RECONNECT_DELAY
