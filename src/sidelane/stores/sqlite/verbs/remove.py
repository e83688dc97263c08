"""remove: forget finished jobs before their time."""

from collections.abc import Sequence

import apsw

from sidelane.stores.sqlite.retention import forget_jobs
from sidelane.stores.sqlite.rows import first_row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_REMOVABLE = statements(__file__)["removable"]


def remove(connection: apsw.Connection, now: float, touched: Touched, ids: Sequence[str]) -> list[bool]:
    """Remove each finished job that has no unfinished children, with all that retention removes, and tell which were."""
    answers = []
    for job_id in ids:
        found = first_row(connection, _REMOVABLE, job_id)
        if found is not None:
            forget_jobs(connection, [(found[0], found[1])], now)
            touched.jobs.add(job_id)
        answers.append(found is not None)
    return answers
