"""CloudEvents 1.0 in JSON: the form messages have unless their receiver has one of its own.

Structured mode: the whole event is the message's body. What is read was written by others, so all of it is checked.
Sources: CloudEvents 1.0.2 core and JSON format; its extensions Distributed Tracing and Dataref; RFC 3339 for times.
"""

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, from_json

from sidelane.model.codec import explain
from sidelane.model.errors import MalformedMessage
from sidelane.model.ids import is_traceparent
from sidelane.model.message import Message

CONTENT_TYPE = "application/cloudevents+json"
"""What the attribute `content-type` of such a message says, by the protocol bindings of CloudEvents."""

_NAME = re.compile(r"[a-z0-9]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_JSON = re.compile(r"(application|text)/(.+\+)?json|.+/.+\+json", re.IGNORECASE)


def _text(value: str) -> str:
    if not value:
        raise PydanticCustomError("empty", "is empty")
    return _string(value)


def _string(value: str) -> str:
    if _CONTROL.search(value):
        raise PydanticCustomError("control", "has control characters in it")
    return value


def _seconds(value: object) -> float:
    """Read a time of RFC 3339 as seconds since 1970."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        with suppress(ValueError):
            return datetime.fromisoformat(value.upper()).timestamp()
    raise PydanticCustomError("time", "is not a time as RFC 3339 writes it, such as 2026-01-31T09:30:00Z")


def _value(value: object) -> object:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise PydanticCustomError("extension", "is neither a text, a whole number of 32 bits, true nor false")
    return value


_Text = Annotated[str, Field(strict=True), AfterValidator(_text)]
_Time = Annotated[float, BeforeValidator(_seconds)]
_Extensions = Mapping[str, Annotated[Any, AfterValidator(_value)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """One event. `id` is unique under its `source`: two that agree in both are the same event, sent twice.

    `data` is JSON text. `dataref` is where the data are instead, when they were too large to come along. `time` is seconds since
    1970. `extensions` are the attributes that Sidelane does not know, kept as they came.
    """

    id: _Text
    source: _Text
    type: _Text
    subject: _Text | None = None
    time: _Time | None = None
    data: str | None = None
    datacontenttype: _Text | None = None
    dataschema: _Text | None = None
    traceparent: _Text | None = None
    dataref: _Text | None = None
    extensions: _Extensions = field(default_factory=dict)


def message(event: CloudEvent, *, group: str | None = None) -> Message:
    """Make the message that carries an event."""
    return Message(body=write(event), id=event.id, attributes={"content-type": CONTENT_TYPE}, group=group)


def write(event: CloudEvent) -> str:
    """Give the event as JSON."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": None if event.time is None else _written(event.time),
        "datacontenttype": event.datacontenttype or (None if event.data is None else "application/json"),
        "dataschema": event.dataschema,
        "traceparent": event.traceparent,
        "dataref": event.dataref,
        **event.extensions,
    }
    text = _dumps({name: value for name, value in attributes.items() if value is not None})
    if event.data is not None:
        text = f'{text[:-1]},"data":{event.data}}}'
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")  # JSON has these raw, some transports do not


def read(body: str | bytes) -> CloudEvent:
    """Read an event. Raises `MalformedMessage`, which says what is wrong with it and repeats nothing of what it says."""
    try:
        found = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedMessage(f"The message is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise MalformedMessage("The message is not a CloudEvent: it is not a JSON object.")
    members = {name: value for name, value in found.items() if value is not None}
    version = members.pop("specversion", None)
    if version != "1.0":
        said = "has no specversion" if version is None else "has another specversion"
        raise MalformedMessage(f"The message is not a CloudEvent 1.0: it {said}.")
    if not all(_NAME.fullmatch(name) for name in members if name != "data_base64"):
        raise MalformedMessage(
            "The message is not a CloudEvent 1.0: its attributes do not all have names of lower-case letters and digits."
        )
    data = _data(found, members)
    if not is_traceparent(str(members.get("traceparent", ""))):
        members.pop("traceparent", None)  # as W3C Trace Context asks: the trace is lost, not the message
    extensions = {name: members.pop(name) for name in list(members) if name not in _KNOWN}
    try:
        return _adapter().validate_python({**members, "data": data, "extensions": extensions})
    except ValidationError as error:
        raise MalformedMessage(f"The message is not a CloudEvent 1.0: {explain(error)}.") from None


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _data(found: Mapping[str, Any], members: dict[str, Any]) -> str | None:
    """Take the data out of the members and give them as JSON text. Raises `MalformedMessage`."""
    encoded = members.pop("data_base64", None)
    value = members.pop("data", None)
    if encoded is not None:
        if "data" in found:
            raise MalformedMessage("The message is not a CloudEvent 1.0: it has both data and data_base64.")
        kind = members.get("datacontenttype", "application/json")
        if not isinstance(kind, str) or not _JSON.fullmatch(kind.partition(";")[0].strip()):
            raise MalformedMessage("The data of the message are not JSON: see its datacontenttype.")
    elif "data" not in found:  # a null is data too
        return None
    try:
        return _dumps(value if encoded is None else from_json(base64.b64decode(encoded, validate=True)))
    except (TypeError, ValueError):
        raise MalformedMessage("The data of the message are not JSON.") from None


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_KNOWN = frozenset(CloudEvent.__dataclass_fields__) - {"data", "extensions"}


@cache
def _adapter() -> TypeAdapter[CloudEvent]:
    return TypeAdapter(CloudEvent)
