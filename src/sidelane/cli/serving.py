"""Who runs a job, or would: the worker that has it, the live workers that could take it, or nobody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidelane.model.job import JobRecord, Lease, State
from sidelane.model.worker import WorkerInfo
from sidelane.remote.handover import Sent, sending_id
from sidelane.stores.contract import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a job is served. `words` says what is wrong, and is empty where nothing is."""

    served: bool
    worker: WorkerInfo | None = None
    sent: Sent | None = None  # where it was handed over to
    words: str = ""


async def serving(record: JobRecord, store: Store) -> Serving:
    """Find who serves a job among the live workers, and whether its queue lets it start."""
    if record.state.finished:
        return Serving(served=True)
    workers = await store.workers()
    if record.outside is not None:
        return await _outside(record.outside, store)
    if record.state is State.RUNNING:
        return _running(record, workers)
    served = _waiting(record, workers)
    queue = record.spec.queue
    if served.served and any(each.paused for each in await store.stats() if each.name == queue):
        words = f"queue {queue!r} is paused: the job waits until it is resumed (sidelane queues resume {queue})"
        return replace(served, words=words)
    return served


async def _outside(lease: Lease, store: Store) -> Serving:
    """Find where a job was handed over to, which the job that sends it knows."""
    (sending,) = await store.get([sending_id(lease)])
    if not isinstance(sending, JobRecord):
        return Serving(served=True)
    sent = Sent.of(sending)
    words = f"its offer to {sent.to} is not sent yet: job {sending.id} does that" if not sending.state.finished else ""
    return Serving(served=True, words=words, sent=sent)


def _running(record: JobRecord, workers: Sequence[WorkerInfo]) -> Serving:
    worker = next((worker for worker in workers if worker.id == record.worker), None)
    if worker is None:
        name = (record.worker or "?").partition(":")[0]
        return Serving(
            served=False,
            words=f"its worker {name!r} is not alive any more; once the lease is over, another can take the job",
        )
    return Serving(served=True, worker=worker)


def _waiting(record: JobRecord, workers: Sequence[WorkerInfo]) -> Serving:
    spec = record.spec
    takers = [worker for worker in workers if spec.queue in worker.queues]
    if any(worker.serves(spec) for worker in takers):
        return Serving(served=True)
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
    return Serving(served=False, words=words)
