"""The form messages have in SQS, and what of it SQS does not take as it is.

It takes ten attributes, of certain names, with texts that are not empty. What does not fit goes together into one of them, as JSON,
and is put back in its place where the message is received.
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

MORE = "sidelane.attributes"
"""The attribute that holds those which do not fit, a JSON object."""

_MOST = 10
_NAME = re.compile(r"(?!(?:aws|amazon)\.)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)
_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_SIGN = re.compile(r"[!-~]{1,128}")  # what ids and groups may be made of


def to_entry(message: Message, *, fifo: bool) -> dict[str, Any]:
    """Write a message as SQS takes it. Raises `TransportUnusable` where it never would."""
    if not _TEXT.fullmatch(message.body):
        said = "has characters that SQS does not take" if message.body else "is empty, which SQS does not take"
        raise TransportMisconfigured(f"The body of the message {said}.")
    written: dict[str, Any] = {"MessageBody": message.body, "MessageAttributes": _attributes(message.attributes)}
    if fifo:
        if message.group is not None and not _SIGN.fullmatch(message.group):
            raise TransportMisconfigured(
                "The message's group is not 1 to 128 ASCII letters, digits and punctuation marks."
            )
        own = message.id or uuid.uuid4().hex
        sign = own if _SIGN.fullmatch(own) else hashlib.sha256(own.encode()).hexdigest()
        # what has no group is one of its own: it waits for no other
        written |= {"MessageGroupId": message.group or uuid.uuid4().hex, "MessageDeduplicationId": sign}
    return written


def size(entry: Mapping[str, Any]) -> int:
    """Count the bytes of an entry as SQS does: body, and name, type and value of each attribute."""
    attributes = entry["MessageAttributes"].items()
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(value["DataType"]) + len(value["StringValue"].encode()) for name, value in attributes
    )


def from_entry(received: Mapping[str, Any]) -> Message:
    """Read a message that was received."""
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
    if len(fitting) < len(attributes) or len(fitting) > _MOST:
        fitting = fitting[: _MOST - 1]
    direct = {name: attributes[name] for name in fitting}
    rest = {name: text for name, text in attributes.items() if name not in direct}
    if rest:
        direct[MORE] = json.dumps(rest)
    return {name: {"DataType": "String", "StringValue": text} for name, text in direct.items()}


def _fits(name: str, text: str) -> bool:
    return len(name) <= 256 and bool(_NAME.fullmatch(name)) and bool(_TEXT.fullmatch(text)) and name != MORE


def _restored(attributes: dict[str, str]) -> dict[str, str]:
    try:
        rest = json.loads(attributes.get(MORE, "{}"))
    except (ValueError, RecursionError):
        return attributes  # it is somebody else's
    if not isinstance(rest, dict) or not all(isinstance(text, str) for text in rest.values()):
        return attributes
    return {name: text for name, text in attributes.items() if name != MORE} | rest
