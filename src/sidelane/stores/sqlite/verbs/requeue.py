"""requeue: bring finished jobs back to the queue with fresh budgets (rules 10)."""

from collections.abc import Sequence

import apsw

from sidelane.model.codec import escape_surrogates
from sidelane.model.job import JobRecord, Rejection
from sidelane.stores.problems import limits_full, unique_taken
from sidelane.stores.sqlite import batches, event_log, slots
from sidelane.stores.sqlite.bonds import load_applied_limits
from sidelane.stores.sqlite.enqueue import expiry, return_to_queue
from sidelane.stores.sqlite.records import STATES, Row, record_by_id, row_by_id
from sidelane.stores.sqlite.room import LimitCapacity
from sidelane.stores.sqlite.sql import first, one
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_END = _SQL["end"]
_UNIQUE_HOLDER = _SQL["unique_holder"]
_BUDGETS = _SQL["budgets"]
_FORGET_END = _SQL["forget_end"]
_FORGET_FAILURES = _SQL["forget_failures"]
_RENEW = _SQL["renew"]
_ARGUE = _SQL["argue"]


def requeue(
    connection: apsw.Connection, now: float, touched: ChangeSet, ids: Sequence[str], arguments: str | None
) -> list[JobRecord | Rejection | None]:
    """Bring each finished job back, unless another unfinished one has its unique key or all slots of its limits."""
    return [_requeue(connection, now, touched, job_id, arguments) for job_id in ids]


def _requeue(
    connection: apsw.Connection, now: float, touched: ChangeSet, job_id: str, arguments: str | None
) -> JobRecord | Rejection | None:
    row = row_by_id(connection, job_id)
    if row is not None and row.finished:
        holder = first(connection, _UNIQUE_HOLDER, row.seq)
        if holder is not None:
            return Rejection(unique_taken(holder[0]))
        bonds = load_applied_limits(row.limits)
        reached = LimitCapacity(connection, now).reached(bonds.kept)
        if reached:
            return limits_full(reached)
        slots.acquire_held(connection, [(row.seq, bonds)])
        if arguments is not None:
            connection.execute(_ARGUE, (escape_surrogates(arguments), row.seq))
        _bring_back(connection, row, now, touched)
    return record_by_id(connection, job_id)


def _bring_back(connection: apsw.Connection, row: Row, now: float, touched: ChangeSet) -> None:
    result, problem = first(connection, _END, row.seq) or (None, None)
    event_log.persist_end_event(connection, row, result, problem)
    connection.execute(_FORGET_END, (row.seq,))
    connection.execute(_FORGET_FAILURES, (row.seq,))
    start_within, deadline = one(connection, _BUDGETS, row.seq)
    give_up, deadline_at = expiry(start_within, deadline, now)
    connection.execute(_RENEW, (deadline_at, row.seq))
    if row.batch is not None:
        batches.reopen(connection, row.batch, STATES[row.state], touched)
    return_to_queue(
        connection, row._replace(failures=0, losses=0, isolated=0, settled=None, give_up=give_up), now, touched
    )
