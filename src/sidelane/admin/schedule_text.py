"""Times of a schedule in words, for the shapes of cron expressions that people usually write."""

import re
from typing import Final

from sidelane.model.durations import MINUTE, duration_text
from sidelane.model.schedule import Schedule
from sidelane.model.sentence import Sentence, sentence

DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
"""Days by their numbers in cron expressions."""

WEEKDAYS: Final = frozenset({"1-5", "mon-fri"})

_STEP = re.compile(r"\*/([2-9]|[1-9]\d)")
_NUMBER = re.compile(r"\d{1,2}")
_HOURS = re.compile(r"\d{1,2}(,\d{1,2})*")


def schedule_text(schedule: Schedule) -> Sentence | None:
    """Return when a schedule runs, e.g. "every day at 06:00", or None for a cron expression of an unusual shape."""
    if schedule.every is not None:
        return sentence("every {time}", time=_interval(schedule.every))
    parts = (schedule.cron or "").lower().split()
    if len(parts) != 5:
        return None
    minute, hour, day, month, weekday = parts
    if (day, month, weekday) == ("*", "*", "*") and "*" in minute + hour:
        return _within_days(minute, hour)
    if month != "*" or not (_NUMBER.fullmatch(minute) and _HOURS.fullmatch(hour)):
        return None
    times = ", ".join(f"{int(each):02}:{int(minute):02}" for each in hour.split(","))
    return _on_days(day, weekday, times)


def _within_days(minute: str, hour: str) -> Sentence | None:
    """Return how often something runs that runs at all hours, or at every few hours."""
    if hour == "*" and minute == "*":
        return sentence("every minute")
    if hour == "*" and (step := _STEP.fullmatch(minute)):
        return sentence("every {count} minutes", count=step[1])
    if hour == "*" and _NUMBER.fullmatch(minute):
        return sentence("every hour at minute {minute}", minute=int(minute))
    if (step := _STEP.fullmatch(hour)) and _NUMBER.fullmatch(minute):
        return sentence("every {count} hours at minute {minute}", count=step[1], minute=int(minute))
    return None


def _on_days(day: str, weekday: str, times: str) -> Sentence | None:
    """Return on which days something runs at these times."""
    if weekday == "*" and day == "*":
        return sentence("every day at {times}", times=times)
    if weekday == "*" and _NUMBER.fullmatch(day):
        return sentence("on day {day} of every month at {times}", day=int(day), times=times)
    if day == "*" and weekday in WEEKDAYS:
        return sentence("from Monday to Friday at {times}", times=times)
    name = _day_name(weekday)
    return None if day != "*" or name is None else sentence("every {day} at {times}", day=sentence(name), times=times)


def _interval(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < MINUTE else duration_text(seconds)


def _day_name(weekday: str) -> str | None:
    if weekday.isdecimal() and int(weekday) < len(DAYS):
        return DAYS[int(weekday)]
    return next((name for name in DAYS if name[:3].lower() == weekday), None)
