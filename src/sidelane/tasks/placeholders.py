"""Placeholders: arguments that are filled in when a job starts, from the end of its parent or its batch."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator

from sidelane.model.batch import BatchRecord
from sidelane.model.codec import Codec
from sidelane.model.errors import ArgumentsMismatch, PermanentFailure, RetryLater, StoreUnavailable
from sidelane.model.job import JobRecord, JobSpec, State, Tombstone
from sidelane.model.json_text import dump_json
from sidelane.model.problem import Problem
from sidelane.stores.contract import Store
from sidelane.tasks.finished_arguments import validated_arguments

RESULT_OF_PARENT = "result"
FAILURE_OF_PARENT = "failure"
BATCH = "batch:"
"""The sources of an argument in `JobSpec.placeholders`. `BATCH` is followed by the id of the batch."""

RETRY_DELAY = 1.0
"""Seconds after which a job is run again if its arguments could not be read from the store."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value in place of an argument that is not known before the call's job starts."""

    source: str

    def __repr__(self) -> str:
        return f"PREVIOUS_{self.source.upper()}"


PREVIOUS_RESULT: Any = Placeholder(RESULT_OF_PARENT)
"""Placeholder in a call of `then=`, which stands for the preceding job's result, or for the preceding batch's `FinishedBatch`."""

PREVIOUS_FAILURE: Any = Placeholder(FAILURE_OF_PARENT)
"""Placeholder in a call of `on_failure=`, which stands for the preceding job as a `FinishedJob`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedJob:
    """A job that has ended, as follow-ups and callbacks get it. `problem` is its problem document, and `error` is only for
    operators.

    `arguments` are JSON by parameter name. An object is read by the names in JSON or those of its type's fields. The attributes of
    an object are those of its type: `job.arguments["feedback"].member_id`.

    `at` is the time of the end (seconds since 1970). `progress` is the newest progress; in a callback of progress the job is still
    running.
    """

    id: str
    task: str
    queue: str
    state: State
    attempts: int
    user: str | None = None
    key: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    problem: dict[str, Any] | None = None
    error: str = ""
    arguments: Annotated[dict[str, Any], AfterValidator(validated_arguments)] = field(default_factory=dict)
    result: Any = None
    progress: dict[str, Any] | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedBatch:
    """A batch that has ended, as follow-ups get it.

    The `state` is "succeeded" if all jobs of the batch succeeded, else "failed".
    """

    id: str
    state: State
    total: int
    succeeded: int
    failed: int
    cancelled: int
    user: str | None = None


_FINISHED_JOB: Codec[FinishedJob] = Codec(FinishedJob)
_FINISHED_BATCH: Codec[FinishedBatch] = Codec(FinishedBatch)


async def resolve_arguments(spec: JobSpec, store: Store, check: Callable[[str], object]) -> str:
    """Return a job's arguments with its placeholders replaced. `check` raises `ArgumentsMismatch` if the arguments do not match the
    task.

    Raises `ArgumentsMismatch` with the sources added if `check` raises it, `PermanentFailure` if the parent or batch was removed,
    and `RetryLater` while the store is unavailable.
    """
    try:
        values = {source: await _resolve(source, spec, store) for source in set(spec.placeholders.values())}
    except StoreUnavailable as error:
        raise RetryLater(RETRY_DELAY) from error
    text = _merge(spec.arguments, {name: values[source].text for name, source in spec.placeholders.items()})
    try:
        check(text)
    except ArgumentsMismatch as error:
        sources = "; ".join(f"{name} is {values[source].description}" for name, source in spec.placeholders.items())
        raise ArgumentsMismatch(f"{error} ({sources})") from error
    return text


@dataclass(frozen=True, slots=True)
class _ResolvedArgument:
    """The JSON text of an argument, and a description for errors."""

    text: str
    description: str


def _merge(arguments: str, resolved: Mapping[str, str]) -> str:
    """Return a JSON object with arguments added. Members that are there already stay, because an operator has set them."""
    return dump_json({**{name: json.loads(text) for name, text in resolved.items()}, **json.loads(arguments)})


async def _resolve(source: str, spec: JobSpec, store: Store) -> _ResolvedArgument:
    if source.startswith(BATCH):
        return _finished_batch(source.removeprefix(BATCH), await store.get_batch(source.removeprefix(BATCH)))
    (parent,) = await store.get([spec.parent]) if spec.parent else (None,)
    if parent is None or isinstance(parent, Tombstone):
        raise _missing(f"The parent job {spec.parent} was removed, so its result is no longer available.")
    if source == RESULT_OF_PARENT and parent.state is State.SUCCEEDED:
        return _ResolvedArgument(parent.result or "null", f"the result of task {parent.spec.task!r}, job {parent.id}")
    if source == FAILURE_OF_PARENT and parent.state is State.FAILED:
        return _ResolvedArgument(
            _FINISHED_JOB.encode(finished_job(parent)), f"how task {parent.spec.task!r} failed, job {parent.id}"
        )
    raise _missing(f"The parent job {spec.parent} is {parent.state} by now: it was requeued meanwhile.")


def finished_job(job: JobRecord) -> FinishedJob:
    """Return how a job ended, or its progress so far."""
    spec, failure = job.spec, job.history[-1] if job.history else None
    return FinishedJob(
        id=spec.id, task=spec.task, queue=spec.queue, user=spec.user, key=spec.key, labels=dict(spec.labels),
        state=job.state, attempts=job.attempt, problem=job.problem.document() if job.problem else None,
        error=failure.error if failure else "", arguments=json.loads(spec.arguments),
        result=None if job.result is None else json.loads(job.result),
        progress=None if job.progress is None else json.loads(job.progress), at=job.ended or 0.0,
    )  # fmt: skip


def _finished_batch(batch_id: str, batch: BatchRecord | None) -> _ResolvedArgument:
    if batch is None or batch.ended is None:
        raise _missing(f"The batch {batch_id} that this job follows was removed, or reopened by a requeue.")
    end = FinishedBatch(
        id=batch.id, user=batch.spec.user, state=batch.state, total=batch.total, succeeded=batch.succeeded,
        failed=batch.failed, cancelled=batch.cancelled,
    )  # fmt: skip
    return _ResolvedArgument(_FINISHED_BATCH.encode(end), f"how batch {batch_id} ended")


def _missing(detail: str) -> PermanentFailure:
    return PermanentFailure(Problem(status=409, title="Nothing to follow", detail=detail))
