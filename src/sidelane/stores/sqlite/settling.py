"""What a call leaves to do before it is over: others start where it gave slots back, and children stop with their parents."""

import apsw

from sidelane.stores.sqlite.blocked_jobs import unblock
from sidelane.stores.sqlite.cascade import cancel_children
from sidelane.stores.sqlite.touched import ChangeSet


def run_post_actions(connection: apsw.Connection, now: float, touched: ChangeSet) -> None:
    """Stop the children of what was cancelled, and wake jobs that are parked at limits that may have room."""
    if touched.parents:
        touched.parents = False
        cancel_children(connection, now, touched)
    if touched.freed:
        unblock(connection, touched.freed, now, touched)
        touched.freed.clear()
