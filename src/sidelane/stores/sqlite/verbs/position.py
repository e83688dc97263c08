"""position: tell how many ready jobs stand before one, by priority and then by age."""

import apsw

from sidelane.stores.sqlite.rows import first_row, only_value
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_PLACE = _SQL["place"]
_ABOVE = _SQL["above"]
_OLDER = _SQL["older"]

_FURTHEST = 1000


def position(connection: apsw.Connection, _now: float, job_id: str) -> int | None:
    """Count up to 1,000; None for a job that is not ready."""
    found = first_row(connection, _PLACE, job_id)
    if found is None:
        return None
    queue, priority, seq = found
    above = int(only_value(connection, _ABOVE, queue, priority, _FURTHEST))
    return above + int(only_value(connection, _OLDER, queue, priority, seq, _FURTHEST - above))
