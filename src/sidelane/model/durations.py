"""Durations and times as applications write them: seconds, a timedelta or a text, seconds since 1970 or a datetime."""

import re
from datetime import datetime, timedelta
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


def starts_with_duration(text: str) -> bool:
    """Return whether a text begins as a duration does, e.g. "2h" and "2 hours", not "2026-05-01"."""
    return _PART.match(text) is not None
