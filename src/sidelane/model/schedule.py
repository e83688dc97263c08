"""Schedules: when a call is submitted periodically, and what happens to missed runs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidelane.model.checks import is_duration
from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.model.ids import is_id, new_id
from sidelane.model.job import DAY, JobSpec

CatchUp = Literal["skip", "once", "all"]

MAX_LATENESS = 60.0
"""Seconds after its time from which a run counts as missed."""

MIN_INTERVAL = 0.001
"""Minimum seconds between two runs."""

MAX_LOOKAHEAD = DAY
"""Seconds by which the last run may be in the future because the clock stepped back. A later run is treated as a clock error."""

DECIMALS = 3
"""Runs are at whole milliseconds, which every store returns unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A job to submit, and its times: a cron expression in a time zone, or an interval in seconds (counted from 1970).

    "skip" submits no missed run, "once" submits the last, and "all" submits each. `spec` is a template: each run gets a new id.
    `aliases` are former names.
    """

    name: str
    spec: JobSpec
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    catch_up: CatchUp = "once"
    aliases: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `ConfigurationError` if the schedule is invalid, and `MissingExtra` if it needs cronsim, which is not installed."""
        named = f"Schedule {self.name!r} of task {self.spec.task!r}"
        reason = self._invalid_reason()
        if reason is None and self.cron is not None:
            try:
                reason = _cron_error(self.cron)
            except ImportError as error:
                raise MissingExtra(f"{named}: cron expressions need cronsim: install sidelane[cron].") from error
        if reason is not None:
            raise ConfigurationError(f"{named}: {reason}")

    def due(self, last: float, now: float, most: int = 1000) -> list[float]:
        """Return the times of the runs to submit, after `last` and up to `now`, oldest first, at most `most`.

        Times are seconds since 1970.
        """
        if self.catch_up == "all":
            return list(islice(takewhile(lambda at: at <= now, self._runs(last)), most))
        newest = self._newest(last, now)
        if newest is None or (self.catch_up == "skip" and now - newest > MAX_LATENESS):
            return []
        return [newest]

    def next(self, after: float) -> float:
        """Return the time of the first run after a time."""
        return next(self._runs(after))

    def new_spec(self) -> JobSpec:
        """Return the spec of one more run."""
        return replace(self.spec, id=new_id())

    def _invalid_reason(self) -> str | None:
        for name in (self.name, *self.aliases):
            if not _is_name(name):
                return f"{name!r} is not a valid name: use 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -"
        if (self.cron is None) == (self.every is None):
            return "give either cron=… or every=…."
        if self.every is not None and not _is_interval(self.every):
            return f"every={self.every!r}: this is a number of seconds, at least {MIN_INTERVAL}."
        if self.catch_up not in ("skip", "once", "all"):
            return f"catch_up={self.catch_up!r}: this is 'skip', 'once' or 'all'."
        try:
            _zone(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            return (
                f"timezone={self.timezone!r} is not known here: names are like 'Asia/Seoul' or 'UTC', "
                "and a system without time zones needs the package tzdata."
            )
        return None

    def _newest(self, last: float, now: float) -> float | None:
        """Return the time of the latest run after `last`, up to `now`.

        Use bisection, because there may be years of runs between them.
        """
        newest, low, high = None, last, now  # there is no run after `high` and up to now
        while (at := self.next(low)) <= high:
            newest = low = at
            middle = (low + high) / 2
            at = self.next(middle)
            if at <= high:
                newest = low = at
            else:
                high = middle
        return newest

    def _runs(self, after: float) -> Iterator[float]:
        """Yield the times of all runs after a time, each once."""
        for at in self._times(after):
            if at > after:
                yield at
                after = at

    def _times(self, after: float) -> Iterator[float]:
        """Yield times of runs from about `after` on. Some times may be before `after`, or repeated."""
        if self.every is not None:
            index = math.floor(after / self.every)
            while True:
                yield round(float(index * self.every), DECIMALS)
                index += 1
        else:
            yield from _cron_times(self.cron or "", _zone(self.timezone), after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord:
    """One schedule as the store keeps it. `last` is the time of its last run, or of its creation (seconds since 1970).

    `next` is the time of the next run, as computed at the last run, and None while the schedule is disabled.
    """

    schedule: Schedule
    enabled: bool
    last: float
    next: float | None = None
    job: str | None = None  # the job of its last run

    def step(self, now: float, most: int) -> "ScheduleTick | None":
        """Return the step to take now, with at most `most` jobs, or None if no run is due."""
        if not self.enabled:
            return None
        schedule = self.schedule
        if self.last > now + MAX_LOOKAHEAD:
            return ScheduleTick(name=schedule.name, previous=self.last, at=now, next=schedule.next(now))
        due = schedule.due(self.last, now, most)
        if due:
            specs = tuple(schedule.new_spec() for _ in due)
            return ScheduleTick(
                name=schedule.name, previous=self.last, at=due[-1], next=schedule.next(due[-1]), specs=specs
            )
        upcoming = schedule.next(max(self.last, now))
        if self.next is not None and round(self.next - upcoming, DECIMALS) == 0:
            return None
        return ScheduleTick(name=schedule.name, previous=self.last, at=self.last, next=upcoming)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTick:
    """A step of a schedule from one run to the next. A tick counts only while the last run is still `previous` (rule 13)."""

    name: str
    previous: float
    at: float
    next: float
    specs: tuple[JobSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleList:
    """All schedules of a store, and the store's own time (seconds since 1970), by which they run."""

    now: float
    records: tuple[ScheduleRecord, ...] = ()


def _is_name(name: object) -> bool:
    return isinstance(name, str) and is_id(name)


def _is_interval(every: Any) -> bool:
    return is_duration(every) and bool(every >= MIN_INTERVAL)


def _cron_error(expression: object) -> str | None:
    from cronsim import CronSim, CronSimError

    if not isinstance(expression, str):
        return f"cron={expression!r}: this is a string such as '0 6 * * *'."
    try:
        next(CronSim(expression, datetime(2027, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"cron={expression!r} cannot be read: {error}."
    except StopIteration:
        return f"cron={expression!r} never matches a time."
    return None


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # which needs no time zone data


def _cron_times(expression: str, zone: tzinfo, after: float) -> Iterator[float]:
    """Yield the times of a cron expression from about a time on.

    The times of an expression with a time of day follow local time. Such an expression matches once a day, also when clocks change.
    A time that is skipped in spring moves to the end of the gap. If a time is repeated in autumn, only the first one counts. Other
    expressions, e.g. "*/15 * * * *", follow elapsed time.
    """
    from cronsim import CronSim

    local = datetime.fromtimestamp(after, zone)
    if _has_time_of_day(expression):
        for wall in CronSim(expression, local.replace(tzinfo=None)):
            yield _first_on_clock(wall, zone).timestamp()
    else:
        for at in CronSim(expression, local):
            yield at.timestamp()


def _has_time_of_day(expression: str) -> bool:
    minute, hour = expression.split()[-5:-3]
    return not minute.startswith("*") and not hour.startswith("*")


def _first_on_clock(wall: datetime, zone: tzinfo) -> datetime:
    """Return the first time at which clocks in a zone show `wall`, or the end of the gap that contains it."""
    at = wall.replace(tzinfo=zone, fold=0)
    while at.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != at.replace(tzinfo=None):
        at = at.replace(second=0) + timedelta(minutes=1)
    return at
