"""Durations and times as applications write them, and durations and rates in readable form."""

import re
from datetime import datetime, timedelta, tzinfo
from typing import overload

Duration = float | timedelta
"""A number of seconds, or a timedelta."""

Time = float | datetime
"""Seconds since 1970, or a datetime with a time zone."""

MINUTE, HOUR, DAY = 60, 3600, 86_400

SECONDS = {"s": 1, "min": MINUTE, "m": MINUTE, "h": HOUR, "d": DAY, "day": DAY, "days": DAY, "w": 7 * DAY}
"""Seconds by the units of written durations."""

MAX_LENGTH = 100
"""Maximum number of characters of a written duration."""

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


@overload
def to_seconds(duration: Duration) -> float: ...
@overload
def to_seconds(duration: None) -> None: ...
def to_seconds(duration: Duration | None) -> float | None:
    """Return a duration in seconds. Anything but a timedelta is returned unchanged, for the check of its declaration."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def to_timestamp(time: Time) -> float:
    """Return a time in seconds since 1970. Raises ValueError if a datetime has no time zone."""
    if not isinstance(time, datetime):
        return time
    if time.utcoffset() is None:  # it would be another time on a machine in another zone
        raise ValueError("this datetime has no time zone; give it one, e.g. datetime(…, tzinfo=UTC)")
    return time.timestamp()


def duration_of(text: str) -> float:
    """Parse a duration: "90s", "15 min", "2h30m", "3 days". Raises ValueError."""
    parts = _PART.findall(text[:MAX_LENGTH])
    if len(text) > MAX_LENGTH or not parts or _PART.sub("", text) or any(unit not in SECONDS for _, unit in parts):
        raise ValueError(f"{text!r}: write a duration, e.g. 90s, 15min, 2h or 3d.")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def time_of(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Parse a time in seconds since 1970: how long ago ("2h"), or an ISO 8601 date with an optional time.

    A time without a zone is in `zone`, or in that of this machine. Raises ValueError.
    """
    if _PART.match(text):  # not "2026-05-01"
        return now - duration_of(text)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r}: write how long ago, e.g. 2h, or a time, e.g. 2026-05-01T09:30.") from None


def duration_text(seconds: float) -> str:
    """Format seconds: "0.3 s", "12 s", "3 min 20 s", "2 h 5 min", "4 days"."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole, MINUTE, "min", 1, "s")
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return days_text(whole)


def rate_text(per_second: float) -> str:
    """Format a rate: "120/s", "1.5/min", "12/h"; "" if below one per hour."""
    for unit, name in ((1, "s"), (MINUTE, "min"), (HOUR, "h")):
        times = per_second * unit
        if times >= 0.95:
            return f"{times:,.0f}/{name}" if times >= 9.95 else f"{times:.1f}/{name}"
    return ""


def days_text(seconds: int) -> str:
    """Format seconds as whole days: "1 day", "4 days"."""
    days = seconds // DAY
    return "1 day" if days == 1 else f"{days} days"


def _two(seconds: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit} {name} {rest} {smaller_name}" if rest else f"{seconds // unit} {name}"
