"""SQS codec: converts messages to SQS entries and back.

SQS accepts ten attributes, with restricted names and non-empty texts. All other attributes are joined into one attribute as JSON,
and restored when the message is received.
"""

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from sidelane.model.errors import TransportMisconfigured
from sidelane.model.message import Message

OVERFLOW = "sidelane.attributes"
"""Attribute that contains, as a JSON object, the attributes that SQS does not accept."""

_MAX_ATTRIBUTES = 10
_NAME = re.compile(r"(?!(?:aws|amazon)\.)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)
_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_TOKEN = re.compile(r"[!-~]{1,128}")  # ids and groups


def to_entry(message: Message, *, fifo: bool) -> dict[str, Any]:
    """Return a message as an SQS entry. Raises `TransportMisconfigured` if SQS can never accept it."""
    if not _TEXT.fullmatch(message.body):
        reason = "has characters that SQS does not accept" if message.body else "is empty, which SQS does not accept"
        raise TransportMisconfigured(f"The body of the message {reason}.")
    entry: dict[str, Any] = {"MessageBody": message.body, "MessageAttributes": _attributes(message.attributes)}
    if fifo:
        if message.group is not None and not _TOKEN.fullmatch(message.group):
            raise TransportMisconfigured(
                "The message's group is not 1 to 128 ASCII letters, digits and punctuation marks."
            )
        message_id = message.id or uuid.uuid4().hex
        deduplication_id = (
            message_id if _TOKEN.fullmatch(message_id) else hashlib.sha256(message_id.encode()).hexdigest()
        )
        # a message without a group gets its own, so that it waits for no other
        entry |= {"MessageGroupId": message.group or uuid.uuid4().hex, "MessageDeduplicationId": deduplication_id}
    return entry


def size(entry: Mapping[str, Any]) -> int:
    """Return the bytes of an entry as SQS counts them: body, and name, type and value of each attribute."""
    attributes = entry["MessageAttributes"].items()
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(value["DataType"]) + len(value["StringValue"].encode()) for name, value in attributes
    )


def from_entry(received: Mapping[str, Any]) -> Message:
    """Return a message that was received."""
    attributes = {
        name: value.get("StringValue") or base64.b64encode(value.get("BinaryValue", b"")).decode()
        for name, value in received.get("MessageAttributes", {}).items()
    }
    return Message(
        body=received["Body"],
        id=received["MessageId"],
        attributes=_restored(attributes),
        group=received.get("Attributes", {}).get("MessageGroupId"),
    )


def _attributes(attributes: Mapping[str, str]) -> dict[str, Any]:
    fitting = [name for name, text in attributes.items() if _fits(name, text)]
    if len(fitting) < len(attributes) or len(fitting) > _MAX_ATTRIBUTES:
        fitting = fitting[: _MAX_ATTRIBUTES - 1]
    direct = {name: attributes[name] for name in fitting}
    rest = {name: text for name, text in attributes.items() if name not in direct}
    if rest:
        direct[OVERFLOW] = json.dumps(rest)  # in ASCII: SQS refuses some of the characters that are in these texts
    return {name: {"DataType": "String", "StringValue": text} for name, text in direct.items()}


def _fits(name: str, text: str) -> bool:
    return len(name) <= 256 and bool(_NAME.fullmatch(name)) and bool(_TEXT.fullmatch(text)) and name != OVERFLOW


def _restored(attributes: dict[str, str]) -> dict[str, str]:
    try:
        rest = json.loads(attributes.get(OVERFLOW, "{}"))
    except (ValueError, RecursionError):
        return attributes  # another application's
    if not isinstance(rest, dict) or not all(isinstance(text, str) for text in rest.values()):
        return attributes
    return {name: text for name, text in attributes.items() if name != OVERFLOW} | rest
