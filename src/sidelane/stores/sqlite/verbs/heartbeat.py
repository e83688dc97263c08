"""heartbeat, workers, touch_listeners: workers renew their leases, and clients renew their interest in jobs."""

from collections.abc import Sequence

from sidelane.model.job import Lease
from sidelane.model.outcome import LeaseStatus
from sidelane.model.worker import STOPPED, WorkerInfo
from sidelane.stores.contract import worker_topic
from sidelane.stores.serialization import dump_worker, load_worker
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)


def heartbeat(tx: Transaction, worker: WorkerInfo, leases: Sequence[Lease], duration: float) -> list[LeaseStatus]:
    """Renew leases for `duration` seconds. An expired lease is valid until it is swept (rule 2)."""
    if worker.health == STOPPED:
        delete_worker(tx, worker.id)
    elif worker.exit:
        tx.execute(SQL.expire_worker, worker.id, dump_worker(worker), tx.now)
    else:
        tx.execute(SQL.renew_worker, worker.id, dump_worker(worker), tx.now + duration, duration)
    statuses, renewed = [], []
    for lease in leases:
        found = tx.first(SQL.lease, lease.job_id, lease.attempt, lease.nonce)
        if found is None:
            statuses.append(LeaseStatus.LOST)
            continue
        seq, cancel_requested = found
        renewed.append((tx.now + duration, duration, seq))
        statuses.append(LeaseStatus.CANCEL if cancel_requested else LeaseStatus.HELD)
    tx.execute_many(SQL.renew_lease, renewed)
    return statuses


def delete_worker(tx: Transaction, worker: str) -> None:
    tx.execute(SQL.delete_worker, worker)
    tx.execute(SQL.delete_topic_version, worker_topic(worker))


def workers(tx: Transaction) -> list[WorkerInfo]:
    """Return the workers that are alive, as of their last heartbeats."""
    return [load_worker(info) for (info,) in tx.all(SQL.alive_workers, tx.now)]


def touch_listeners(tx: Transaction, ids: Sequence[str]) -> None:
    """Restart `abandon_after` of these jobs. Jobs without it do not change."""
    tx.execute_many(SQL.touch_listeners, [(job_id, tx.now) for job_id in ids])
