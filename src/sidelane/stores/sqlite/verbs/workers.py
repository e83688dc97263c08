"""workers: list those that are alive, as they described themselves last."""

import apsw

from sidelane.model.worker import WorkerInfo
from sidelane.stores.serialization import load_worker
from sidelane.stores.sqlite.sql import all_rows
from sidelane.stores.sqlite.statements import statements

_ALIVE = statements(__file__)["alive"]


def workers(connection: apsw.Connection, now: float) -> list[WorkerInfo]:
    return [load_worker(info) for (info,) in all_rows(connection, _ALIVE, now)]
