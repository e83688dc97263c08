"""Times and durations in readable form."""

from datetime import UTC, datetime

from sidelane.model.durations import DAY, HOUR, MINUTE, duration_of, starts_with_duration


def duration(seconds: float) -> str:
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
    return _days(whole)


def relative_time(then: float, now: float) -> str:
    """Format a time relative to now: "just now", "3 min ago", "in 2 h"."""
    passed = round(now - then)
    seconds = abs(passed)
    if seconds < 2:
        return "just now"
    if seconds >= DAY:
        text = _days(seconds)
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


def format_rate(per_second: float) -> str:
    """Format a rate: "120/s", "1.5/min", "12/h"; "" if below one per hour."""
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
