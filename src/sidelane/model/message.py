"""Messages, which transports carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `attributes` are texts beside the body, which receivers can read without the body.

    Messages of one `group` are received in the order of sending (SQS FIFO: message group; Pub/Sub: ordering key), if the transport
    is configured for that. The sender sets the `id` of a sent message, and a FIFO queue stores only one of several messages with
    the same id. The transport sets the `id` of a received message, which is the same at each redelivery. `traceparent` (W3C Trace
    Context) is sent by transports that have headers.
    """

    body: str
    id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    traceparent: str | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """Bytes of the message's body and attributes together."""
        attributes = sum(len(name.encode()) + len(text.encode()) for name, text in self.attributes.items())
        return len(self.body.encode()) + attributes
