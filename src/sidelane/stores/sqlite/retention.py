"""Forgetting, in small pieces, what was kept long enough (rules 11)."""

from collections.abc import Sequence
from typing import NamedTuple

import apsw

from sidelane.model.job import JobSpec
from sidelane.stores.sqlite import batches, enqueue, follow_up_jobs, rates
from sidelane.stores.sqlite.sql import all_rows, first
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_REMOVABLE = _SQL["removable"]
_KEEP_SEQUENCE = _SQL["keep_sequence"]
_INSERT_TOMBSTONE = _SQL["bury"]
_FORGET_EVENTS = _SQL["forget_events"]
_LEAVE_EVENTS = _SQL["leave_events"]
_SCRAP = _SQL["scrap"]
_FORGET_SCRAPS = _SQL["forget_scraps"]
_SCRAP_IS_GONE = _SQL["scrap_is_gone"]
_FORGET_GONE = _SQL["forget_gone"]
_FORGET_JOB = [_SQL[each] for each in ("forget_failures", "forget_end", "forget_spec", "forget_job")]

_EVENTS = 5000  # removed in one sweep: some ten milliseconds


class PruneResult(NamedTuple):
    """How many jobs were removed, and whether there is more to remove."""

    jobs: int
    more: bool


class Removable(NamedTuple):
    """What must be known of a job to remove it."""

    seq: int
    id: str
    last: int
    follows: int


def prune(connection: apsw.Connection, now: float, touched: ChangeSet, limit: int) -> PruneResult:
    """Remove up to `limit` finished jobs whose retention has passed, batches, rates, tombstones, and what is left of long logs."""
    removable = [Removable._make(found) for found in all_rows(connection, _REMOVABLE, now, limit)]
    room = remove_jobs(connection, removable, now, touched)
    more = [
        _forget_scraps(connection, room),
        batches.forget(connection, now, limit),
        rates.forget(connection, now, limit),
    ]
    connection.execute(_FORGET_GONE, (now, limit))
    return PruneResult(len(removable), any(more) or len(removable) == limit or connection.changes() == limit)


def remove_jobs(connection: apsw.Connection, jobs: Sequence[Removable], now: float, touched: ChangeSet) -> int:
    """Remove finished jobs with all that is theirs, and submit what follows; give how many events more may go in this step."""
    if jobs:
        connection.execute(_KEEP_SEQUENCE)
    room = _EVENTS
    follow_ups: list[JobSpec] = []
    for seq, job_id, last, follows in jobs:
        if follows & follow_up_jobs.REMOVAL:
            follow_ups += follow_up_jobs.after_removal(connection, seq, job_id)
        connection.execute(_INSERT_TOMBSTONE, (seq, now))
        if last <= room:
            connection.execute(_FORGET_EVENTS, (seq,))
            room -= last
        else:
            connection.execute(_LEAVE_EVENTS, (seq,))
        for statement in _FORGET_JOB:
            connection.execute(statement, (seq,))
    enqueue.insert_if_absent(connection, follow_ups, now, touched)
    return room


def _forget_scraps(connection: apsw.Connection, room: int) -> bool:
    """Remove up to `room` events of logs whose jobs are gone; tell whether some may be left."""
    while (scrap := first(connection, _SCRAP)) is not None:
        if room <= 0:
            return True
        connection.execute(_FORGET_SCRAPS, (*scrap, room))
        removed = connection.changes()
        if removed < room:
            connection.execute(_SCRAP_IS_GONE, scrap)
        room -= removed
    return False
