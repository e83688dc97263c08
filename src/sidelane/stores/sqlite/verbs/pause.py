"""pause: stop or resume handing out jobs of a queue."""

import apsw

from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_PAUSE = statements(__file__)["pause"]


def pause(connection: apsw.Connection, _now: float, touched: ChangeSet, queue: str, paused: bool) -> None:
    """Note whether the queue is paused."""
    connection.execute(_PAUSE, (queue, int(paused)))
    touched.queues.add(queue)
