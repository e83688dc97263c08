"""stats: every queue at a glance."""

import apsw

from sidelane.model.worker import QueueStats
from sidelane.stores.sqlite.rows import all_rows
from sidelane.stores.sqlite.statements import statements

_STATS = statements(__file__)["stats"]


def stats(connection: apsw.Connection, now: float) -> list[QueueStats]:
    """Count the unfinished jobs of every queue the store has seen."""
    return [
        QueueStats(
            name=name,
            paused=bool(paused),
            ready=ready,
            delayed=delayed,
            running=running,
            oldest=None if since is None else max(0.0, now - since),
        )
        for name, paused, ready, delayed, running, since in all_rows(connection, _STATS)
    ]
