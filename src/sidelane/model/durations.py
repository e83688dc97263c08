"""Durations and times as applications write them: seconds or a timedelta, seconds since 1970 or a datetime."""

from datetime import datetime, timedelta
from typing import overload

Duration = float | timedelta
"""A number of seconds, or a timedelta."""

Time = float | datetime
"""Seconds since 1970, or a datetime with a time zone."""


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
