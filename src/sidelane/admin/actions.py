"""Actions on jobs, batches and callbacks: submit, duplicate, cancel, requeue and redeliver, with a result for each item."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Unpack

from sidelane.admin.documents import Document, batch_document, callback_document, job_document, unknown_job_text
from sidelane.callbacks.status import CallbackRecord, redeliver_callbacks
from sidelane.client.batch_handle import Batch
from sidelane.client.client import Client
from sidelane.client.event_stream import batch_record
from sidelane.model.errors import ArgumentsError, JobConflict, JobError
from sidelane.model.ids import new_id
from sidelane.model.job import JobRecord, Rejection, State, Tombstone
from sidelane.model.options import OptionFields
from sidelane.model.sentence import Sentence, sentence
from sidelane.stores.contract import Store
from sidelane.tasks.registry import AnyTask

Lookup = JobRecord | Tombstone | None
"""What a store returns for an id."""


class Status(StrEnum):
    """Outcome of an action on one item."""

    DONE = "done"
    FAILED = "failed"
    NOT_FOUND = "not found"


@dataclass(frozen=True, slots=True)
class ActionResult:
    """Outcome of an action on one item, which `name` identifies. `details` are further members of its JSON document.

    A message that is a sentence can be shown in another language.
    """

    name: str
    status: Status
    message: Sentence | str
    details: Document | None = None

    def document(self, key: str = "id") -> Document:
        """Return the result as JSON. `key` is the member that holds the name."""
        return {
            key: self.name,
            "done": self.status is Status.DONE,
            "message": str(self.message),
            **(self.details or {}),
        }


async def cancel_jobs(store: Store, ids: Sequence[str]) -> list[ActionResult]:
    """Cancel queued jobs immediately, and ask running jobs to stop."""
    before, after = await store.get(ids), await store.cancel(ids)
    return list(map(_cancelled, ids, before, after))


async def requeue_jobs(store: Store, ids: Sequence[str], *, arguments: str | None = None) -> list[ActionResult]:
    """Return finished jobs to their queues with fresh retry budgets, and with new arguments if given.

    Unfinished jobs are left unchanged.
    """
    before, after = await store.get(ids), await store.requeue(ids, arguments=arguments)
    return list(map(_requeued, ids, before, after))


async def duplicate_job(client: Client, job_id: str, arguments: str | None = None) -> JobRecord:
    """Submit a new job like another one, with its follow-ups and callbacks, and with new arguments if given.

    It starts as soon as it can, has no parent and no batch, and is not `unique`. Raises `ArgumentsError` if the other has arguments
    that were filled in from its parent, `UnknownJob`, `JobRemoved`, and the errors of `Client.submit`.
    """
    spec = (await client.record(job_id)).spec
    if spec.placeholders and arguments is None:
        names = ", ".join(spec.placeholders)
        raise ArgumentsError(f"Job {job_id} got arguments from the job before it ({names}). Write them into the input.")
    alike = replace(
        spec, id=new_id(), arguments=spec.arguments if arguments is None else arguments, placeholders={}, parent=None,
        batch=None, cascade=False, unique=None, trace=None, delay=0.0, run_at=None,
    )  # fmt: skip
    return (await client.submit_spec(alike)).record


async def submit_job(client: Client, task: AnyTask, arguments: str, **options: Unpack[OptionFields]) -> JobRecord:
    """Submit a job of a task, with arguments as JSON text. Raises the errors of `Client.submit`."""
    call = task.options(**options).call(**json.loads(arguments))
    return (await client.submit_spec(call.spec())).record


async def cancel_batch(store: Store, batch_id: str) -> ActionResult:
    """Close a batch, cancel its queued jobs and ask its running ones to stop. Raises `UnknownBatch`."""
    before = await batch_record(store, batch_id)
    batch: Batch[object] = Batch(batch_id, store)
    after = await batch.cancel()
    details = {"batch": batch_document(after)}
    if before.ended is not None:
        return ActionResult(batch_id, Status.DONE, _finished(before.state), details)
    message = sentence("{count} cancelled", count=f"{after.cancelled - before.cancelled:,}")
    if after.unfinished:
        text = "{cancelled}, {running} running: cancellation requested"
        message = sentence(text, cancelled=message, running=f"{after.unfinished:,}")
    return ActionResult(batch_id, Status.DONE, message, details)


async def redeliver(client: Client, ids: Sequence[str]) -> list[ActionResult]:
    """Deliver callbacks again. The id of a job stands for all callbacks of the job's last end."""
    return [await _redeliver(client, each) for each in ids]


async def _redeliver(client: Client, some_id: str) -> ActionResult:
    try:
        records = await redeliver_callbacks(client, some_id)
    except JobConflict as error:
        return ActionResult(some_id, Status.FAILED, str(error), _callbacks([]))
    except JobError as error:
        return ActionResult(some_id, Status.NOT_FOUND, str(error), _callbacks([]))
    if not records:
        return ActionResult(some_id, Status.FAILED, sentence("no callbacks to deliver"), _callbacks(records))
    waiting = sum(record.state is not State.RUNNING for record in records)
    message = sentence("{count} queued for delivery", count=waiting)
    if not waiting:
        message = sentence("delivery is already running")
    return ActionResult(some_id, Status.DONE, message, _callbacks(records))


def rejection_text(rejection: Rejection) -> str:
    """Return why a store rejected a job, on one line."""
    return rejection.problem.detail or rejection.problem.title


def _cancelled(job_id: str, before: Lookup, after: JobRecord | None) -> ActionResult:
    if after is None or not isinstance(before, JobRecord):
        return _not_found(job_id, before)
    if before.state.finished:
        return _done(after, _finished(before.state))
    stopped = after.state is State.CANCELLED
    return _done(after, sentence("cancelled" if stopped else "running: cancellation requested"))


def _requeued(job_id: str, before: Lookup, after: JobRecord | Rejection | None) -> ActionResult:
    if isinstance(after, Rejection):
        message = sentence("not requeued: {reason}", reason=rejection_text(after))
        return ActionResult(job_id, Status.FAILED, message, {"job": None})
    if after is None or not isinstance(before, JobRecord):
        return _not_found(job_id, before)
    if before.state.finished:
        return _done(after, sentence("requeued"))
    return _done(after, sentence("unchanged: it is not finished ({state})", state=sentence(before.state)))


def _finished(state: str) -> Sentence:
    return sentence("already finished ({state})", state=sentence(state))


def _done(record: JobRecord, message: Sentence) -> ActionResult:
    return ActionResult(record.id, Status.DONE, message, {"job": job_document(record)})


def _not_found(job_id: str, before: Lookup) -> ActionResult:
    tombstone = before if isinstance(before, Tombstone) else None
    return ActionResult(job_id, Status.NOT_FOUND, unknown_job_text(tombstone), {"job": None})


def _callbacks(records: Sequence[CallbackRecord]) -> Document:
    return {"callbacks": list(map(callback_document, records))}
