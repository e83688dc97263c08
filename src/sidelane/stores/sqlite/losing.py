"""Losing a lease: the job runs again, isolated from its second loss on, or fails once its budget is spent (rules 7)."""

import apsw

from sidelane.model.job import Failure, State, isolates
from sidelane.stores.problems import WORKERS_LOST
from sidelane.stores.sqlite.arrivals import put_back
from sidelane.stores.sqlite.ending import CANCELLED, End, end, keep_failure
from sidelane.stores.sqlite.records import Row
from sidelane.stores.sqlite.rows import the_row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_BUDGET = statements(__file__)["budget"]


def lose(
    connection: apsw.Connection, row: Row, loss: Failure, now: float, touched: Touched, *, settled: str | None = None
) -> None:
    """Take the lease of a running job back; `loss` says how it was lost."""
    if row.cancelling:
        end(connection, row, CANCELLED, now, touched, settled=settled)
        return
    keep_failure(connection, row, loss, now)
    budget, isolable = the_row(connection, _BUDGET, row.seq)
    losses = row.losses + 1
    row = row._replace(losses=losses, isolated=int(isolable and isolates(losses, budget)))
    if losses > budget:
        problem = WORKERS_LOST if budget and not row.outside else loss.problem
        end(connection, row, End(State.FAILED, problem=problem), now, touched, settled=settled)
    else:
        put_back(connection, row, now, touched, settled=settled)
