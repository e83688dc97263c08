"""requeue: bring finished jobs back to the queue with fresh budgets (rules 10)."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import JobRecord, Refusal
from sidelane.stores.checking import storable
from sidelane.stores.problems import limits_taken, unique_taken
from sidelane.stores.sqlite import batches, log, slots
from sidelane.stores.sqlite.arrivals import give_up_at, put_back
from sidelane.stores.sqlite.bonds import bonds_of_text
from sidelane.stores.sqlite.records import STATES, Row, record_by_id, row_by_id
from sidelane.stores.sqlite.room import Room
from sidelane.stores.sqlite.rows import first_row, the_row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_SQL = statements(__file__)
_END = _SQL["end"]
_UNIQUE_HOLDER = _SQL["unique_holder"]
_BUDGETS = _SQL["budgets"]
_FORGET_END = _SQL["forget_end"]
_FORGET_FAILURES = _SQL["forget_failures"]
_RENEW = _SQL["renew"]
_ARGUE = _SQL["argue"]


def requeue(
    connection: apsw.Connection, now: float, touched: Touched, ids: Sequence[str], arguments: str | None
) -> list[JobRecord | Refusal | None]:
    """Bring each finished job back, unless another unfinished one has its unique key or all slots of its limits."""
    return [_requeue(connection, now, touched, job_id, arguments) for job_id in ids]


def _requeue(
    connection: apsw.Connection, now: float, touched: Touched, job_id: str, arguments: str | None
) -> JobRecord | Refusal | None:
    row = row_by_id(connection, job_id)
    if row is not None and row.finished:
        holder = first_row(connection, _UNIQUE_HOLDER, row.seq)
        if holder is not None:
            return Refusal(unique_taken(holder[0]))
        bonds = bonds_of_text(row.limits)
        reached = Room(connection, now).reached(bonds.kept)
        if reached:
            return limits_taken(reached)
        slots.take_kept(connection, [(row.seq, bonds)])
        if arguments is not None:
            connection.execute(_ARGUE, (storable(arguments), row.seq))
        _bring_back(connection, row, now, touched)
    return record_by_id(connection, job_id)


def _bring_back(connection: apsw.Connection, row: Row, now: float, touched: Touched) -> None:
    result, problem = first_row(connection, _END, row.seq) or (None, None)
    log.keep_end(connection, row, result, problem)
    connection.execute(_FORGET_END, (row.seq,))
    connection.execute(_FORGET_FAILURES, (row.seq,))
    start_within, deadline = the_row(connection, _BUDGETS, row.seq)
    give_up, deadline_at = give_up_at(start_within, deadline, now)
    connection.execute(_RENEW, (deadline_at, row.seq))
    if row.batch is not None:
        batches.reopen(connection, row.batch, STATES[row.state], touched)
    put_back(connection, row._replace(failures=0, losses=0, isolated=0, settled=None, give_up=give_up), now, touched)
