"""Who runs a job, or would: the worker that has it, the live workers that could take it, or nobody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidelane.external.outbox import DispatchInfo, dispatch_id
from sidelane.model.job import JobRecord, Lease, State
from sidelane.model.worker import WorkerInfo
from sidelane.stores.contract import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLookup:
    """How a job is served. `words` says what is wrong, and is empty where nothing is."""

    served: bool
    worker: WorkerInfo | None = None
    sent: DispatchInfo | None = None  # where it was handed over to
    words: str = ""


async def find_worker(record: JobRecord, store: Store) -> WorkerLookup:
    """Find who serves a job among the live workers, and whether its queue lets it start."""
    if record.state.finished:
        return WorkerLookup(served=True)
    workers = await store.workers()
    if record.external_lease is not None:
        return await _outside(record.external_lease, store)
    if record.state is State.RUNNING:
        return _running(record, workers)
    served = _waiting(record, workers)
    queue = record.spec.queue
    if served.served and any(each.paused for each in await store.stats() if each.name == queue):
        words = f"queue {queue!r} is paused: the job waits until it is resumed (sidelane queues resume {queue})"
        return replace(served, words=words)
    return served


async def _outside(lease: Lease, store: Store) -> WorkerLookup:
    """Find where a job was handed over to, which the job that sends it knows."""
    (sending,) = await store.get([dispatch_id(lease)])
    if not isinstance(sending, JobRecord):
        return WorkerLookup(served=True)
    sent = DispatchInfo.of(sending)
    words = f"its offer to {sent.to} is not sent yet: job {sending.id} does that" if not sending.state.finished else ""
    return WorkerLookup(served=True, words=words, sent=sent)


def _running(record: JobRecord, workers: Sequence[WorkerInfo]) -> WorkerLookup:
    worker = next((worker for worker in workers if worker.id == record.worker), None)
    if worker is None:
        name = (record.worker or "?").partition(":")[0]
        return WorkerLookup(
            served=False,
            words=f"its worker {name!r} is not alive any more; once the lease is over, another can take the job",
        )
    return WorkerLookup(served=True, worker=worker)


def _waiting(record: JobRecord, workers: Sequence[WorkerInfo]) -> WorkerLookup:
    spec = record.spec
    takers = [worker for worker in workers if spec.queue in worker.queues]
    if any(worker.can_run(spec) for worker in takers):
        return WorkerLookup(served=True)
    if not workers:
        words = "no worker is alive: the job waits until one is started"
    elif not takers:
        words = f"no live worker takes jobs of queue {spec.queue!r}: the job waits until one does"
    elif any(spec.task in worker.tasks for worker in takers):
        words = (
            f"the live workers know older versions of task {spec.task!r} only: the job waits for version {spec.version}"
        )
    else:
        words = f"no live worker of queue {spec.queue!r} knows task {spec.task!r}: the job waits until one does"
    return WorkerLookup(served=False, words=words)
