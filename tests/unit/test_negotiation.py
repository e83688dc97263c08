"""What a client asks for in its headers."""

import pytest
from starlette.datastructures import Headers

from sidelane.web.negotiation import ResponsePreference, accepts_stream, parse_preferences


def asked(*prefer: str, accept: str = "", stream: bool = False) -> ResponsePreference:
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
def test_a_client_waits_as_long_as_it_likes_up_to_two_minutes(prefer: str, wait: float, applied: str) -> None:
    assert asked(prefer) == ResponsePreference(wait=wait, applied=applied)


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "wait=nan", "wait=inf", "", ",;=", "x=1"])
def test_what_makes_no_sense_is_ignored(prefer: str) -> None:
    assert asked(prefer) == ResponsePreference()


def test_the_first_of_a_name_counts_over_several_headers() -> None:
    assert asked("wait=3", "wait=9").wait == 3


def test_an_event_stream_leaves_nothing_to_wait_for() -> None:
    assert asked("wait=10", accept="text/event-stream") == ResponsePreference(stream=True)


def test_an_endpoint_streams_to_those_who_say_nothing_at_all() -> None:
    assert asked(stream=True).stream
    assert not asked("wait=10", stream=True).stream
    assert not asked(accept="application/json", stream=True).stream


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
def test_quality_decides_between_a_stream_and_json(accept: str, stream: bool) -> None:
    assert accepts_stream([accept]) is stream
    assert accepts_stream(accept.split(",")) is stream  # as several headers
    assert accepts_stream([accept], default=not stream) is stream


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/*"])
def test_whoever_names_neither_gets_what_the_endpoint_says(accept: str) -> None:
    assert accepts_stream([accept], default=True)
    assert not accepts_stream([accept])
