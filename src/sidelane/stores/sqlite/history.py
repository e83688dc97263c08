"""History: counts of what happened to jobs, by series and minute.

A step of a verb counts with `count`, and the end of the verb writes each changed cell once. Only the cell of the present minute is
open. Sweeps roll the others up: they add them to the cells of a minute, ten minutes and an hour and to the totals, and delete them.
So each is rolled up exactly once, even if the clock goes back.
"""

import json
from collections.abc import Iterable
from enum import IntEnum

from sidelane.model.history import (
    HOUR,
    MAX_SERIES,
    MINUTE,
    OTHER,
    STEPS,
    TOP_USERS,
    Count,
    Counts,
    Series,
    add,
    add_duration,
    merge,
    milliseconds,
)
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.worker import QueueStats
from sidelane.stores.sqlite.rows import Row
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

TOTALS = 0
"""The step of totals, whose cells begin at 0."""

SAMPLE_INTERVAL = 10.0
"""Seconds between two samples of the depth of queues."""

_MAX_ROLLED = 500  # cells that one sweep rolls up
_MAX_USERS = 2000  # by amount in the present hour; a sweep then keeps the top ones only
_KEPT_USERS = 500
_OTHER = Series("", OTHER)


class Amount(IntEnum):
    """What is summed up for each user and hour. Run time is in milliseconds, and a cost in millionths of the currency's unit."""

    SUBMITTED = 0
    REFUSED = 1
    RUN_TIME = 2
    TOKENS = 3
    COST = 4


def series_id(tx: Transaction, queue: str, task: str, release: str = "") -> int:
    """Return the id of a series, or that of `OTHER` if there are too many. Ids are remembered until the next sweep."""
    series = Series(queue, task, release)
    if series not in tx.series_ids:
        tx.series_ids[series] = _series_id(tx, series)
    return tx.series_ids[series]


def _series_id(tx: Transaction, series: Series) -> int:
    found = _find_series(tx, series)
    oldest = tx.now - STEPS[MINUTE]
    if found is not None and (found[1] >= oldest or series == _OTHER):
        return found[0]
    if series != _OTHER and tx.scalar(SQL.count_series, oldest) >= MAX_SERIES:
        return _series_id(tx, _OTHER)
    if found is not None:
        tx.execute(SQL.set_seen, found[0], tx.now)
        return found[0]
    return int(tx.scalar(SQL.insert_series, series.queue, series.task, series.release, tx.now))


def _find_series(tx: Transaction, series: Series) -> tuple[int, float] | None:
    """Return the id of a series, and when it was counted last, or None if it is new."""
    return tx.first(SQL.series, series.queue, series.task, series.release)


def count(tx: Transaction, series: int, name: Count, amount: int = 1) -> None:
    """Add to a field of the present cell of a series."""
    add(counts_of(tx, series), name, amount)


def counts_of(tx: Transaction, series: int) -> dict[int, int]:
    """Return what this verb has counted for a series so far, to add to it."""
    counts = tx.counts.get(series)
    if counts is None:
        counts = tx.counts[series] = {}
    return counts


def count_attempt(tx: Transaction, row: Row) -> None:
    """Count an attempt that ends now. `row` is the job before that step."""
    counts = counts_of(tx, row.series)
    started = tx.now if row.started is None else row.started
    add_duration(counts, Count.RUN, tx.now - started)
    if events := row.ordinal - row.logged:
        add(counts, Count.EVENTS, events)
    if row.first_event is not None:
        add_duration(counts, Count.FIRST_EVENT, row.first_event - started)
        add(counts, Count.STREAM_MS, milliseconds(tx.now - row.first_event))
    count_user(tx, row.queue, row.user, Amount.RUN_TIME, milliseconds(tx.now - started))


def count_user(tx: Transaction, queue: str, user: str, amount: Amount, value: int = 1) -> None:
    """Add to an amount of the user of a job in the present hour. A job without a user has the user ''."""
    if user and value and not queue.startswith(INTERNAL_PREFIX):
        key = (amount, user)
        tx.user_amounts[key] = tx.user_amounts.get(key, 0) + value


def write(tx: Transaction) -> None:
    """Write what a verb has counted."""
    if tx.counts:
        at = start_of_cell(tx.now, MINUTE)
        for series, counts in tx.counts.items():
            text = tx.scalar(SQL.open_cell, at, series)
            tx.execute(SQL.set_open_cell, at, series, _joined(text, counts))
        tx.counts.clear()
    if tx.user_amounts:
        hour = start_of_cell(tx.now, HOUR)
        tx.execute_many(
            SQL.add_user, [(hour, amount, user, total) for (amount, user), total in tx.user_amounts.items()]
        )
        tx.user_amounts.clear()


