"""Schedules: when a call is submitted by itself, and what happens to firings that nobody was there for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.model.ids import is_id, new_id
from sidelane.model.job import DAY, JobSpec

CatchUp = Literal["skip", "once", "all"]

MAX_LATENESS = 60.0
"""Seconds after which a firing that nobody was there for counts as missed."""

MIN_INTERVAL = 0.001
"""Seconds between two firings at least."""

MAX_LOOKAHEAD = DAY
"""Seconds by which a last firing may lie in the future (the clock stepped back); beyond, it was a mistake of the clock."""

DECIMALS = 3
"""Firings come at whole milliseconds, which every store gives back as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What is submitted, and when: by a cron expression in a time zone, or every so many seconds (counted from 1970).

    Of firings that were missed, "skip" makes up for none, "once" for the last, "all" for each. `spec` is a template: each firing
    gives it an id of its own. `aliases` are names it had before.
    """

    name: str
    spec: JobSpec
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    catch_up: CatchUp = "once"
    aliases: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `ConfigurationError` where this cannot be, `MissingExtra` where cron expressions cannot be read here."""
        named = f"Schedule {self.name!r} of task {self.spec.task!r}"
        wrong = self._wrong()
        if wrong is None and self.cron is not None:
            try:
                wrong = _wrong_cron(self.cron)
            except ImportError as error:
                raise MissingExtra(f"{named}: cron expressions need cronsim: install sidelane[cron].") from error
        if wrong is not None:
            raise ConfigurationError(f"{named}: {wrong}")

    def due(self, last: float, now: float, most: int = 1000) -> list[float]:
        """List the firings after `last` up to `now` that are to be made up for, at most so many, oldest first.

        Times are seconds since 1970.
        """
        if self.catch_up == "all":
            return list(islice(takewhile(lambda at: at <= now, self._firings(last)), most))
        newest = self._newest(last, now)
        if newest is None or (self.catch_up == "skip" and now - newest > MAX_LATENESS):
            return []
        return [newest]

    def next(self, after: float) -> float:
        """Give the first firing after a time."""
        return next(self._firings(after))

    def new_spec(self) -> JobSpec:
        """Make the spec of one more firing."""
        return replace(self.spec, id=new_id())

    def _wrong(self) -> str | None:
        for name in (self.name, *self.aliases):
            if not _is_name(name):
                return f"{name!r} is no name: use 1 to 128 of the letters A-Z a-z 0-9 . _ ~ -"
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
        """Give the last firing after `last` up to `now`. Years of them may lie between, so it is found by halving."""
        newest, low, high = None, last, now  # nothing fires after `high` and up to now
        while (at := self.next(low)) <= high:
            newest = low = at
            middle = (low + high) / 2
            at = self.next(middle)
            if at <= high:
                newest = low = at
            else:
                high = middle
        return newest

    def _firings(self, after: float) -> Iterator[float]:
        """Give all firings after a time, each once."""
        for at in self._times(after):
            if at > after:
                yield at
                after = at

    def _times(self, after: float) -> Iterator[float]:
        """Give the times of firings from about this time on: some may come before it, or twice in a row."""
        if self.every is not None:
            place = math.floor(after / self.every)
            while True:
                yield round(float(place * self.every), DECIMALS)
                place += 1
        else:
            yield from _cron_times(self.cron or "", _zone(self.timezone), after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord:
    """One schedule as the store keeps it. `last` is its last firing (or since when it counts), seconds since 1970.

    `next` is its next one as whoever fired it last has worked it out; None while it is disabled.
    """

    schedule: Schedule
    enabled: bool
    last: float
    next: float | None = None
    job: str | None = None  # what its last firing submitted

    def step(self, now: float, most: int) -> "ScheduleTick | None":
        """Work out the step that is to be taken now, of at most so many jobs; None when its time has not come."""
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
        coming = schedule.next(max(self.last, now))
        if self.next is not None and round(self.next - coming, DECIMALS) == 0:
            return None
        return ScheduleTick(name=schedule.name, previous=self.last, at=self.last, next=coming)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTick:
    """A step of a schedule from one firing to the next: it counts only while the last one is still `previous` (rules 13)."""

    name: str
    previous: float
    at: float
    next: float
    specs: tuple[JobSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleList:
    """All schedules of a store, with the store's own time (seconds since 1970) by which they fire."""

    now: float
    records: tuple[ScheduleRecord, ...] = ()


def _is_name(name: object) -> bool:
    return isinstance(name, str) and is_id(name)


def _is_interval(every: object) -> bool:
    return isinstance(every, int | float) and every >= MIN_INTERVAL and math.isfinite(every)


def _wrong_cron(expression: object) -> str | None:
    from cronsim import CronSim, CronSimError

    if not isinstance(expression, str):
        return f"cron={expression!r}: this is a text such as '0 6 * * *'."
    try:
        next(CronSim(expression, datetime(2027, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"cron={expression!r} cannot be read: {error}."
    except StopIteration:
        return f"cron={expression!r} never comes."
    return None


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # the one that every system has


def _cron_times(expression: str, zone: tzinfo, after: float) -> Iterator[float]:
    """Give the times of a cron expression from about a time on.

    One that names a time of day follows the wall clock, and comes once a day when clocks change: what falls into the gap of
    spring comes at its end, what autumn has twice comes the first time. Others, "*/15 * * * *" say, follow the time that passes.
    """
    from cronsim import CronSim

    local = datetime.fromtimestamp(after, zone)
    if _names_a_time_of_day(expression):
        for wall in CronSim(expression, local.replace(tzinfo=None)):
            yield _on_the_clock(wall, zone).timestamp()
    else:
        for at in CronSim(expression, local):
            yield at.timestamp()


def _names_a_time_of_day(expression: str) -> bool:
    minute, hour = expression.split()[-5:-3]
    return not minute.startswith("*") and not hour.startswith("*")


def _on_the_clock(wall: datetime, zone: tzinfo) -> datetime:
    """Find when clocks of a zone first show this, or the end of the gap that it falls into."""
    at = wall.replace(tzinfo=zone, fold=0)
    while at.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != at.replace(tzinfo=None):
        at = at.replace(second=0) + timedelta(minutes=1)
    return at
