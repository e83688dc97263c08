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
    found = {job_id: first_row(connection, _REMOVABLE, job_id) for job_id in ids}
    forget_jobs(connection, [(seq, last) for seq, last in filter(None, found.values())], now)
    touched.jobs.update(job_id for job_id, row in found.items() if row)
    return [found[job_id] is not None for job_id in ids]
