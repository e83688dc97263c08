"""Parking: jobs whose limits are full leave their lines, and come back when there is room (rules 14).

A job that was woken stands in its line again; until it starts, room is kept for it. Where nobody claims it, the sweep wakes others.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import apsw

from sidelane.model.limit import Limit, LimitHit
from sidelane.stores.sqlite import fair_queue, rates, slots
from sidelane.stores.sqlite.bonds import applied_limits_of_job, load_applied_limits
from sidelane.stores.sqlite.records import READY, RUNNING, Row
from sidelane.stores.sqlite.sql import all_rows, first, one, rows_of_each, scalar
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_WOKEN_FROM = _SQL["woken_from"]
_PARK = _SQL["park"]
_AWAITED = _SQL["awaited"]
_FIRST = _SQL["first"]
_IN_ORDER = _SQL["in_order"]
_WOKEN = _SQL["woken"]
_WAKE = _SQL["wake"]
_PASSED_BY = _SQL["passed_by"]
_NEXT_WAKE = _SQL["next_wake"]
_RATES_DUE = _SQL["rates_due"]
_SET_WAKE = _SQL["set_wake"]

_MAX_UNBLOCKED = 200  # woken at once, or looked at for some that are not in paused queues


def block(connection: apsw.Connection, full: Iterable[tuple[int, LimitHit]], now: float, touched: ChangeSet) -> None:
    """Let jobs leave their lines, at no cost to their users, until the limits that they met have room."""
    left = set[fair_queue.UserQueue]()
    for seq, reached in full:
        bound = reached.limit.id
        (woken_from,) = one(connection, _WOKEN_FROM, seq)
        job_id, *line = one(connection, _PARK, seq, bound)
        left.add(fair_queue.UserQueue(*line))
        touched.jobs.add(job_id)
        if reached.after is not None:
            rates.await_room(connection, bound, now + reached.after)
        if woken_from is not None and woken_from != bound:
            touched.freed.add(woken_from)
    fair_queue.remove_all(connection, left)


def release_slots(connection: apsw.Connection, row: Row, touched: ChangeSet, *, ended: bool) -> None:
    """Give back what a job has of its limits now that it runs no more, or has `ended`; others are woken for it in the end.

    `row` is the job as it was, its own row in the table as it has become.
    """
    bonds = load_applied_limits(row.limits)
    free = bonds.running_slots if row.state == RUNNING else ()
    if ended:
        free = [*free, *bonds.kept_slots]
        slots.clear_replaceable(connection, row.seq, bonds)
    slots.release(connection, row.seq, free)
    touched.freed.update(free)
    if row.state == READY and row.parked is not None:  # the room that was kept for it
        touched.freed.add(row.parked)


def unblock(connection: apsw.Connection, freed: Iterable[str], now: float, touched: ChangeSet) -> None:
    """Wake as many of the jobs that are parked at these limits as there is room for, by priority, then age.

    Room is kept for those that were woken before and have not started.
    """
    for (bound,) in rows_of_each(connection, _AWAITED, [(bound,) for bound in freed]):
        _wake_at_slots(connection, bound, now, touched)


def unblock_beyond_reserved(connection: apsw.Connection, now: float, touched: ChangeSet, most: int) -> None:
    """Wake up to `most` jobs for the room that is kept for others, which may be in a paused queue or unknown to all workers.

    Each time there are as many again as were woken before, so that those that nobody claims are soon left behind.
    """
    for (bound,) in all_rows(connection, _PASSED_BY, most):
        limit = _limit_of_first(connection, bound)
        room = 0 if limit is None else _room(connection, limit, now)
        if room > 0 and most > 0:
            woken = int(scalar(connection, _WOKEN, bound, most))
            most -= _wake_first(connection, bound, min(max(room, woken), most), touched)


def unblock_due(connection: apsw.Connection, now: float, touched: ChangeSet, most: int) -> bool:
    """Wake up to `most` jobs that are parked at rates whose time has come; tell whether there may be more."""
    due = all_rows(connection, _RATES_DUE, now, most)
    more = len(due) == most
    for found in due:
        if most <= 0:
            return True
        most -= max(1, _wake_at_rate(connection, found, most, now, touched))
    return more


def next_unblock(connection: apsw.Connection, queue: str) -> float | None:
    """Tell when a rate may let the next of the jobs start that are parked in a queue, or when to ask again."""
    at: float | None = scalar(connection, _NEXT_WAKE, queue)
    return at


def _wake_at_slots(connection: apsw.Connection, bound: str, now: float, touched: ChangeSet) -> None:
    limit = _limit_of_first(connection, bound)
    if limit is None or limit.window is not None:  # a rate wakes in its own time
        return
    room = min(_room(connection, limit, now), _MAX_UNBLOCKED)
    if room > 0:
        room -= int(scalar(connection, _WOKEN, bound, room))
    if room > 0:
        _wake_first(connection, bound, room, touched)


def _wake_at_rate(
    connection: apsw.Connection, found: tuple[Any, ...], most: int, now: float, touched: ChangeSet
) -> int:
    bound, per_window, window, burst = found
    limit = Limit(name="", key="", most=per_window, window=window, burst=burst)
    tat = rates.within(limit, rates.arrival(connection, bound), now)
    room = min(rates.room(limit, tat, now), most)
    woken = _wake_first(connection, bound, room, touched) if room else 0
    next_one = None if woken < room else now + rates.wait(limit, tat + woken * rates.every(limit), now)
    connection.execute(_SET_WAKE, (next_one, bound))
    return woken


def _limit_of_first(connection: apsw.Connection, bound: str) -> Limit | None:
    """Give a limit as the first of the jobs declares it that are parked there; None where none is."""
    found = first(connection, _FIRST, bound)
    if found is None:
        return None
    return next(bond.limit for bond in applied_limits_of_job(connection, *found).started if bond.id == bound)


def _room(connection: apsw.Connection, limit: Limit, now: float) -> int:
    if limit.window is None:
        return limit.most - slots.held(connection, limit.id, limit.most)
    return rates.room(limit, rates.within(limit, rates.arrival(connection, limit.id), now), now)


def _wake_first(connection: apsw.Connection, bound: str, room: int, touched: ChangeSet) -> int:
    """Wake the first jobs that are parked at a limit, and tell how many there were. Those of paused queues come last."""
    found = all_rows(connection, _IN_ORDER, bound, room)
    if any(paused for *_, paused in found):
        found = sorted(all_rows(connection, _IN_ORDER, bound, max(room, _MAX_UNBLOCKED)), key=itemgetter(-1))[:room]
    for seq, job_id, *line, _ in found:
        connection.execute(_WAKE, (seq,))
        stands = fair_queue.UserQueue(*line)
        fair_queue.push(connection, stands, seq)
        touched.jobs.add(job_id)
        touched.queues.add(stands.queue)
    return len(found)
