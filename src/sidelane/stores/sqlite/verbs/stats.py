"""stats: every queue at a glance."""

import apsw

from sidelane.model.worker import QueueStats
from sidelane.stores.sqlite import throughput
from sidelane.stores.sqlite.sql import all_rows
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
            waiting_for_limit=parked,
            running=running,
            oldest=None if since is None else max(0.0, now - since),
            rate=throughput.rate_of(starts, paced, now),
        )
        for name, paused, ready, delayed, parked, running, since, starts, paced in all_rows(connection, _STATS)
    ]
