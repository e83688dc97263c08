"""remove: forget finished jobs before their time."""

from collections.abc import Sequence

import apsw

from sidelane.stores.sqlite.retention import Removable, remove_jobs
from sidelane.stores.sqlite.sql import first
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_REMOVABLE = statements(__file__)["removable"]


def remove(connection: apsw.Connection, now: float, touched: ChangeSet, ids: Sequence[str]) -> list[bool]:
    """Remove each finished job that has no unfinished children, with all that retention removes, and tell which were."""
    removed: dict[str, Removable] = {}
    answers = []
    for job_id in ids:
        found = None if job_id in removed else first(connection, _REMOVABLE, job_id)
        if found is not None:
            removed[job_id] = Removable._make(found)
        answers.append(found is not None)
    remove_jobs(connection, list(removed.values()), now, touched)
    touched.jobs.update(removed)
    return answers
