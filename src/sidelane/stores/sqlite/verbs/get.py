"""get: look jobs up, and what is left of those whose retention has passed."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import JobRecord, Tombstone
from sidelane.stores.sqlite.records import record_by_id
from sidelane.stores.sqlite.sql import first
from sidelane.stores.sqlite.statements import statements

_GONE = statements(__file__)["gone"]


def get(connection: apsw.Connection, _now: float, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
    """Give what there is under each id."""
    return [record_by_id(connection, job_id) or _gone(connection, job_id) for job_id in ids]


def _gone(connection: apsw.Connection, job_id: str) -> Tombstone | None:
    found = first(connection, _GONE, job_id)
    return Tombstone(job_id, found[0] or None) if found else None
