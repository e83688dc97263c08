"""Delayed jobs whose time has come become ready."""

import apsw

from sidelane.stores.sqlite import fair_queue
from sidelane.stores.sqlite.sql import all_rows
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_DUE = _SQL["due"]
_READY = _SQL["ready"]


def promote_due(connection: apsw.Connection, queue: str, now: float, touched: ChangeSet, limit: int) -> int:
    """Make up to `limit` due jobs of a queue ready, and tell how many there were."""
    found = all_rows(connection, _DUE, queue, now, limit)
    for seq, job_id, isolated, priority, user in found:
        connection.execute(_READY, (seq,))
        fair_queue.push(connection, fair_queue.UserQueue(queue, isolated, priority, user), seq)
        touched.jobs.add(job_id)
    if found:
        touched.queues.add(queue)
    return len(found)
