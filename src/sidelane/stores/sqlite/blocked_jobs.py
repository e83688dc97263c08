"""Jobs that are blocked on a limit. Blocked jobs leave their user queues until the limit has capacity again (rule 14).

An unblocked job is ready again, and capacity is reserved for it until it starts. If no worker claims the job, the sweep unblocks
others.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from sidelane.model import gcra
from sidelane.model.history import Count, milliseconds
from sidelane.model.limit import Limit, LimitHit
from sidelane.model.transition import Change, dump_transition
from sidelane.stores.sqlite import fair_queue, history, limit_overrides, limits
from sidelane.stores.sqlite.limit_overrides import LimitsInForce
from sidelane.stores.sqlite.rows import READY, RUNNING, Row
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_MAX_UNBLOCKED = 200  # jobs unblocked together, or read to find some whose queues are not paused


def block(tx: Transaction, hits: Iterable[tuple[int, LimitHit]]) -> None:
    """Block jobs on the limits that they exceed. The shares of the jobs' users do not change."""
    user_queues = set[fair_queue.UserQueue]()
    for seq, hit in hits:
        limit_id = hit.limit.id
        (unblocked_from,) = tx.one(SQL.blocked_by, seq)
        job_id, *user_queue = tx.one(
            SQL.block, seq, limit_id, tx.now, dump_transition(Change.BLOCKED, tx.now, limit_id)
        )
        user_queues.add(fair_queue.UserQueue(*user_queue))
        tx.changes.jobs.add(job_id)
        if hit.after is not None:
            limits.schedule_unblock(tx, limit_id, tx.now + hit.after)
        if unblocked_from is not None and unblocked_from != limit_id:
            tx.changes.freed_limits.add(unblocked_from)
    fair_queue.remove_unready(tx, user_queues)


def release_slots(tx: Transaction, row: Row, *, finished: bool) -> None:
    """Release the slots of a job that stops running or has `finished`. Blocked jobs are unblocked after the call.

    `row` is the job before that step, which is already in the table.
    """
    applied = limits.load_applied_limits(row.limits)
    freed = applied.running_slots if row.state == RUNNING else ()
    if finished:
        freed = [*freed, *applied.unfinished_slots]
        limits.clear_replaceable(tx, row.seq, applied)
    limits.release(tx, row.seq, freed)
    tx.changes.freed_limits.update(freed)
    if row.state == READY and row.blocked_by is not None:  # the capacity that was reserved for it
        tx.changes.freed_limits.add(row.blocked_by)


def unblock(tx: Transaction, limit_ids: Iterable[str]) -> None:
    """Unblock as many jobs as these concurrency limits have capacity for, by priority, then age.

    Capacity is reserved for jobs that were unblocked before and have not started.
    """
    for (limit_id,) in tx.all_of_each(SQL.with_blocked_jobs, [(limit_id,) for limit_id in limit_ids]):
        _unblock_slots(tx, limit_id, _MAX_UNBLOCKED)


def unblock_beyond_reserved(tx: Transaction, maximum: int) -> None:
    """Unblock up to `maximum` jobs, although capacity is reserved for other jobs, which perhaps no worker ever claims.

    Each call doubles the number of unblocked jobs, so that jobs of paused queues or unknown tasks are soon skipped.
    """
    for (limit_id,) in tx.all(SQL.with_unblocked_and_blocked, maximum):
        limit = _limit_of_first(tx, limit_id)
        count = 0 if limit is None else limits.capacity(tx, limit)
        if count > 0 and maximum > 0:
            unblocked = int(tx.scalar(SQL.count_unblocked, limit_id, maximum))
            maximum -= _unblock_first(tx, limit_id, min(max(count, unblocked), maximum))


def unblock_due(tx: Transaction, maximum: int) -> bool:
    """Unblock up to `maximum` jobs of rates that are due. Return whether there may be more."""
    due = tx.all(SQL.due_rates, tx.now, maximum)
    more = len(due) == maximum
    for found in due:
        if maximum <= 0:
            return True
        maximum -= max(1, _unblock_at_rate(tx, found, maximum))
    return more


def unblock_changed(tx: Transaction, maximum: int) -> bool:
    """Unblock up to `maximum` jobs of limits whose numbers have changed. Return whether there may be more.

    Rates become due at once: call `unblock_due` afterwards.
    """
    while (found := limit_overrides.next_to_check(tx)) is not None:
        if maximum <= 0:
            return True
        limit_id, check = found
        tx.execute(SQL.hasten_unblock, tx.now, limit_id)
        unblocked = _unblock_slots(tx, limit_id, maximum)
        if unblocked < maximum:
            limit_overrides.set_checked(tx, limit_id, check)
        maximum -= max(1, unblocked)
    return False


def next_unblock(tx: Transaction, queue: str) -> float | None:
    """Return when a rate may unblock the next job of a queue, or when to check again."""
    at: float | None = tx.scalar(SQL.next_unblock, queue)
    return at


def _unblock_slots(tx: Transaction, limit_id: str, maximum: int) -> int:
    """Unblock up to `maximum` of the jobs that a concurrency limit has capacity for. Return their number."""
    limit = _limit_of_first(tx, limit_id)
    if limit is None or limit.window is not None:  # rates unblock jobs by time
        return 0
    count = limits.capacity(tx, limit)
    if count > 0:
        count -= int(tx.scalar(SQL.count_unblocked, limit_id, count))
    return _unblock_first(tx, limit_id, min(count, maximum)) if count > 0 else 0


def _unblock_at_rate(tx: Transaction, found: tuple[Any, ...], maximum: int) -> int:
    limit_id, per_window, window, burst = found
    limit = LimitsInForce(tx).of(limits.declared_rate(limit_id, per_window, window, burst))
    tat = gcra.clamp_tat(limit, limits.stored_tat(tx, limit_id), tx.now)
    count = min(gcra.available(limit, tat, tx.now), maximum)
    unblocked = _unblock_first(tx, limit_id, count) if count else 0
    next_tat = tat + unblocked * gcra.interval(limit)
    next_at = None if unblocked < count else tx.now + gcra.wait_time(limit, next_tat, tx.now)
    tx.execute(SQL.set_unblock, next_at, tat, limit_id)
    return unblocked


def _limit_of_first(tx: Transaction, limit_id: str) -> Limit | None:
    """Return a limit as declared by the first job that waits for it, or None if no job waits."""
    found = tx.first(SQL.first_blocked, limit_id)
    if found is None:
        return None
    return next(each.limit for each in limits.applied_limits_of_job(tx, *found).at_start if each.id == limit_id)


def _unblock_first(tx: Transaction, limit_id: str, count: int) -> int:
    """Unblock the first jobs that wait for a limit, those of paused queues last. Return their number."""
    found = tx.all(SQL.blocked, limit_id, count)
    if any(paused for *_, paused in found):
        found = sorted(tx.all(SQL.blocked, limit_id, max(count, _MAX_UNBLOCKED)), key=itemgetter(-1))[:count]
    line = dump_transition(Change.UNBLOCKED, tx.now)
    for seq, job_id, series, blocked_at, *key, _ in found:
        tx.execute(SQL.unblock, seq, tx.now, line)
        history.count(tx, series, Count.LIMIT_WAIT_MS, milliseconds(tx.now - blocked_at))
        user_queue = fair_queue.UserQueue(*key)
        fair_queue.push(tx, user_queue, seq)
        tx.changes.jobs.add(job_id)
        tx.changes.queues.add(user_queue.queue)
    return len(found)
