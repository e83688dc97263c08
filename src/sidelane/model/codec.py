"""JSON in and out: typed values to the text that stores keep, and back. Never pickle."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, from_json

from sidelane.model.errors import PayloadTooLarge

LARGE = 65_536
"""Characters above which a text is read with an eye on the time its faults take."""

MOST_EXPLAINED = 1000
"""With more faults than this they are only counted: pydantic writes all of them out or none, which takes microseconds for each."""

T = TypeVar("T")


def check_size(text: str, limit: int, what: str, task: str = "") -> str:
    """Give `text` back, or raise `PayloadTooLarge` when it has more than `limit` bytes as UTF-8; `what` and `task` name it."""
    if len(text) * 4 > limit:  # only then can it be over
        size = len(text.encode())
        if size > limit:
            named = f"{what} {task!r}" if task else what
            raise PayloadTooLarge(
                f"{named} is {size:,} bytes of JSON; the limit is {limit:,} (SIDELANE_PAYLOAD_LIMIT)."
            )
    return text


@contextmanager
def without_collecting() -> Iterator[None]:
    """Keep the collector of cycles at rest while JSON that others wrote is read, and let go of again.

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
    """Read JSON that others wrote, without NaN and infinity. Raises ValueError."""
    with without_collecting():
        return from_json(text, allow_inf_nan=False)


class Codec(Generic[T]):
    """Turns values of one type into JSON text and back."""

    def __init__(self, type_: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(type_)
        # every job passes here four times, and pydantic's own methods on an adapter cost more than what these two do
        self._validator, self._serializer = self._adapter.validator, self._adapter.serializer

    def encode(self, value: object) -> str:
        """Check that `value` is of the type and give its JSON. Raises TypeError with a sentence for the task's author."""
        try:
            checked = self._validator.validate_python(value)
            text = self._serializer.to_json(checked, warnings="error", by_alias=True)
            self._validator.validate_json(text)  # what JSON does not hold, NaN say, is found here, not by its reader
            return text.decode()
        except (ValidationError, PydanticSerializationError, ValueError) as error:
            raise TypeError(format_validation_error(error)) from error

    def decode(self, text: str, context: Mapping[str, Any] | None = None) -> T:
        """Read JSON text back; `context` is for the values' own validation. Raises TypeError when it is not of the type."""
        validator = self._validator if len(text) <= LARGE else self._quick_validator
        try:
            value: T = validator.validate_json(text, context=context)
        except ValidationError as error:
            raise TypeError(
                format_validation_error(error)
            ) from None  # written out, the faults of a large text take long
        return value

    @cached_property
    def _quick_validator(self) -> SchemaValidator:
        """A validator that stops at the first fault of a list: pydantic takes microseconds for each it notes."""
        # without the validators that nested models bring, which note every fault
        return SchemaValidator(_failing_fast(self._adapter.core_schema), _use_prebuilt=False)

    def has(self, type_: type) -> bool:
        """Tell whether values may hold one of `type_`, a type that says of itself how it is read (it stands in its schema)."""
        return _has(self._adapter.core_schema, type_)

    def schema(self) -> dict[str, Any]:
        """Give the JSON Schema of what `encode` writes."""
        return self._adapter.json_schema(mode="serialization")


def _failing_fast(schema: Any) -> Any:
    """Return a core schema whose lists, sets and tuples end with their first fault."""
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
    """Say in one line what a validation found, without echoing the values."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    if error.error_count() > MOST_EXPLAINED:
        return f"{error.error_count():,} values do not fit"
    items = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    found = [(".".join(str(part) for part in item["loc"]), item["msg"]) for item in items]
    return "; ".join(f"{place}: {message}" if place else message for place, message in found)


def is_storable(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: half a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_surrogates(text: str) -> str:
    """Escape what cannot be written as UTF-8 by `\\uXXXX`, which in JSON text means the same."""
    return text if is_storable(text) else text.encode(errors="backslashreplace").decode()


def rfc3339(seconds: float, timespec: str = "milliseconds") -> str:
    """Return a time, in seconds since 1970, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
