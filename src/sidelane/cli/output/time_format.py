"""Times and durations in readable form."""

from datetime import UTC, datetime

from sidelane.model.durations import (
    DAY,
    HOUR,
    MINUTE,
    days_text,
    duration_text,
    rate_text,
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
