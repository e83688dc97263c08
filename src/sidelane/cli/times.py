"""Times and durations as people say them."""

from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400


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


def age(then: float, now: float) -> str:
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


def moment(at: float) -> str:
    """Write a time as the clock on the wall has it."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _two(seconds: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit} {name} {rest} {smaller_name}" if rest else f"{seconds // unit} {name}"


def _days(seconds: int) -> str:
    days = seconds // DAY
    return "1 day" if days == 1 else f"{days} days"
