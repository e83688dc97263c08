"""Stopping a job that nobody wants any more, whether someone said so or the last listener went away."""

import apsw

from sidelane.model.ids import new_epoch
from sidelane.stores.sqlite import slots
from sidelane.stores.sqlite.bonds import REPLACEABLE, bonds_of_job
from sidelane.stores.sqlite.ending import CANCELLED, end
from sidelane.stores.sqlite.records import RUNNING, Row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_ASK = statements(__file__)["ask"]


def stop(connection: apsw.Connection, row: Row, now: float, touched: Touched) -> bool:
    """End a queued or handed-over job as cancelled, ask a running one to stop, leave a finished one alone; tell if it ended."""
    if row.state < RUNNING or row.outside:
        end(connection, row._replace(epoch=new_epoch()), CANCELLED, now, touched)
        return True
    if row.state == RUNNING and not row.cancelling:
        connection.execute(_ASK, (row.seq,))
        if row.limited & REPLACEABLE:
            slots.not_replaceable(connection, row.seq, bonds_of_job(connection, row.seq))
        touched.jobs.add(row.id)
        if row.worker is not None:
            touched.workers.add(row.worker)
    return False
