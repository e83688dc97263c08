"""Times and durations in readable form."""

from datetime import UTC, datetime

from sidelane.model.durations import (
    DAY,
    HOUR,
    MINUTE,
    days_text,
    duration_of,
    duration_text,
    rate_text,
    starts_with_duration,
)

duration, format_rate = duration_text, rate_text


def relative_time(then: float, now: float) -> str:
    """Format a time relative to now: "just now", "3 min ago", "in 2 h"."""
    passed = round(now - then)
    seconds = abs(passed)
    if seconds < 2:
        return "just now"
    if seconds >= DAY:
        text = days_text(seconds)
    elif seconds >= HOUR:
        text = f"{seconds // HOUR} h"
    elif seconds >= MINUTE:
        text = f"{seconds // MINUTE} min"
    else:
        text = f"{seconds} s"
    return f"{text} ago" if passed > 0 else f"in {text}"


def timestamp(at: float) -> str:
    """Format a time in this machine's time zone."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def time_at(text: str, now: float) -> float:
    """Parse a time: how long ago ("2h"), or an ISO 8601 date with an optional time, by default in this machine's time zone.

    Raises ValueError.
    """
    if starts_with_duration(text):
        return now - duration_of(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(f"{text!r}: write how long ago, e.g. 2h, or a time, e.g. 2026-05-01T09:30.") from None
