"""listen: start the time anew after which a job that nobody listens to is stopped."""

from collections.abc import Sequence

import apsw

from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_LISTEN = statements(__file__)["listen"]


def listen(connection: apsw.Connection, now: float, _touched: ChangeSet, ids: Sequence[str]) -> None:
    """Note that these jobs have a listener; nothing changes for those without `abandon_after`."""
    connection.executemany(_LISTEN, [(job_id, now) for job_id in ids])
