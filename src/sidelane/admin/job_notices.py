"""Job notices: why a job does not start or continue, and which worker runs it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidelane.external.outbox import DispatchInfo, dispatch_id
from sidelane.model.job import JobRecord, Lease, State
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.worker import WORKER, WorkerInfo
from sidelane.stores.contract import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLookup:
    """The worker that runs a job. `notice` is the reason why the job cannot start or continue, if there is one."""

    has_worker: bool
    worker: WorkerInfo | None = None
    sent: DispatchInfo | None = None  # the dispatch to an external worker
    notice: Sentence | None = None


async def find_worker(record: JobRecord, store: Store) -> WorkerLookup:
    """Find the live worker of a job, or those that could run it, and check that its queue and its batch are not paused."""
    if record.state.finished:
        return WorkerLookup(has_worker=True)
    workers = [each for each in await store.workers() if each.kind == WORKER]
    if record.external_lease is not None:
        return await _dispatched(record.external_lease, store)
    if record.state is State.RUNNING:
        return _running(record, workers)
    lookup = _queued(record, workers)
    queue = record.spec.queue
    if lookup.has_worker and any(each.paused for each in await store.stats() if each.name == queue):
        text = "queue {queue!r} is paused: the job waits until it is resumed (sidelane queues resume {queue})"
        return replace(lookup, notice=sentence(text, queue=queue))
    batch = None if record.spec.batch is None else await store.get_batch(record.spec.batch)
    if batch is not None and batch.paused:
        text = "batch {batch} is paused: its jobs wait until it is resumed (sidelane batches resume {batch})"
        return replace(lookup, notice=sentence(text, batch=batch.id))
    return lookup


async def _dispatched(lease: Lease, store: Store) -> WorkerLookup:
    """Return where a job was dispatched to, according to the internal job that sends the message."""
    (sending,) = await store.get([dispatch_id(lease)])
    if not isinstance(sending, JobRecord):
        return WorkerLookup(has_worker=True)
    sent = DispatchInfo.of(sending)
    if sending.state.finished:
        return WorkerLookup(has_worker=True, sent=sent)
    notice = sentence("the message to {to} is not sent yet: job {job} sends it", to=sent.to, job=sending.id)
    return WorkerLookup(has_worker=True, notice=notice, sent=sent)


def _running(record: JobRecord, workers: Sequence[WorkerInfo]) -> WorkerLookup:
    worker = next((worker for worker in workers if worker.id == record.worker), None)
    if worker is None:
        name = (record.worker or "?").partition(":")[0]
        text = "worker {name!r} is no longer alive; another can take the job when the lease has expired"
        return WorkerLookup(has_worker=False, notice=sentence(text, name=name))
    return WorkerLookup(has_worker=True, worker=worker)


def _queued(record: JobRecord, workers: Sequence[WorkerInfo]) -> WorkerLookup:
    spec = record.spec
    with_queue = [worker for worker in workers if spec.queue in worker.queues and not worker.isolation]
    of_queue = [worker for worker in with_queue if worker.takes_jobs]
    if any(worker.can_run(spec) for worker in of_queue):
        return WorkerLookup(has_worker=True)
    if not workers:
        text = "no worker is alive: the job waits until one starts"
    elif with_queue and not of_queue:
        text = "operators have drained all live workers of queue {queue!r}: the job waits until one is resumed"
    elif not of_queue:
        text = "no live worker takes jobs of queue {queue!r}: the job waits until one does"
    elif any(spec.task in worker.tasks for worker in of_queue):
        text = "the live workers know only older versions of task {task!r}: the job waits for version {version}"
    else:
        text = "no live worker of queue {queue!r} knows task {task!r}: the job waits until one does"
    return WorkerLookup(has_worker=False, notice=sentence(text, queue=spec.queue, task=spec.task, version=spec.version))
