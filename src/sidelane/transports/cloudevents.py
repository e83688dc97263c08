"""CloudEvents 1.0 in JSON: the format of messages unless a receiver has its own.

Events use structured mode, in which the whole event is the message's body. All input is checked, because other programs wrote it.
Sources: CloudEvents 1.0.2 core and JSON format; its extensions Distributed Tracing and Dataref; RFC 3339 for times.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Generic, NotRequired, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    OnErrorOmit,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError, to_json
from typing_extensions import TypedDict

from sidelane.model.codec import format_validation_error, parse_json, rfc3339, without_collecting
from sidelane.model.errors import MalformedMessage
from sidelane.model.ids import is_traceparent
from sidelane.model.message import Message

CONTENT_TYPE = "application/cloudevents+json"
"""Attribute `content-type` of a message, by the protocol bindings of CloudEvents."""

_NAME = re.compile(r"[a-z0-9]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

MAX_ATTRIBUTES = 100
"""Maximum number of attributes of an event."""

MAX_TYPE_LENGTH = 255
"""Maximum characters of a media type (RFC 6838, 4.2)."""

MAX_TIME_LENGTH = 64

F = TypeVar("F", bound=BaseModel)


def _text(value: str) -> str:
    if not value:
        raise PydanticCustomError("empty", "is empty")
    return _string(value)


def _string(value: str) -> str:
    if _CONTROL.search(value):
        raise PydanticCustomError("control", "has control characters")
    return value


def _parse_time(value: object) -> float:
    """Return an RFC 3339 time as seconds since 1970."""
    if isinstance(value, str) and len(value) <= MAX_TIME_LENGTH and _TIME.fullmatch(value):
        with suppress(ValueError):
            return datetime.fromisoformat(value.upper()).timestamp()
    raise PydanticCustomError("time", "is not an RFC 3339 time such as 2026-01-31T09:30:00Z")


def _value(value: object) -> object:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise PydanticCustomError("extension", "is not a text, a 32-bit integer or a boolean")
    return value


_Text = Annotated[str, Field(strict=True), AfterValidator(_text)]
_Time = Annotated[float, BeforeValidator(_parse_time)]
_Extensions = Mapping[str, Annotated[Any, AfterValidator(_value)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """One event. `id` is unique within its `source`, so events that agree in both are repetitions.

    `data` is JSON text. `dataref` links to the data if the data was too large for the message. `time` is in seconds since 1970.
    `extensions` are the attributes that Sidelane does not know, unchanged.
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
    """Return the message of an event."""
    attributes = {"content-type": CONTENT_TYPE}
    return Message(body=write(event), id=event.id, attributes=attributes, group=group, traceparent=event.traceparent)


