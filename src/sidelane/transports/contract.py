"""The contract every transport meets: send; receive with ack, extend, release.

Delivery is at least once and in no order, unless messages name a group. What the words mean exactly is
`sidelane.conformance.transports`.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidelane.model.errors import TransportError
from sidelane.model.message import Message


class Delivery(Protocol):
    """One message in the receiver's hands. It comes again unless it is acknowledged before its time is over.

    Every verb may be repeated; once the time is over, or the message was acknowledged, it changes nothing. All raise
    `TransportUnavailable`.
    """

    @property
    def message(self) -> Message: ...

    @property
    def count(self) -> int:
        """How often it has been delivered, this time included, as far as the transport tells; 1 where it does not."""
        ...

    async def ack(self) -> None:
        """Say that it is done with. Never before what came of it is committed."""
        ...

    async def extend(self, seconds: float) -> None:
        """Keep it from coming again for so long, from now."""
        ...

    async def release(self, delay: float = 0.0) -> None:
        """Let it come again, after `delay` seconds where the transport can wait."""
        ...

    async def reject(self, reason: str) -> None:
        """Put it where messages go that cannot be used, with the reason as attribute `reason`, and acknowledge it.

        Where there is no such place it stays, and the log says so: nothing is lost.
        """
        ...


class Receiver(Protocol):
    """An open way in."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages and give 1 to `limit` of them. Raises `TransportUnavailable` and `TransportUnusable`.

        Cancelling loses nothing: what was on its way comes again.
        """
        ...


class Transport(Protocol):
    """One address, opened."""

    @property
    def largest(self) -> int:
        """How many bytes a message may have, body and attributes together."""
        ...

    @property
    def redelivers(self) -> float:
        """For how long after it was sent a message may still be delivered again, in seconds, at most."""
        ...

    async def reach(self) -> None:
        """Connect, where that tells more of `largest` and `redelivers`. Raises `TransportUnavailable` and `TransportUnusable`."""
        ...

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        """Send messages. Each has its own answer: None once the transport has it for good, else why not."""
        ...

    def receiving(self, *, hold: float = 30.0) -> AbstractAsyncContextManager[Receiver]:
        """Open the way in. A delivery that is neither acknowledged nor extended comes again `hold` seconds after it was received.

        What was received and is not acknowledged when this closes is released.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