def roll_up(tx: Transaction) -> bool:
    """Roll up cells of past minutes, and remove what is too old. Return whether there are more."""
    closed = tx.all(SQL.closed_cells, start_of_cell(tx.now, MINUTE), _MAX_ROLLED)
    sums: dict[tuple[int, int, int], dict[int, int]] = {}
    for at, of_cell, text, is_removed in closed:
        series, counts = _series_id(tx, _OTHER) if is_removed else of_cell, load_counts(text)
        merge(sums.setdefault((TOTALS, 0, series), {}), counts)
        for step in STEPS:
            merge(sums.setdefault((step, start_of_cell(at, step), series), {}), counts)
        tx.execute(SQL.delete_open_cell, at, of_cell)
    for key, counts in sums.items():
        tx.execute(SQL.set_cell, *key, _joined(tx.scalar(SQL.cell, *key), counts))
    tx.execute_many(SQL.set_seen, [(series, at) for at, series, _, _ in closed])
    if closed:
        _prune(tx)
    return len(closed) == _MAX_ROLLED


def is_sample_due(tx: Transaction) -> bool:
    """Return whether the depth of queues is to be sampled now, and remember that it is."""
    sampled = tx.scalar(SQL.mark, "history_sampled")
    if sampled is not None and 0 <= tx.now - sampled < SAMPLE_INTERVAL:
        return False
    tx.execute(SQL.set_mark, "history_sampled", tx.now)
    return True


def sample(tx: Transaction, queues: Iterable[QueueStats]) -> None:
    """Count the depth of queues, of which a cell keeps the maximum."""
    for queue in queues:
        depth = {
            Count.MAX_READY: queue.ready,
            Count.MAX_DELAYED: queue.delayed,
            Count.MAX_WAITING_FOR_LIMIT: queue.waiting_for_limit,
            Count.MAX_RUNNING: queue.running,
            Count.MAX_HEAD_WAIT_MS: milliseconds(queue.head_wait or 0.0),
        }
        if any(depth.values()):
            merge(counts_of(tx, series_id(tx, queue.name, "")), {name: each for name, each in depth.items() if each})


def trim_users(tx: Transaction) -> None:
    """Keep the top users of past hours, and bound those of the present hour."""
    hour = start_of_cell(tx.now, HOUR)
    trimmed = min(int(tx.scalar(SQL.mark, "history_users_trimmed") or 0), hour)
    if trimmed < hour:
        for (at,) in tx.all(SQL.user_hours, trimmed, hour):
            for amount in Amount:
                tx.execute(SQL.keep_top_users, at, amount, TOP_USERS)
        tx.execute(SQL.set_mark, "history_users_trimmed", hour)
    for amount in Amount:
        if tx.first(SQL.has_many_users, hour, amount, _MAX_USERS):
            tx.execute(SQL.keep_top_users, hour, amount, _KEPT_USERS)


def _prune(tx: Transaction) -> None:
    """Remove cells, users and series that are too old.

    The totals of a series go to that of its task without a release, if there is one, or else to `OTHER`.
    """
    for step, kept in STEPS.items():
        tx.execute(SQL.prune_cells, step, start_of_cell(tx.now - kept, step))
    tx.execute(SQL.prune_users, start_of_cell(tx.now - STEPS[HOUR], HOUR))
    for series, queue, task, release in tx.all(SQL.unseen_series, tx.now - STEPS[HOUR] - HOUR):
        if Series(queue, task, release) == _OTHER:
            continue
        text = tx.scalar(SQL.cell, TOTALS, 0, series)
        if text is not None:
            heir = _find_series(tx, Series(queue, task)) if release else None
            key = (TOTALS, 0, _series_id(tx, _OTHER) if heir is None else heir[0])
            tx.execute(SQL.set_cell, *key, _joined(tx.scalar(SQL.cell, *key), load_counts(text)))
            tx.execute(SQL.delete_cell, TOTALS, 0, series)
        tx.execute(SQL.delete_series, series)


def start_of_cell(at: float, step: int) -> int:
    """Return when the cell that covers a time begins."""
    return int(at // step) * step


def load_counts(text: str) -> dict[int, int]:
    """Return the counts of a cell from its text, a JSON list of fields and amounts in turn."""
    return load_all_counts([text])[0]


def load_all_counts(texts: Iterable[str]) -> list[dict[int, int]]:
    """Return the counts of many cells. They are decoded together, because that is faster."""
    pairs = (iter(values) for values in json.loads(f"[{','.join(texts)}]"))
    return [dict(zip(each, each, strict=True)) for each in pairs]


def _joined(text: str | None, counts: Counts) -> str:
    """Return the text of a cell after `counts` were added."""
    sums = load_counts(text) if text else {}
    merge(sums, counts)
    return json.dumps([value for pair in sorted(sums.items()) for value in pair], separators=(",", ":"))
