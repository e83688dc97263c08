"""Limits by time: each keeps one moment, when all of its burst is free again (GCRA, rules 14)."""

import math
from collections.abc import Iterable

import apsw

from sidelane.model.limit import Limit
from sidelane.stores.sqlite.sql import scalar
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_ARRIVAL = _SQL["arrival"]
_KEEP = _SQL["keep"]
_AWAIT = _SQL["await"]
_CLAMP = _SQL["clamp"]
_FORGET = _SQL["forget"]

_NEXT_TO_NOTHING = 1e-6  # seconds: times since 1970 are no more exact than that


def arrival(connection: apsw.Connection, bound: str) -> float | None:
    """Give the moment when all of a rate's burst is free again, as it was written; None where nothing was."""
    kept: float | None = scalar(connection, _ARRIVAL, bound)
    return kept


def within(limit: Limit, kept: float | None, now: float) -> float:
    """Give that moment as it counts now: not in the past, nor later than a whole burst asks for, as the clock may step back."""
    return now if kept is None else min(max(kept, now), now + limit.burst * every(limit))


def every(limit: Limit) -> float:
    """Give the seconds of a rate until one more may come."""
    return limit.every or 0.0


def wait(limit: Limit, tat: float, now: float) -> float:
    """Tell in how many seconds one more may come; 0: now."""
    seconds = tat - now - (limit.burst - 1) * every(limit)
    return seconds if seconds > _NEXT_TO_NOTHING else 0.0


def room(limit: Limit, tat: float, now: float) -> int:
    """Count how many may come now."""
    return max(0, math.floor(limit.burst - (tat - now - _NEXT_TO_NOTHING) / every(limit)))


def keep(connection: apsw.Connection, debited: Iterable[tuple[Limit, float]]) -> None:
    """Write these rates down with their new moments; jobs that are parked there are woken no sooner than one may come."""
    connection.executemany(
        _KEEP,
        [
            (limit.id, limit.most, limit.window, limit.burst, tat, tat - (limit.burst - 1) * every(limit))
            for limit, tat in debited
        ],
    )


def await_room(connection: apsw.Connection, bound: str, at: float) -> None:
    """Note when to wake what is parked at a rate, unless that is known."""
    connection.execute(_AWAIT, (at, bound))


def clamp(connection: apsw.Connection, now: float, limit: int) -> bool:
    """Shorten what the clock has made longer by stepping back, at most so many; tell whether there may be more."""
    connection.execute(_CLAMP, (now, limit))
    return connection.changes() == limit


def forget(connection: apsw.Connection, now: float, limit: int) -> bool:
    """Remove up to `limit` rates whose burst is all free again; tell whether there may be more."""
    connection.execute(_FORGET, (now, limit))
    return connection.changes() == limit
