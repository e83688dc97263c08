"""Losing a lease: the job runs again, isolated from its second loss on, or fails once its budget is spent (rules 7)."""

import apsw

from sidelane.model.job import Failure, State, is_isolated_after
from sidelane.stores.problems import WORKERS_LOST
from sidelane.stores.sqlite.enqueue import return_to_queue
from sidelane.stores.sqlite.finalize import CANCELLED, Finish, finish_job, record_failure
from sidelane.stores.sqlite.records import Row
from sidelane.stores.sqlite.sql import one
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_BUDGET = statements(__file__)["budget"]


def lose_lease(
    connection: apsw.Connection, row: Row, loss: Failure, now: float, touched: ChangeSet, *, settled: str | None = None
) -> None:
    """Take the lease of a running job back; `loss` says how it was lost."""
    if row.cancelling:
        finish_job(connection, row, CANCELLED, now, touched, settled=settled)
        return
    record_failure(connection, row, loss, now)
    budget, isolable = one(connection, _BUDGET, row.seq)
    losses = row.losses + 1
    row = row._replace(losses=losses, isolated=int(isolable and is_isolated_after(losses, budget)))
    if losses > budget:
        problem = WORKERS_LOST if budget and not row.outside else loss.problem
        finish_job(connection, row, Finish(State.FAILED, problem=problem), now, touched, settled=settled)
    else:
        return_to_queue(connection, row, now, touched, settled=settled)
