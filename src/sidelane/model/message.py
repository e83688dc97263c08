"""Messages: what transports carry between Sidelane and others."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `attributes` are texts beside the body, which receivers can read without it.

    `group`: messages of one group are received in the order they were sent (SQS FIFO: message group; Pub/Sub: ordering key), where
    the transport was set up for that. `id` is the sender's own on the way out: a FIFO queue takes two with the same as one. On the
    way in it is the transport's, the same each time the message is delivered again.
    """

    body: str
    id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None

    @property
    def size(self) -> int:
        """How many bytes its body and its attributes have together."""
        attributes = sum(len(name.encode()) + len(text.encode()) for name, text in self.attributes.items())
        return len(self.body.encode()) + attributes
