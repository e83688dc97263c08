"""Cancelling with a job those of its children that asked for it, and theirs: some in the same step, the rest by sweeps."""

import apsw

from sidelane.stores.sqlite.records import row_by_seq
from sidelane.stores.sqlite.sql import all_rows, first
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.stopping import cancel_job
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_NEXT = _SQL["next"]
_CHILDREN = _SQL["children"]
_DONE = _SQL["done"]

MAX_CHILDREN = 200  # children stopped in one step


def cancel_children(connection: apsw.Connection, now: float, touched: ChangeSet, limit: int = MAX_CHILDREN) -> bool:
    """Stop up to `limit` children of jobs that have ended as cancelled (`ending` notes them); tell whether more are left."""
    while (found := first(connection, _NEXT)) is not None:
        if limit <= 0:
            return True
        children = all_rows(connection, _CHILDREN, *found, limit)
        if len(children) < limit:
            connection.execute(_DONE, found[:1])
        for (seq,) in children:
            cancel_job(connection, row_by_seq(connection, seq), now, touched)
        limit -= len(children)
    return False
