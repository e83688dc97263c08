"""What a call leaves to do before it is over: others start where it gave slots back, and children stop with their parents."""

import apsw

from sidelane.stores.sqlite.cascade import cascade
from sidelane.stores.sqlite.parking import wake
from sidelane.stores.sqlite.touched import Touched


def settle(connection: apsw.Connection, now: float, touched: Touched) -> None:
    """Stop the children of what was cancelled, and wake jobs that are parked at limits that may have room."""
    if touched.parents:
        touched.parents = False
        cascade(connection, now, touched)
    if touched.freed:
        wake(connection, touched.freed, now, touched)
        touched.freed.clear()
