"""Submission: turns the store's answers into jobs or errors, and submits batches."""

import asyncio
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from sidelane.client.batch_handle import Batch, RejectedCall
from sidelane.client.file_references import FileReferenceTracker, mentions_files
from sidelane.model.batch import BatchSpec
from sidelane.model.checks import is_duration
from sidelane.model.codec import check_size
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import ArgumentsError, JobConflict, JobRefused, LimitReached, QueueFull
from sidelane.model.ids import new_id
from sidelane.model.job import FINISHED, FollowUp, JobSpec, Rejection, Submission, texts_of
from sidelane.model.options import Options
from sidelane.model.settings import Settings
from sidelane.tasks.job import Job, JobClient
from sidelane.tasks.placeholders import BATCH
from sidelane.tasks.task import Call, Task

R = TypeVar("R")

CHUNK_SIZE = 500
"""Number of calls that are prepared and submitted to the store before other tasks of the event loop may run."""

MAX_ID_LENGTH = 100
"""Maximum characters of a batch's id. The ids of jobs that follow a batch begin with the id of the batch."""


def raise_if_rejected(answer: Submission | Rejection, user: str | None) -> Submission:
    """Return the job of a user's submit.

    Raises `LimitReached`, `QueueFull` or `JobRefused`. Raises `JobConflict` if it conflicts with another job,
    also if its id is that of another user's job.
    """
    if isinstance(answer, Rejection):
        raise rejection_error(answer)
    if not answer.created and answer.record.spec.user != user:
        raise JobConflict("The id of this job is taken.")
    return answer


def rejection_error(rejection: Rejection) -> JobRefused:
    """Return the error that the caller gets for a rejection."""
    problem = rejection.problem
    match problem.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return LimitReached(problem, rejection.reached, rejection.retry_after)
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return QueueFull(problem, rejection.retry_after)
        case HTTPStatus.CONFLICT:
            return JobConflict(problem)
        case _:
            return JobRefused(problem)


def batch_spec(
    then: Call[Any] | Sequence[Call[Any]],
    *,
    batch_id: str | None,
    user: str | None,
    retention: Duration | None,
    trace: str | None,
    settings: Settings,
) -> BatchSpec:
    """Return everything that the store must know about a batch. Raises `ArgumentsError` or `PayloadTooLarge`."""
    Options(id=batch_id, user=user, then=then)  # it checks them
    batch_id = batch_id or new_id()
    if len(batch_id) > MAX_ID_LENGTH:
        raise ArgumentsError(f"id={batch_id!r}: the id of a batch has at most {MAX_ID_LENGTH} characters.")
    kept = to_seconds(settings.retention if retention is None else retention)
    if not is_duration(kept):
        raise ArgumentsError(f"retention={retention}: this is a number of seconds, not below 0.")
    next_calls = (then,) if isinstance(then, Call) else then
    templates = [call.template(user=user, trace=trace, source=BATCH + batch_id) for call in next_calls]
    if any(map(mentions_files, templates)):
        raise ArgumentsError("A call that follows a batch cannot take a file: no job of the batch references it.")
    texts = "".join(text for template in templates for text in texts_of(template))
    check_size(texts, settings.payload_limit, "What follows the batch")
    follow_ups = tuple(FollowUp(FINISHED, template) for template in templates)
    return BatchSpec(id=batch_id, user=user, retention=kept, follow_ups=follow_ups)


async def submit_batch(
    batch: BatchSpec, calls: Iterable[Call[R]], tracker: FileReferenceTracker, client: JobClient, trace: str | None
) -> Batch[R]:
    """Submit calls as the jobs of a batch, and seal it. Every call is checked before the first is submitted.

    Raises `ArgumentsError`, `PayloadTooLarge` or `StoreUnavailable`, and `JobConflict` if the batch is another user's. If every
    call is rejected, the first rejection is raised. The batch is then not sealed, and never ends.
    """
    tasks: list[Task[..., Any, R]] = []
    specs: list[JobSpec] = []
    for each in calls:
        call = each if batch.user is None or each.options.user else each.with_options(user=batch.user)
        tasks.append(call.task)
        specs.append(call.spec(batch=batch.id, trace=trace))
        if len(specs) % CHUNK_SIZE == 0:
            await asyncio.sleep(0)
    store = tracker.store
    opened = await store.open_batch(batch)
    if opened.spec.user != batch.user:
        raise JobConflict("The id of this batch is taken.")
    jobs: list[Job[R] | None] = []
    rejected: list[RejectedCall] = []
    for start in range(0, len(specs), CHUNK_SIZE):
        chunk = specs[start : start + CHUNK_SIZE]
        for spec, answer in zip(chunk, await tracker.submit(chunk), strict=True):
            try:
                found = raise_if_rejected(answer, spec.user)
            except JobRefused as error:
                rejected.append(RejectedCall(len(jobs), error))
                jobs.append(None)
            else:
                decode = tasks[len(jobs)].decode_result
                jobs.append(Job(found.record.id, client, decode, found.created))
    if rejected and len(rejected) == len(jobs):
        raise rejected[0].error
    await store.seal_batch(batch.id)
    return Batch(batch.id, store, tuple(jobs), tuple(rejected))
