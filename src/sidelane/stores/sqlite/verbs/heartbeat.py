"""heartbeat: renew a worker's leases, swept or not yet, and say how each stands."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import Lease
from sidelane.model.outcome import LeaseStatus
from sidelane.model.worker import STOPPED, WorkerInfo
from sidelane.stores.contract import worker_topic
from sidelane.stores.serialization import dump_worker
from sidelane.stores.sqlite.sql import first
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_RENEW_WORKER = _SQL["renew_worker"]
_FORGET_WORKER = _SQL["forget_worker"]
_FORGET_MARK = _SQL["forget_mark"]
_HELD = _SQL["held"]
_RENEW = _SQL["renew"]


def heartbeat(
    connection: apsw.Connection,
    now: float,
    _touched: ChangeSet,
    worker: WorkerInfo,
    leases: Sequence[Lease],
    lease: float,
) -> list[LeaseStatus]:
    """Renew what the worker still holds; an expired lease that nobody has swept is held (rules 2)."""
    if worker.health == STOPPED:
        connection.execute(_FORGET_WORKER, (worker.id,))
        connection.execute(_FORGET_MARK, (worker_topic(worker.id),))
    else:
        connection.execute(_RENEW_WORKER, (worker.id, dump_worker(worker), now + lease, lease))
    verdicts, renewed = [], []
    for each in leases:
        held = first(connection, _HELD, each.job_id, each.attempt, each.nonce)
        if held is None:
            verdicts.append(LeaseStatus.LOST)
            continue
        seq, cancelling = held
        renewed.append((now + lease, lease, seq))
        verdicts.append(LeaseStatus.CANCEL if cancelling else LeaseStatus.HELD)
    connection.executemany(_RENEW, renewed)
    return verdicts
