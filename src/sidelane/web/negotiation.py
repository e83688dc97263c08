"""Content negotiation: the kind of answer that a client requests (`Accept`, RFC 9110; `Prefer`, RFC 7240)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from starlette.datastructures import Headers

MAX_WAIT = 120.0
"""Maximum seconds that a request waits for a result, whatever `Prefer: wait` requests."""

MAX_FIELD_LENGTH = 4096
"""Number of characters of a header that are parsed; further characters are ignored."""

EVENT_STREAM = "text/event-stream"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class ResponsePreference:
    """The answer that a client prefers: an event stream, the result after up to `wait` seconds, or a 202.

    `applied` is the value of `Preference-Applied`.
    """

    stream: bool = False
    wait: float | None = None
    applied: str | None = None


def parse_preferences(headers: Headers, *, default_stream: bool = False) -> ResponsePreference:
    """Parse a request's `Accept` and `Prefer`. Malformed and unknown values are ignored, as RFC 7240 requires.

    `default_stream` is whether a client gets an event stream if it names neither JSON nor event streams and does not wait.
    """
    preferences = dict(_preferences(headers.getlist("prefer")))
    wait = _number(preferences.get("wait"))
    if accepts_stream(headers.getlist("accept"), default=default_stream and not preferences):
        return ResponsePreference(stream=True)
    if wait is not None:
        return ResponsePreference(wait=min(wait, MAX_WAIT), applied=f"wait={min(wait, MAX_WAIT):g}")
    return ResponsePreference(applied="respond-async" if "respond-async" in preferences else None)


def accepts_stream(accept: Iterable[str], *, default: bool = False) -> bool:
    """Return whether a client prefers an event stream to JSON, or `default` if it names neither."""
    qualities = {name: _quality(parameters) for name, parameters in _items(accept)}
    if EVENT_STREAM not in qualities and JSON not in qualities and "application/*" not in qualities:
        return default
    stream = qualities.get(EVENT_STREAM, 0.0)
    return stream > 0 and stream >= qualities.get(JSON, qualities.get("application/*", 0.0))


def _preferences(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    for item, _ in reversed(list(_items(values))):  # the first of a name counts
        name, _, value = item.partition("=")
        yield name.strip(), value.strip().strip('"')


def _items(values: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for value in values:
        for item in value[:MAX_FIELD_LENGTH].split(","):
            name, *parameters = (part.strip().lower() for part in item.split(";"))
            if name:
                yield name, parameters


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            return _number(parameter[2:]) or 0.0
    return 1.0


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
