"""Limits of jobs: when they apply, their slots and rates, and their remaining capacity (rule 14).

In the database, the limits of a job are lines of text, one per limit. Many jobs share a limit, but few share all their limits.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from sidelane.model import gcra
from sidelane.model.limit import Limit, LimitHit
from sidelane.stores.serialization import dump_limit, load_limit
from sidelane.stores.sqlite.limit_overrides import LimitsInForce
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

HELD_WHILE_UNFINISHED: Final = 1
CHECKED_AT_START: Final = 2
REPLACES_OLDER: Final = 4

_CACHED_LIMITS = 8192  # limits that other jobs have too
_CACHED_JOBS = 2048  # jobs whose next step is near


class AppliedLimit(NamedTuple):
    """A limit with its id and when it applies, computed once."""

    id: str
    limit: Limit
    flags: int


class AppliedLimits(NamedTuple):
    """The limits of one job, grouped by when they apply. Two limits with the same id have one slot."""

    limits: tuple[Limit, ...] = ()
    text: str | None = None  # all of them, for the database
    at_submit: Sequence[AppliedLimit] = ()  # checked when the job is submitted
    while_unfinished: Sequence[AppliedLimit] = ()  # whose slots the job has from submit to end
    unfinished_slots: Sequence[str] = ()  # their ids
    at_start: Sequence[AppliedLimit] = ()  # checked at each start
    running_slots: Sequence[str] = ()  # ids of those whose slots the job has while it runs
    replacing: Sequence[AppliedLimit] = ()  # for which the job cancels older jobs, and newer jobs may cancel it
    flags: int = 0  # of all limits, for `jobs.limit_flags`


NO_LIMITS: Final = AppliedLimits()


def applied_limits(limits: tuple[Limit, ...]) -> AppliedLimits:
    """Group the limits of a job by when they apply."""
    return _group("\n".join(map(dump_limit, limits))) if limits else NO_LIMITS


def load_applied_limits(text: str | None) -> AppliedLimits:
    """Group the limits of a job from their text in the database."""
    return _group(text) if text else NO_LIMITS


def applied_limits_of_job(tx: Transaction, seq: int) -> AppliedLimits:
    """Read the limits of a job and group them."""
    return load_applied_limits(tx.scalar(SQL.limits_of_job, seq))


@lru_cache(_CACHED_LIMITS)
def _load(text: str) -> AppliedLimit:
    limit = load_limit(text)
    flags = CHECKED_AT_START if limit.at_start else HELD_WHILE_UNFINISHED if limit.window is None else 0
    if limit.on_limit == "replace":
        flags |= REPLACES_OLDER
    return AppliedLimit(limit.id, limit, flags)


@lru_cache(_CACHED_JOBS)
def _group(text: str) -> AppliedLimits:
    applied = [_load(line) for line in text.split("\n")]
    while_unfinished = [each for each in applied if each.flags & HELD_WHILE_UNFINISHED]
    unfinished_slots = _slot_ids(while_unfinished)
    at_start = [each for each in applied if each.flags & CHECKED_AT_START and each.id not in unfinished_slots]
    replacing = [each for each in applied if each.flags & REPLACES_OLDER]
    return AppliedLimits(
        limits=tuple([each.limit for each in applied]),
        text=text,
        at_submit=[each for each in applied if not each.flags & CHECKED_AT_START],
        while_unfinished=while_unfinished,
        unfinished_slots=unfinished_slots,
        at_start=at_start,
        running_slots=_slot_ids(at_start),
        replacing=replacing,
        flags=(
            HELD_WHILE_UNFINISHED * bool(while_unfinished)
            + CHECKED_AT_START * bool(at_start)
            + REPLACES_OLDER * bool(replacing)
        ),
    )


def _slot_ids(applied: Sequence[AppliedLimit]) -> Sequence[str]:
    return list(dict.fromkeys([each.id for each in applied if each.limit.window is None])) if applied else ()


def acquire_unfinished(tx: Transaction, jobs: Iterable[tuple[int, AppliedLimits]]) -> None:
    """Insert the slots that jobs have until their end, and register the jobs that newer jobs may replace."""
    slots, replaceable = [], []
    for seq, applied in jobs:
        slots += [(limit_id, seq, 0) for limit_id in applied.unfinished_slots]
        replaceable += [(each.id, seq) for each in applied.replacing]
    tx.execute_many(SQL.acquire, slots)
    if replaceable:
        tx.execute_many(SQL.set_replaceable, replaceable)


def acquire_running(tx: Transaction, jobs: Iterable[tuple[int, AppliedLimits]]) -> None:
    """Insert the slots that jobs have while they run."""
    tx.execute_many(SQL.acquire, [(limit_id, seq, 1) for seq, applied in jobs for limit_id in applied.running_slots])


def release(tx: Transaction, seq: int, limit_ids: Iterable[str]) -> None:
    """Delete a job's slots of these limits."""
    tx.execute_many(SQL.release, [(limit_id, seq) for limit_id in limit_ids])


