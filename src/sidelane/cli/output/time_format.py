"""Times and durations as people say them."""

import re
from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400

SECONDS = {"s": 1, "min": MINUTE, "m": MINUTE, "h": HOUR, "d": DAY, "day": DAY, "days": DAY, "w": 7 * DAY}

LONGEST = 100
"""Characters of a duration."""

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def duration(seconds: float) -> str:
    """Write seconds as people say them: "0.3 s", "12 s", "3 min 20 s", "2 h 5 min", "4 days"."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole, MINUTE, "min", 1, "s")
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return _days(whole)


def relative_time(then: float, now: float) -> str:
    """Write how long ago something was, or how soon it will be: "just now", "3 min ago", "in 2 h"."""
    passed = round(now - then)
    seconds = abs(passed)
    if seconds < 2:
        return "just now"
    if seconds >= DAY:
        words = _days(seconds)
    elif seconds >= HOUR:
        words = f"{seconds // HOUR} h"
    elif seconds >= MINUTE:
        words = f"{seconds // MINUTE} min"
    else:
        words = f"{seconds} s"
    return f"{words} ago" if passed > 0 else f"in {words}"


def timestamp(at: float) -> str:
    """Write a time as the clock on the wall has it."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration_of(text: str) -> float:
    """Read a duration as people say it: "90s", "15 min", "2h30m", "3 days". Raises ValueError."""
    parts = _PART.findall(text[:LONGEST])
    if len(text) > LONGEST or not parts or _PART.sub("", text) or any(unit not in SECONDS for _, unit in parts):
        raise ValueError(f"{text!r}: write a duration, as in 90s, 15min, 2h or 3d.")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def time_at(text: str, now: float) -> float:
    """Read a time: how long ago ("2h"), or a date, with or without the time of day, of this machine's zone if it names none.

    Raises ValueError.
    """
    if _PART.match(text):
        return now - duration_of(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(f"{text!r}: write how long ago, as in 2h, or a time, as in 2026-05-01T09:30.") from None


def format_rate(per_second: float) -> str:
    """Write how often something happens: "120/s", "1.5/min", "12/h"; "" for less than once in an hour."""
    for unit, name in ((1, "s"), (MINUTE, "min"), (HOUR, "h")):
        times = per_second * unit
        if times >= 0.95:
            return f"{times:,.0f}/{name}" if times >= 9.95 else f"{times:.1f}/{name}"
    return ""


def _two(seconds: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit} {name} {rest} {smaller_name}" if rest else f"{seconds // unit} {name}"


def _days(seconds: int) -> str:
    days = seconds // DAY
    return "1 day" if days == 1 else f"{days} days"
