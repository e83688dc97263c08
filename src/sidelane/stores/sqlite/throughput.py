"""How fast a queue moves: how many of its jobs start in a second, over the last minute or so."""

import math

import apsw

from sidelane.stores.sqlite.sql import first
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_COUNTED = _SQL["counted"]
_GOING = _SQL["going"]
_COUNT = _SQL["count"]

TIME_CONSTANT = 60.0
"""Seconds in which what was counted falls to the e-th part."""


def count(connection: apsw.Connection, queue: str, started: int, now: float) -> None:
    """Count jobs of a queue that start now."""
    if started:
        starts, since = first(connection, _COUNTED, queue) or (0.0, now)
        connection.execute(_COUNT, (queue, _decayed(starts, since, now) + started, now))


def rate(connection: apsw.Connection, queue: str, now: float) -> float:
    """Give the jobs of a queue that start in a second."""
    starts, since = first(connection, _COUNTED, queue) or (0.0, now)
    return rate_of(starts, since, now)


def expected_rate(connection: apsw.Connection, queue: str, now: float) -> float:
    """Give the jobs of a queue that may be expected to start in a second: none while it is paused."""
    starts, since = first(connection, _GOING, queue) or (0.0, now)
    return rate_of(starts, since, now)


def rate_of(starts: float, since: float, now: float) -> float:
    """Give the jobs that start in a second, of what was counted."""
    return _decayed(starts, since, now) / TIME_CONSTANT


def _decayed(starts: float, since: float, now: float) -> float:
    return starts * math.exp(-max(0.0, now - since) / TIME_CONSTANT)
