"""Stopping a job that nobody wants any more, whether someone said so or the last listener went away."""

import apsw

from sidelane.model.ids import new_epoch
from sidelane.stores.sqlite import slots
from sidelane.stores.sqlite.bonds import REPLACES_OLDER, applied_limits_of_job
from sidelane.stores.sqlite.finalize import CANCELLED, finish_job
from sidelane.stores.sqlite.records import RUNNING, Row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_ASK = statements(__file__)["ask"]


def cancel_job(connection: apsw.Connection, row: Row, now: float, touched: ChangeSet) -> bool:
    """End a queued or handed-over job as cancelled, ask a running one to stop, leave a finished one alone; tell if it ended."""
    if row.state < RUNNING or row.outside:
        finish_job(connection, row._replace(epoch=new_epoch()), CANCELLED, now, touched)
        return True
    if row.state == RUNNING and not row.cancelling:
        connection.execute(_ASK, (row.seq,))
        if row.limited & REPLACES_OLDER:
            slots.clear_replaceable(connection, row.seq, applied_limits_of_job(connection, row.seq))
        touched.jobs.add(row.id)
        if row.worker is not None:
            touched.workers.add(row.worker)
    return False
