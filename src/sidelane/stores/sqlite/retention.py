"""Forgetting, in small pieces, what was kept long enough (rules 11)."""

from collections.abc import Sequence
from typing import NamedTuple

import apsw

from sidelane.stores.sqlite import batches, rates
from sidelane.stores.sqlite.rows import all_rows, first_row
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_REMOVABLE = _SQL["removable"]
_KEEP_SEQUENCE = _SQL["keep_sequence"]
_BURY = _SQL["bury"]
_FORGET_EVENTS = _SQL["forget_events"]
_LEAVE_EVENTS = _SQL["leave_events"]
_SCRAP = _SQL["scrap"]
_FORGET_SCRAPS = _SQL["forget_scraps"]
_SCRAP_IS_GONE = _SQL["scrap_is_gone"]
_FORGET_GONE = _SQL["forget_gone"]
_FORGET_JOB = [_SQL[each] for each in ("forget_failures", "forget_end", "forget_spec", "forget_job")]

_EVENTS = 5000  # removed in one sweep: some ten milliseconds


class Forgotten(NamedTuple):
    """How many jobs were removed, and whether there is more to remove."""

    jobs: int
    more: bool


def forget(connection: apsw.Connection, now: float, limit: int) -> Forgotten:
    """Remove up to `limit` finished jobs whose retention has passed, as many batches, rates and tombstones, and rests of long logs."""
    removable = all_rows(connection, _REMOVABLE, now, limit)
    room = forget_jobs(connection, removable, now)
    more = [
        _forget_scraps(connection, room),
        batches.forget(connection, now, limit),
        rates.forget(connection, now, limit),
    ]
    connection.execute(_FORGET_GONE, (now, limit))
    return Forgotten(len(removable), any(more) or len(removable) == limit or connection.changes() == limit)


def forget_jobs(connection: apsw.Connection, jobs: Sequence[tuple[int, int]], now: float) -> int:
    """Remove finished jobs (sequence, last event) with all that is theirs; give how many events more may go in this step."""
    if jobs:
        connection.execute(_KEEP_SEQUENCE)
    room = _EVENTS
    for seq, last in jobs:
        connection.execute(_BURY, (seq, now))
        if last <= room:
            connection.execute(_FORGET_EVENTS, (seq,))
            room -= last
        else:
            connection.execute(_LEAVE_EVENTS, (seq,))
        for statement in _FORGET_JOB:
            connection.execute(statement, (seq,))
    return room


def _forget_scraps(connection: apsw.Connection, room: int) -> bool:
    """Remove up to `room` events of logs whose jobs are gone; tell whether some may be left."""
    while (scrap := first_row(connection, _SCRAP)) is not None:
        if room <= 0:
            return True
        connection.execute(_FORGET_SCRAPS, (*scrap, room))
        removed = connection.changes()
        if removed < room:
            connection.execute(_SCRAP_IS_GONE, scrap)
        room -= removed
    return False
