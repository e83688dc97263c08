"""Messages: what transports carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `attributes` are texts beside the body, which receivers can read without it.

    `group`: messages of one group are received in the order they were sent (SQS FIFO: message group; Pub/Sub: ordering key), if
    the transport is configured for that. `id` of a sent message is the sender's own, by which a FIFO queue removes duplicates. `id`
    of a received message is the transport's, and the same at each redelivery.
    """

    body: str
    id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None

    @property
    def size(self) -> int:
        """Bytes of its body and its attributes together."""
        attributes = sum(len(name.encode()) + len(text.encode()) for name, text in self.attributes.items())
        return len(self.body.encode()) + attributes
