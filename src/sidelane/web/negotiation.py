"""What a client asks for in its headers: the kind of answer (Accept, RFC 9110) and how long it would wait (Prefer, RFC 7240)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from starlette.datastructures import Headers

MAX_WAIT = 120.0
"""Seconds a request waits at most, however long it would like to."""

LONGEST_FIELD = 4096
"""Characters of such a header that are read; what comes after them is ignored."""

EVENT_STREAM = "text/event-stream"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class ResponsePreference:
    """How a client wants to hear of its job. `wait` is in seconds; `applied` is what `Preference-Applied` says."""

    stream: bool = False
    wait: float | None = None
    applied: str | None = None


def parse_preferences(headers: Headers, *, stream: bool = False) -> ResponsePreference:
    """Read a request's wishes; what is malformed or unknown is ignored, as RFC 7240 asks.

    `stream` says what a client gets that names neither JSON nor event streams and does not ask to wait.
    """
    preferences = dict(_preferences(headers.getlist("prefer")))
    wait = _seconds(preferences.get("wait"))
    if accepts_stream(headers.getlist("accept"), undecided=stream and not preferences):
        return ResponsePreference(stream=True)
    if wait is not None:
        return ResponsePreference(wait=min(wait, MAX_WAIT), applied=f"wait={min(wait, MAX_WAIT):g}")
    return ResponsePreference(applied="respond-async" if "respond-async" in preferences else None)


def accepts_stream(accept: Iterable[str], *, undecided: bool = False) -> bool:
    """Tell whether a client prefers an event stream to JSON; one that names neither gets what `undecided` says."""
    qualities = {name: _quality(parameters) for name, parameters in _items(accept)}
    if EVENT_STREAM not in qualities and JSON not in qualities and "application/*" not in qualities:
        return undecided
    stream = qualities.get(EVENT_STREAM, 0.0)
    return stream > 0 and stream >= qualities.get(JSON, qualities.get("application/*", 0.0))


def _preferences(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    for item, _ in reversed(list(_items(values))):  # the first of a name counts
        name, _, value = item.partition("=")
        yield name.strip(), value.strip().strip('"')


def _items(values: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for value in values:
        for item in value[:LONGEST_FIELD].split(","):
            name, *parameters = (part.strip().lower() for part in item.split(";"))
            if name:
                yield name, parameters


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            return _seconds(parameter[2:]) or 0.0
    return 1.0


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text) if text else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 <= seconds < float("inf") else None
