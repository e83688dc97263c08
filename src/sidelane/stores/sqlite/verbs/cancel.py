"""cancel: end queued jobs at once, and ask running ones to stop."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import JobRecord
from sidelane.stores.sqlite.records import record_by_id, row_by_id
from sidelane.stores.sqlite.stopping import cancel_job
from sidelane.stores.sqlite.touched import ChangeSet


def cancel(connection: apsw.Connection, now: float, touched: ChangeSet, ids: Sequence[str]) -> list[JobRecord | None]:
    """Stop each job that is not finished, and give the records as they are then."""
    for job_id in ids:
        row = row_by_id(connection, job_id)
        if row is not None:
            cancel_job(connection, row, now, touched)
    return [record_by_id(connection, job_id) for job_id in ids]