def write(event: CloudEvent) -> str:
    """Return an event as JSON."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": None if event.time is None else rfc3339(event.time, "auto"),
        "datacontenttype": event.datacontenttype or (None if event.data is None else "application/json"),
        "dataschema": event.dataschema,
        "traceparent": event.traceparent,
        "dataref": event.dataref,
        **event.extensions,
    }
    text = _dumps({name: value for name, value in attributes.items() if value is not None})
    if event.data is not None:
        text = f'{text[:-1]},"data":{event.data}}}'
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")  # some transports refuse these


def read(body: str | bytes) -> CloudEvent:
    """Read an event. Raises `MalformedMessage`, which describes the error and does not quote the event."""
    with without_collecting():
        return _read(body)


def _read(body: str | bytes) -> CloudEvent:
    try:
        found = parse_json(body)
    except ValueError as error:
        raise MalformedMessage(f"The message is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise MalformedMessage("The message is not a CloudEvent: it is not a JSON object.")
    if len(found) > MAX_ATTRIBUTES:
        raise MalformedMessage(f"The message is not a CloudEvent: it has more than {MAX_ATTRIBUTES} attributes.")
    members = {name: value for name, value in found.items() if value is not None}
    _check_version(members.pop("specversion", None))
    if not all(_NAME.fullmatch(name) for name in members if name != "data_base64"):
        raise MalformedMessage(
            "The message is not a CloudEvent 1.0: its attributes do not all have names of lower-case letters and digits."
        )
    data = _data(found, members)
    members["traceparent"] = _trace(members.get("traceparent"))
    extensions = {name: members.pop(name) for name in list(members) if name not in _KNOWN}
    try:
        return _adapter().validate_python({**members, "data": data, "extensions": extensions})
    except ValidationError as error:
        raise MalformedMessage(f"The message is not a CloudEvent 1.0: {format_validation_error(error)}.") from None


def read_envelope(body: str | bytes) -> CloudEvent:
    """Read the attributes that Sidelane knows, without the data and the extensions. This is much faster than `read`.

    Raises `MalformedMessage`.
    """
    try:
        return _event(_envelope().validate_json(body))
    except ValidationError as error:
        raise _malformed(error) from None


def trace_of(message: Message) -> str | None:
    """Return the trace of a message, from its attributes, or from its body if the body is a CloudEvent."""
    trace = _trace(message.attributes.get("traceparent"))
    if trace is None and '"specversion"' in message.body:
        try:
            return read_envelope(message.body).traceparent
        except MalformedMessage:
            return None
    return trace


def read_data(body: str | bytes) -> Any:
    """Read only the data of an event. Raises `MalformedMessage`, also if there is no data."""
    try:
        found = parse_json(body)
    except ValueError as error:
        raise MalformedMessage(f"The message is not JSON: {error}.") from None
    encoded = found.get("data_base64") if isinstance(found, dict) else None
    if encoded is not None:
        return _parse(_decode_base64(encoded, found.get("datacontenttype"), alone="data" not in found))
    if not isinstance(found, dict) or "data" not in found:
        raise MalformedMessage("The event has no data.")
    return found["data"]


def read_parts(body: str | bytes, form: type[F], *, types: Collection[str], what: str) -> tuple[CloudEvent, F]:
    """Read the attributes of an event of one of these types, and those members of its data that a form has.

    `what` describes such events. Raises `MalformedMessage`.
    """
    try:
        found = _carrier(form).validate_json(body)
        event = _event(found)
        _check_type(event, types, what)
        data = found.get("data")
        encoded = found.get("data_base64")
        if encoded is not None:
            data = form.model_validate_json(_decode_base64(encoded, event.datacontenttype, alone="data" not in found))
    except ValidationError as error:
        _check_type(read_envelope(body), types, what)  # the data of other events have other members
        raise _malformed(error) from None
    if data is None:
        raise MalformedMessage("The event has no data.")
    return event, data


def _event(found: "_Envelope") -> CloudEvent:
    """Return the event of an envelope. Raises ValidationError or `MalformedMessage`."""
    _check_version(found.get("specversion"))
    known = {name: value for name, value in found.items() if name in _KNOWN and value is not None}
    return _adapter().validate_python({**known, "traceparent": _trace(found.get("traceparent"))})


def _check_type(event: CloudEvent, types: Collection[str], what: str) -> None:
    if event.type not in types:
        raise MalformedMessage(f"The message is not {what}.")


def _check_version(version: object) -> None:
    if version != "1.0":
        reason = "has no specversion" if version is None else "has another specversion"
        raise MalformedMessage(f"The message is not a CloudEvent 1.0: it {reason}.")


def _trace(value: object) -> str | None:
    """Return a valid trace, else None. A message with an invalid trace is valid (W3C Trace Context)."""
    return value if isinstance(value, str) and is_traceparent(value) else None


def _is_json(media_type: object) -> bool:
    if not isinstance(media_type, str) or len(media_type) > MAX_TYPE_LENGTH:
        return False
    kind, _, name = media_type.partition(";")[0].strip().lower().partition("/")
    return (kind in ("application", "text") and name == "json") or (
        bool(kind) and name[:-5] != "" and name.endswith("+json")
    )


def _decode_base64(encoded: Any, media_type: object, *, alone: bool) -> bytes:
    """Return data that was sent in base64. Raises `MalformedMessage`."""
    if not alone:
        raise MalformedMessage("The message is not a CloudEvent 1.0: it has both data and data_base64.")
    if not _is_json("application/json" if media_type is None else media_type):
        raise MalformedMessage("The data of the message are not JSON: see its datacontenttype.")
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError):
        raise MalformedMessage("The data of the message are not JSON.") from None


def _parse(data: bytes) -> Any:
    try:
        return parse_json(data)
    except ValueError:
        raise MalformedMessage("The data of the message are not JSON.") from None


def _malformed(error: ValidationError) -> MalformedMessage:
    (first, *_) = error.errors(include_url=False, include_input=False)
    match first["type"]:
        case "json_invalid":
            return MalformedMessage(f"The message is not JSON: {first['ctx']['error']}.")
        case "dict_type" | "model_type" if not first["loc"]:
            return MalformedMessage("The message is not a CloudEvent: it is not a JSON object.")
        case _:
            return MalformedMessage(f"The message is not a CloudEvent 1.0: {format_validation_error(error)}.")


def _data(found: Mapping[str, Any], members: dict[str, Any]) -> str | None:
    """Remove the data from the members and return them as JSON text. Raises `MalformedMessage`."""
    encoded = members.pop("data_base64", None)
    value = members.pop("data", None)
    if encoded is not None:
        value = _parse(_decode_base64(encoded, members.get("datacontenttype"), alone="data" not in found))
    elif "data" not in found:  # null is data
        return None
    try:
        text = to_json(value).decode()
        if "Infinity" in text:  # either in a text, or a number out of range, which raises
            _dumps(value)
    except ValueError:
        raise MalformedMessage("The data of the message are not JSON.") from None
    return text


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_KNOWN = frozenset(CloudEvent.__dataclass_fields__) - {"data", "extensions"}


class _Envelope(TypedDict):
    """The members that are parsed; other members, e.g. the data, are skipped."""

    specversion: NotRequired[OnErrorOmit[str]]
    id: NotRequired[str | None]
    source: NotRequired[str | None]
    type: NotRequired[str | None]
    subject: NotRequired[str | None]
    time: NotRequired[str | None]
    datacontenttype: NotRequired[str | None]
    dataschema: NotRequired[str | None]
    traceparent: NotRequired[OnErrorOmit[str]]
    dataref: NotRequired[str | None]


@cache
def _envelope() -> TypeAdapter[_Envelope]:
    return TypeAdapter(_Envelope)


class _Carrier(_Envelope, Generic[F]):
    data: NotRequired[F | None]
    data_base64: NotRequired[str | None]


@cache
def _carrier(form: type[F]) -> TypeAdapter[_Carrier[F]]:
    """Return the parser of events whose data has this form."""
    return TypeAdapter(_Carrier[form])  # type: ignore[valid-type] # a form at run time


@cache
def _adapter() -> TypeAdapter[CloudEvent]:
    return TypeAdapter(CloudEvent)
