"""Schedules: when a call is submitted by itself, and what happens to firings that nobody was there for."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.model.ids import is_id
from sidelane.model.job import DAY, JobSpec

CatchUp = Literal["skip", "once", "all"]

LATE = 60.0
"""Seconds after which a firing that nobody was there for counts as missed, or the schedule's own interval if that is less."""

SHORTEST = 0.001
"""Seconds between two firings at least."""


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
        wrong = self._wrong()
        if wrong:
            raise ConfigurationError(f"Schedule {self.name!r} of task {self.spec.task!r}: {wrong}")

    def due(self, last: float, now: float, most: int = 1000) -> list[float]:
        """List the firings after `last` up to `now` that are to be made up for, at most so many, oldest first.

        Times are seconds since 1970.
        """
        if self.catch_up == "all":
            return list(islice(self._until(last, now), most))
        newest = self._newest(last, now)
        if newest is None or (self.catch_up == "skip" and now - newest > self._patience(newest)):
            return []
        return [newest]

    def next(self, after: float) -> float:
        """Give the first firing after a time."""
        return next(self._firings(after))

    def _wrong(self) -> str | None:
        for name in (self.name, *self.aliases):
            if not is_id(name):
                return f"{name!r} is no name: use 1 to 128 of the letters A-Z a-z 0-9 . _ ~ -"
        if (self.cron is None) == (self.every is None):
            return "give either cron=… or every=…."
        if self.every is not None and not (self.every >= SHORTEST and math.isfinite(self.every)):
            return f"every={self.every}: this is a number of seconds, at least {SHORTEST}."
        if self.catch_up not in ("skip", "once", "all"):
            return f"catch_up={self.catch_up!r}: this is 'skip', 'once' or 'all'."
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return f"there is no time zone {self.timezone!r}; names are like 'Asia/Seoul' or 'UTC'."
        if self.cron is not None:
            return _wrong_cron(self.cron)
        return None

    def _until(self, last: float, now: float) -> Iterator[float]:
        for at in self._firings(last):
            if at > now:
                return
            yield at

    def _newest(self, last: float, now: float) -> float | None:
        """Give the last firing up to now. Years of them may lie between, so it is looked for from ever farther back."""
        back = 1.0
        while True:
            since = max(last, now - back)
            found = deque(self._until(since, now), maxlen=1)
            if found or since == last:
                return found[0] if found else None
            back *= 8

    def _patience(self, firing: float) -> float:
        return min(LATE, self.next(firing) - firing)

    def _firings(self, after: float) -> Iterator[float]:
        """Give all firings after a time."""
        if self.every is not None:
            place = math.floor(after / self.every)
            while True:
                place += 1
                if place * self.every > after:
                    yield place * self.every
        from cronsim import CronSim

        local = datetime.fromtimestamp(after, UTC).astimezone(ZoneInfo(self.timezone))
        for at in CronSim(self.cron or "", local):
            if at.timestamp() > after:
                yield at.timestamp()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A step of a schedule from one firing to the next: it counts only while the last one is still `previous` (rules 13)."""

    name: str
    previous: float
    at: float
    next: float
    specs: tuple[JobSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Timetable:
    """All schedules of a store, with the store's own time (seconds since 1970) by which they fire."""

    now: float
    records: tuple[ScheduleRecord, ...] = ()


FURTHEST_AHEAD = DAY
"""Seconds by which a last firing may lie in the future (the clock stepped back); beyond, it was a mistake of the clock."""


def _wrong_cron(expression: str) -> str | None:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise MissingExtra("Schedules with cron=… need cronsim: install sidelane[cron].") from error
    try:
        next(CronSim(expression, datetime(2027, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"cron={expression!r} cannot be read: {error}."
    except StopIteration:
        return f"cron={expression!r} never comes."
    return None
