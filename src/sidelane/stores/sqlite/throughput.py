"""Throughput of a queue: job starts per second, as an exponentially decaying average over about a minute."""

import math

from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

TIME_CONSTANT = 60.0
"""Seconds in which a count decays to 1/e."""


def count_starts(tx: Transaction, queue: str, started: int) -> None:
    """Count jobs of a queue that start now."""
    if started:
        starts, counted_at = tx.first(SQL.starts, queue) or (0.0, tx.now)
        tx.execute(SQL.set_starts, queue, _decayed(starts, counted_at, tx.now) + started, tx.now)


def current_rate(tx: Transaction, queue: str) -> float:
    """Return the starts per second of a queue."""
    starts, counted_at = tx.first(SQL.starts, queue) or (0.0, tx.now)
    return rate_of(starts, counted_at, tx.now)


def expected_rate(tx: Transaction, queue: str) -> float:
    """Return the expected starts per second of a queue, or 0 while the queue is paused."""
    starts, counted_at = tx.first(SQL.starts_unless_paused, queue) or (0.0, tx.now)
    return rate_of(starts, counted_at, tx.now)


def rate_of(starts: float, counted_at: float, now: float) -> float:
    """Return the starts per second for a stored count."""
    return _decayed(starts, counted_at, now) / TIME_CONSTANT


def _decayed(starts: float, counted_at: float, now: float) -> float:
    return starts * math.exp(-max(0.0, now - counted_at) / TIME_CONSTANT)
