"""Receiving for as long as it takes: messages are waited for, and a transport that is away is tried again until it is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.model.errors import ConfigurationError
from sidelane.outage import RetryUntilAvailable
from sidelane.transports.contract import Delivery, Receiver
from sidelane.transports.endpoints import Address, PubSub

IDLE_OK_AFTER = 15.0
"""Seconds after which a wait for messages is taken for what it says: the transport is there, and has none."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds between two tries: the first wait, and the longest it grows to."""


class ReceiveLoop:
    """Receives from one address, and knows what keeps it from that. `what` completes "this worker cannot …"."""

    def __init__(self, what: str) -> None:
        self._trying = RetryUntilAvailable(what)
        self._wait = FIRST_WAIT

    @property
    def error(self) -> str | None:
        """Why nothing can be received, while it cannot."""
        return self._trying.error

    async def receive(self, receiver: Receiver, limit: int) -> list[Delivery]:
        """Wait for messages and give 1 to `limit` of them. Raises as the receiver does."""
        async with self._hopeful():
            deliveries = await receiver.receive(limit)
        self._worked()
        return deliveries

    async def after(self, error: Exception) -> None:
        """Note that this has failed, and wait before the next try."""
        self._trying.failed(error)
        wait, self._wait = self._wait, min(self._wait * 2, LONGEST_WAIT)
        await asyncio.sleep(wait)

    @asynccontextmanager
    async def _hopeful(self) -> AsyncIterator[None]:
        """Take the transport for well once this has gone on for a while: one that is away says so sooner."""
        timer = asyncio.get_running_loop().call_later(IDLE_OK_AFTER, self._worked)
        try:
            yield
        finally:
            timer.cancel()

    def _worked(self) -> None:
        self._trying.recovered()
        self._wait = FIRST_WAIT


def require_sendable(address: Address) -> None:
    """Raise `ConfigurationError` where nothing can be sent to an address."""
    if isinstance(address, PubSub) and address.topic is None:
        raise ConfigurationError(f"{address} only receives: give it a topic=… to send to.")


def require_receivable(address: Address) -> None:
    """Raise `ConfigurationError` where nothing can be received from an address."""
    if isinstance(address, PubSub) and address.subscription is None:
        raise ConfigurationError(f"{address} only sends: give it a subscription=… to receive from.")
