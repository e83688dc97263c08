"""position: tell how many ready jobs stand before one, by priority and then by age, and how long it may wait."""

import apsw

from sidelane.model.worker import QueuePosition
from sidelane.stores.sqlite import throughput
from sidelane.stores.sqlite.sql import first, scalar
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_PLACE = _SQL["place"]
_ABOVE = _SQL["above"]
_OLDER = _SQL["older"]

_FURTHEST = 1000
_SLOWEST = 1 / 3600  # jobs a second; of a queue that moves less, or is paused, nobody knows


def position(connection: apsw.Connection, now: float, job_id: str) -> QueuePosition | None:
    """Count up to 1,000; None for a job that is not ready."""
    found = first(connection, _PLACE, job_id)
    if found is None:
        return None
    *line, seq = found
    above = int(scalar(connection, _ABOVE, *line, _FURTHEST))
    before = above + int(scalar(connection, _OLDER, *line, seq, _FURTHEST - above))
    rate = throughput.expected_rate(connection, line[0], now)
    return QueuePosition(before, before / rate if rate >= _SLOWEST else None)
