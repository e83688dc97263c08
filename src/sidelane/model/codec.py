"""Codec: converts typed values to the JSON text that stores keep, and back. A codec never uses pickle."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, from_json

from sidelane.model.errors import PayloadTooLarge

LARGE_TEXT = 65_536
"""Number of characters above which validation of a list stops at its first error, to bound the time."""

MAX_EXPLAINED = 1000
"""Maximum number of validation errors that are described.

Further errors are only counted, because pydantic takes microseconds to format each.
"""

T = TypeVar("T")


def check_size(text: str, limit: int, what: str, task: str = "") -> str:
    """Return `text`.

    Raises `PayloadTooLarge` if the text has more than `limit` bytes as UTF-8. The error names the text by `what` and `task`.
    """
    if len(text) * 4 > limit:  # it can have ended only then
        size = len(text.encode())
        if size > limit:
            named = f"{what} {task!r}" if task else what
            raise PayloadTooLarge(
                f"{named} is {size:,} bytes of JSON; the limit is {limit:,} (SIDELANE_PAYLOAD_LIMIT)."
            )
    return text


@contextmanager
def without_collecting() -> Iterator[None]:
    """Disable the garbage collector while foreign JSON is read and freed.

    JSON has no cycles, and with many small lists the collector would take most of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def parse_json(text: str | bytes) -> Any:
    """Parse foreign JSON. Raises ValueError if it is invalid or contains NaN or infinity."""
    with without_collecting():
        return from_json(text, allow_inf_nan=False)


class Codec(Generic[T]):
    """Turns values of one type into JSON text and back."""

    def __init__(self, type_: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(type_)
        # every job is encoded or decoded four times, and the adapter's own methods cost more than these two
        self._validator, self._serializer = self._adapter.validator, self._adapter.serializer

    def encode(self, value: object) -> str:
        """Return the JSON of a value of the type. Raises TypeError with a sentence for the task's author."""
        try:
            checked = self._validator.validate_python(value)
            text = self._serializer.to_json(checked, warnings="error", by_alias=True)
            self._validator.validate_json(text)  # finds what JSON cannot hold, e.g. NaN
            return text.decode()
        except (ValidationError, PydanticSerializationError, ValueError) as error:
            raise TypeError(format_validation_error(error)) from error

    def decode(self, text: str, context: Mapping[str, Any] | None = None) -> T:
        """Parse JSON text. `context` is for the values' own validation. Raises TypeError if the value is not of the type."""
        validator = self._validator if len(text) <= LARGE_TEXT else self._fail_fast_validator
        try:
            value: T = validator.validate_json(text, context=context)
        except ValidationError as error:
            raise TypeError(
                format_validation_error(error)
            ) from None  # formatting the errors of a large text takes long
        return value

    @cached_property
    def _fail_fast_validator(self) -> SchemaValidator:
        """A validator that stops at the first error of a list, because pydantic takes microseconds for each error."""
        # without the prebuilt validators of nested models, which record every error
        return SchemaValidator(_failing_fast(self._adapter.core_schema), _use_prebuilt=False)

    def has(self, type_: type) -> bool:
        """Return whether values may contain a `type_`, a type that defines its core schema."""
        return _has(self._adapter.core_schema, type_)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what `encode` writes."""
        return self._adapter.json_schema(mode="serialization")


def _failing_fast(schema: Any) -> Any:
    """Return a core schema whose lists, sets and tuples fail at their first error."""
    if isinstance(schema, Mapping):
        changed = {name: _failing_fast(part) for name, part in schema.items()}
        return {**changed, "fail_fast": True} if changed.get("type") in _SEQUENCES else changed
    return [*map(_failing_fast, schema)] if isinstance(schema, list) else schema


_SEQUENCES = ("list", "set", "frozenset", "tuple")


def _has(schema: object, type_: type) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("cls") is type_ or any(_has(part, type_) for part in schema.values())
    return isinstance(schema, list | tuple) and any(_has(part, type_) for part in schema)


def format_validation_error(error: Exception) -> str:
    """Return the errors of a validation, in one line that does not repeat the values."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    if error.error_count() > MAX_EXPLAINED:
        return f"{error.error_count():,} values do not fit"
    items = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    found = [(".".join(str(part) for part in item["loc"]), item["msg"]) for item in items]
    return "; ".join(f"{location}: {message}" if location else message for location, message in found)


def rfc3339(seconds: float, timespec: str = "milliseconds") -> str:
    """Return a time, in seconds since 1970, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
