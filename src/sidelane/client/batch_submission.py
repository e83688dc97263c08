"""Filling a batch: every call is checked before the first is submitted, and a last step seals it."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sidelane.client.batch import Batch, RejectedCall
from sidelane.client.file_references import FileReferenceTracker, mentions_files
from sidelane.client.submission import raise_if_rejected
from sidelane.model.batch import BatchSpec
from sidelane.model.codec import check_size
from sidelane.model.errors import ArgumentsError, JobConflict, JobRefused
from sidelane.model.ids import new_id
from sidelane.model.job import FINISHED, FollowUp, JobSpec
from sidelane.model.options import Options
from sidelane.model.settings import Settings
from sidelane.tasks.job import Job, OpenLane
from sidelane.tasks.placeholders import BATCH
from sidelane.tasks.task import Call, Task, ensure_call

R = TypeVar("R")

CHUNK_SIZE = 500
"""How many calls are made ready, and given to the store, at one go: others have their turn in between."""

MAX_ID_LENGTH = 100
"""Characters; the jobs that a batch's end submits have ids that begin with its own."""


def batch_spec(
    then: Call[Any] | Sequence[Call[Any]],
    *,
    batch_id: str | None,
    user: str | None,
    retention: float | None,
    trace: str | None,
    settings: Settings,
) -> BatchSpec:
    """Say everything the store must know of a batch. Raises `ArgumentsError`, `PayloadTooLarge`."""
    Options(id=batch_id, user=user, then=then)  # it checks them
    batch_id = batch_id or new_id()
    if len(batch_id) > MAX_ID_LENGTH:
        raise ArgumentsError(f"id={batch_id!r}: the id of a batch has at most {MAX_ID_LENGTH} characters.")
    retention = settings.retention if retention is None else retention
    if not (retention >= 0 and math.isfinite(retention)):
        raise ArgumentsError(f"retention={retention}: this is a number of seconds, not below 0.")
    following = (then,) if isinstance(then, Call) else then
    templates = [call.template(user=user, trace=trace, source=BATCH + batch_id) for call in following]
    if any(map(mentions_files, templates)):
        raise ArgumentsError("What follows a batch takes no file: no job of the batch would hold it.")
    check_size("".join(map(_arguments, templates)), settings.payload_limit, "What follows the batch")
    follow_ups = tuple(FollowUp(FINISHED, template) for template in templates)
    return BatchSpec(id=batch_id, user=user, retention=retention, follow_ups=follow_ups)


async def submit_batch(
    batch: BatchSpec, calls: Iterable[Call[R]], holding: FileReferenceTracker, lane: OpenLane, trace: str | None
) -> Batch[R]:
    """Submit calls as the jobs of a batch, and seal it.

    Raises `ArgumentsError`, `PayloadTooLarge`, `JobConflict` where the batch is somebody else's, `StoreUnavailable`, and what the
    first call was refused for where all were: the batch is not sealed then, and its end never comes.
    """
    tasks: list[Task[..., Any, R]] = []
    specs: list[JobSpec] = []
    for call in map(ensure_call, calls):
        theirs = call if batch.user is None or call.options.user else call.with_options(user=batch.user)
        tasks.append(theirs.task)
        specs.append(theirs.spec(batch=batch.id, trace=trace))
        if len(specs) % CHUNK_SIZE == 0:
            await asyncio.sleep(0)
    store = holding.store
    opened = await store.open_batch(batch)
    if opened.spec.user != batch.user:
        raise JobConflict("The id of this batch is taken.")
    jobs: list[Job[R] | None] = []
    refused: list[RejectedCall] = []
    for start in range(0, len(specs), CHUNK_SIZE):
        piece = specs[start : start + CHUNK_SIZE]
        for spec, answer in zip(piece, await holding.submit(piece), strict=True):
            try:
                found = raise_if_rejected(answer, spec.user)
            except JobRefused as error:
                refused.append(RejectedCall(len(jobs), error))
                jobs.append(None)
            else:
                decode = tasks[len(jobs)].decode_result
                jobs.append(Job(found.record.id, lane, decode, found.created))
    if refused and len(refused) == len(jobs):
        raise refused[0].error
    await store.seal_batch(batch.id)
    return Batch(batch.id, store, tuple(jobs), tuple(refused))


def _arguments(spec: JobSpec) -> str:
    return spec.arguments + "".join(_arguments(follow_up.spec) for follow_up in spec.follow_ups)