def clear_replaceable(tx: Transaction, seq: int, applied: AppliedLimits) -> None:
    """Mark a job that has finished, or was asked to stop, as not replaceable."""
    if applied.replacing:
        tx.execute_many(SQL.clear_replaceable, [(each.id, seq) for each in applied.replacing])


def count_slots(tx: Transaction, limit_id: str, maximum: int) -> int:
    """Count the slots of a limit that are taken, up to `maximum`."""
    return int(tx.scalar(SQL.count_slots, limit_id, maximum))


def declared_rate(limit_id: str, per_window: int, window: float, burst: int) -> Limit:
    """Return a rate limit as its row in the database declares it."""
    name, _, key = limit_id.partition("/")
    return Limit(name=name, key=key, max=per_window, window=window, burst=burst)


def stored_tat(tx: Transaction, limit_id: str) -> float | None:
    """Return the theoretical arrival time of a rate limit as written, or None if the whole burst is available."""
    tat: float | None = tx.scalar(SQL.tat, limit_id)
    return tat


def capacity(tx: Transaction, limit: Limit) -> int:
    """Return how many jobs a limit allows now, by the numbers in force."""
    limit = LimitsInForce(tx).of(limit)
    if limit.window is None:
        return limit.max - count_slots(tx, limit.id, limit.max)
    return gcra.available(limit, gcra.clamp_tat(limit, stored_tat(tx, limit.id), tx.now), tx.now)


def schedule_unblock(tx: Transaction, limit_id: str, at: float) -> None:
    """Set when to unblock jobs of a rate limit, unless it is set."""
    tx.execute(SQL.schedule_unblock, at, limit_id)


def clamp_rates(tx: Transaction, limit: int) -> bool:
    """Shorten up to `limit` rates that may last too long since the clock went back. Return whether there may be more."""
    return tx.execute(SQL.clamp_rates, tx.now, limit) == limit


def prune_rates(tx: Transaction, limit: int) -> bool:
    """Delete up to `limit` rates whose whole burst is available. Return whether there may be more."""
    return tx.execute(SQL.prune_rates, tx.now, limit) == limit


class LimitCapacity:
    """The remaining capacity of limits within one transaction. The capacity is read once, then counted down until `flush`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.in_force = LimitsInForce(tx)
        self._slots: dict[tuple[str, int], int] = {}
        self._taken: Counter[str] = Counter()
        self._tats: dict[str, float] = {}
        self._changed: dict[str, Limit] = {}

    def exceeded(self, applied: Iterable[AppliedLimit]) -> list[LimitHit]:
        """Return the limits that allow no more jobs, with the time until they allow one, if that time is known."""
        return [hit for each in applied if (hit := self._check(each)) is not None]

    def take(self, applied: Sequence[AppliedLimit]) -> None:
        """Count one more job with these limits. The caller writes its slots before `flush`."""
        for limit_id in {each.id for each in applied if each.limit.window is None}:
            self._taken[limit_id] += 1
        for each in applied:
            if each.limit.window is not None:
                self._tats[each.id] = self._tat(each) + gcra.interval(self.in_force.of(each.limit))
                self._changed[each.id] = each.limit

    def flush(self) -> None:
        """Write the rates that were used, or that were too late since the clock went back, and read slots again."""
        self._slots.clear()
        self._taken.clear()
        if self._changed:
            self._tx.execute_many(SQL.save_rate, [self._rate_values(*each) for each in self._changed.items()])
            self._changed.clear()

    def _rate_values(self, limit_id: str, limit: Limit) -> tuple[object, ...]:
        tat, in_force = self._tats[limit_id], self.in_force.of(limit)
        interval = gcra.interval(in_force)
        next_allowed = tat - (in_force.burst - 1) * interval
        return limit_id, limit.max, limit.window, limit.burst, tat, in_force.burst * interval, next_allowed

    def _check(self, applied: AppliedLimit) -> LimitHit | None:
        limit = self.in_force.of(applied.limit)
        if limit.window is not None:
            after = gcra.wait_time(limit, self._tat(applied), self._tx.now)
            return LimitHit(limit, after) if after else None
        key = (applied.id, limit.max)
        if key not in self._slots:
            self._slots[key] = count_slots(self._tx, *key)
        return LimitHit(limit) if self._slots[key] + self._taken[applied.id] >= limit.max else None

    def _tat(self, applied: AppliedLimit) -> float:
        if applied.id not in self._tats:
            stored = stored_tat(self._tx, applied.id)
            self._tats[applied.id] = gcra.clamp_tat(self.in_force.of(applied.limit), stored, self._tx.now)
            if stored is not None and stored > self._tats[applied.id]:
                self._changed[applied.id] = applied.limit
        return self._tats[applied.id]
