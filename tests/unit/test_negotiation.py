"""Content negotiation by `Accept` and `Prefer`."""

import pytest
from starlette.datastructures import Headers

from sidelane.web.negotiation import ResponsePreference, accepts_stream, parse_preferences


def preference(*prefer: str, accept: str = "", stream: bool = False) -> ResponsePreference:
    pairs = [("prefer", value) for value in prefer] + ([("accept", accept)] if accept else [])
    return parse_preferences(
        Headers(raw=[(name.encode(), value.encode()) for name, value in pairs]), default_stream=stream
    )


@pytest.mark.parametrize(
    ("prefer", "wait", "applied"),
    [
        ("wait=10", 10, "wait=10"),
        ("wait=0.5", 0.5, "wait=0.5"),
        ("wait=0", 0, "wait=0"),
        ("wait=120", 120, "wait=120"),
        ("wait=121", 120, "wait=120"),
        ("wait=1e9", 120, "wait=120"),
        ('Wait = "10"; strict', 10, "wait=10"),
        ("respond-async, wait=10", 10, "wait=10"),
        ("wait=5, wait=10", 5, "wait=5"),
    ],
)
def test_wait_is_at_most_two_minutes(prefer: str, wait: float, applied: str) -> None:
    assert preference(prefer) == ResponsePreference(wait=wait, applied=applied)


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "wait=nan", "wait=inf", "", ",;=", "x=1"])
def test_invalid_preference_is_ignored(prefer: str) -> None:
    assert preference(prefer) == ResponsePreference()


def test_first_preference_of_a_name_counts_across_headers() -> None:
    assert preference("wait=3", "wait=9").wait == 3


def test_event_stream_takes_precedence_over_wait() -> None:
    assert preference("wait=10", accept="text/event-stream") == ResponsePreference(stream=True)


def test_default_stream_applies_without_any_preference() -> None:
    assert preference(stream=True).stream
    assert not preference("wait=10", stream=True).stream
    assert not preference(accept="application/json", stream=True).stream


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream; charset=utf-8", True),
        ("text/event-stream, application/json", True),
        ("text/event-stream;q=0.5, application/json;q=0.5", True),
        ("text/event-stream;q=0.4, application/json;q=0.5", False),
        ("text/event-stream;q=0.4, application/*;q=0.5", False),
        ("text/event-stream;q=0.4, application/json;q=0.3, application/*;q=0.5", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=much", False),
        ("application/json", False),
    ],
)
def test_quality_decides_between_stream_and_json(accept: str, stream: bool) -> None:
    assert accepts_stream([accept]) is stream
    assert accepts_stream(accept.split(",")) is stream  # as several headers
    assert accepts_stream([accept], default=not stream) is stream


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/*"])
def test_default_applies_if_neither_type_is_accepted_by_name(accept: str) -> None:
    assert accepts_stream([accept], default=True)
    assert not accepts_stream([accept])
