"""workers: list those that are alive, as they described themselves last."""

import apsw

from sidelane.model.worker import WorkerInfo
from sidelane.stores.sqlite.rows import all_rows
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.texts import worker_of

_ALIVE = statements(__file__)["alive"]


def workers(connection: apsw.Connection, now: float) -> list[WorkerInfo]:
    return [worker_of(info) for (info,) in all_rows(connection, _ALIVE, now)]
