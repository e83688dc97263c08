"""Messages: what transports carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `attributes` are texts beside the body, which receivers can read without it.

    `group`: messages of one group are received in the order they were sent (SQS FIFO: message group; Pub/Sub: ordering key), if the
    transport is set up for that. `id` of a sent message is the sender's own: a FIFO queue stores one of several with the same id.
    `id` of a received message is the transport's, and the same at each redelivery. `traceparent` (W3C Trace Context) is sent by
    transports that have headers.
    """

    body: str
    id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    traceparent: str | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """Bytes of its body and its attributes together."""
        attributes = sum(len(name.encode()) + len(text.encode()) for name, text in self.attributes.items())
        return len(self.body.encode()) + attributes
