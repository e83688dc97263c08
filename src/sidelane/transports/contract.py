"""Transport contract: endpoints, transports, receivers, and deliveries with ack, extend, release and dead-letter.

Delivery is at least once and in no order, unless messages name a group. `sidelane.conformance.transports` defines the exact
behaviour.
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidelane.model.errors import TransportError
from sidelane.model.message import Message
from sidelane.telemetry.port import Telemetry

VISIBILITY_TIMEOUT = 30.0
"""Seconds for which a received message is invisible to other receivers, unless it is extended."""


class Delivery(Protocol):
    """One arrival of a message. The message is delivered again unless it is acknowledged before its visibility timeout ends.

    Every method may be repeated. After the timeout, or after the message was acknowledged, methods have no effect. Every
    method may raise `TransportUnavailable`.
    """

    @property
    def message(self) -> Message: ...

    @property
    def count(self) -> int:
        """Number of deliveries including this one, if the transport counts them, else 1."""
        ...

    async def ack(self) -> None:
        """Acknowledge the message. Call this only after its effects are committed."""
        ...

    async def extend(self, seconds: float) -> None:
        """Set the visibility timeout to this many seconds from now."""
        ...

    async def release(self, delay: float = 0.0) -> None:
        """Let the message be delivered again, after `delay` seconds if the transport supports delays."""
        ...

    async def dead_letter(self, reason: str) -> None:
        """Send the message to the dead letters, with `reason` as an attribute, and acknowledge it.

        Without a destination for dead letters, the message stays in its queue, and this is logged, so that no message is lost.
        """
        ...


class Receiver(Protocol):
    """An open receiver of one endpoint."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages and return 1 to `limit` of them. Raises `TransportUnavailable` or `TransportMisconfigured`.

        A cancellation loses no message, because messages in transit are delivered again.
        """
        ...


class Transport(Protocol):
    """An endpoint that was opened."""

    @property
    def max_message_size(self) -> int:
        """Maximum bytes of a message, body and attributes together."""
        ...

    @property
    def redelivery_window(self) -> float:
        """Maximum seconds after sending in which a message may still be delivered again."""
        ...

    async def connect(self) -> None:
        """Connect, if that is necessary to know `max_message_size` and `redelivery_window`.

        Raises `TransportUnavailable` or `TransportMisconfigured`.
        """
        ...

    async def send(self, messages: Sequence[Message]) -> list[TransportError | None]:
        """Send messages. Return one answer for each message: None if the transport has stored the message, else the error."""
        ...

    def open_receiver(self, *, visibility_timeout: float = VISIBILITY_TIMEOUT) -> AbstractAsyncContextManager[Receiver]:
        """Open a receiver. Unacknowledged messages are delivered again `visibility_timeout` seconds after they were received.

        Unacknowledged messages are released when the context ends.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Endpoint(Hashable, Protocol):
    """An address on a transport, as an application declares it. An endpoint is a value of any class that has these members.

    A new kind of transport needs only a class with these members, because no other module knows the kinds. `kind` is also the name
    of the extra to install. `can_send` and `can_receive` are whether messages can be sent to and received from the endpoint.
    """

    @property
    def kind(self) -> str: ...
    @property
    def can_send(self) -> bool: ...
    @property
    def can_receive(self) -> bool: ...

    def require_driver(self) -> None:
        """Raise `MissingExtra` if the driver is not installed, without an import."""
        ...

    def open(self, telemetry: Telemetry) -> Transport:
        """Return the endpoint's transport, which connects when it is first used, and reports its messages to `telemetry`.

        Imports may take a second. Raises `MissingExtra`.
        """
        ...
