"""Arguments that are filled in when a job starts: what its parent, or its batch, has come to by then."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidelane.model.batch import BatchRecord
from sidelane.model.codec import Codec
from sidelane.model.errors import ArgumentsMismatch, PermanentFailure, RetryLater, StoreUnavailable
from sidelane.model.job import JobRecord, JobSpec, State, Tombstone
from sidelane.model.problem import Problem
from sidelane.stores.contract import Store

RESULT_OF_PARENT = "result"
FAILURE_OF_PARENT = "failure"
BATCH = "batch:"
"""Where an argument comes from, as `JobSpec.given` says it; the id of a batch follows its word."""

RETRY_DELAY = 1.0
"""Seconds after which a job whose arguments could not be looked up starts again."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that stands, in a call, for an argument that is not known before the call's job starts."""

    source: str

    def __repr__(self) -> str:
        return self.source.upper()


PREVIOUS_RESULT: Any = Placeholder(RESULT_OF_PARENT)
"""In a call that follows another (`then=`): the result of that other job. In one that follows a batch: its `BatchEnd`."""

PREVIOUS_FAILURE: Any = Placeholder(FAILURE_OF_PARENT)
"""In a call that follows a failure (`on_failure=`): how the other job ended, as `Ended`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedJob:
    """How a job ended, as what follows it is told. `problem` is its problem document; `error` is for operators only.

    `at` is when it ended (seconds since 1970). `progress` is the newest it said: a callback told of that finds the job running.
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
    arguments: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    progress: dict[str, Any] | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedBatch:
    """How a batch ended, as a task that follows it is told: "succeeded" when all its jobs did, else "failed"."""

    id: str
    state: State
    total: int
    succeeded: int
    failed: int
    cancelled: int
    user: str | None = None


_ENDED: Codec[FinishedJob] = Codec(FinishedJob)
_BATCH_END: Codec[FinishedBatch] = Codec(FinishedBatch)


async def resolve_arguments(spec: JobSpec, store: Store, fits: Callable[[str], object]) -> str:
    """Give a job's arguments with those that are filled in at its start; `fits` raises `ArgumentsDoNotFit` where they do not.

    Raises that error with a word on where they come from, `GiveUp` where they are not to be had any more, and `TryLater` while
    the store is away.
    """
    try:
        found = {source: await _found(source, spec, store) for source in set(spec.placeholders.values())}
    except StoreUnavailable as error:
        raise RetryLater(RETRY_DELAY) from error
    text = _merged(spec.arguments, {name: found[source].text for name, source in spec.placeholders.items()})
    try:
        fits(text)
    except ArgumentsMismatch as error:
        sources = "; ".join(f"{name} is {found[source].what}" for name, source in spec.placeholders.items())
        raise ArgumentsMismatch(f"{error} ({sources})") from error
    return text


@dataclass(frozen=True, slots=True)
class _Found:
    """The JSON text of an argument, and in words what it is."""

    text: str
    what: str


def _merged(arguments: str, given: Mapping[str, str]) -> str:
    """Add arguments to a JSON object; what is there already (an operator gave it) stays."""
    return json.dumps({**{name: json.loads(text) for name, text in given.items()}, **json.loads(arguments)})


async def _found(source: str, spec: JobSpec, store: Store) -> _Found:
    if source.startswith(BATCH):
        return _of_batch(source.removeprefix(BATCH), await store.get_batch(source.removeprefix(BATCH)))
    (parent,) = await store.get([spec.parent]) if spec.parent else (None,)
    if parent is None or isinstance(parent, Tombstone):
        raise _missing(f"The job {spec.parent} that this one follows is gone, and what it came to with it.")
    if source == RESULT_OF_PARENT and parent.state is State.SUCCEEDED:
        return _Found(parent.result or "null", f"the result of task {parent.spec.task!r}, job {parent.id}")
    if source == FAILURE_OF_PARENT and parent.state is State.FAILED:
        return _Found(_ENDED.encode(finished_job(parent)), f"how task {parent.spec.task!r} failed, job {parent.id}")
    raise _missing(
        f"The job {spec.parent} that this one follows is {parent.state} by now: it was brought back meanwhile."
    )


def finished_job(job: JobRecord) -> FinishedJob:
    """Say how a job ended, or how far it is."""
    spec, last = job.spec, job.history[-1] if job.history else None
    return FinishedJob(
        id=spec.id, task=spec.task, queue=spec.queue, user=spec.user, key=spec.key, labels=dict(spec.labels),
        state=job.state, attempts=job.attempt, problem=job.problem.document() if job.problem else None,
        error=last.error if last else "", arguments=json.loads(spec.arguments),
        result=None if job.result is None else json.loads(job.result),
        progress=None if job.progress is None else json.loads(job.progress), at=job.ended or 0.0,
    )  # fmt: skip


def _of_batch(batch_id: str, batch: BatchRecord | None) -> _Found:
    if batch is None or batch.ended is None:
        raise _missing(f"The batch {batch_id} that this job follows is gone, or was opened again.")
    end = FinishedBatch(
        id=batch.id, user=batch.spec.user, state=batch.state, total=batch.total, succeeded=batch.succeeded,
        failed=batch.failed, cancelled=batch.cancelled,
    )  # fmt: skip
    return _Found(_BATCH_END.encode(end), f"how batch {batch_id} ended")


def _missing(detail: str) -> PermanentFailure:
    return PermanentFailure(Problem(status=409, title="Nothing to follow", detail=detail))
