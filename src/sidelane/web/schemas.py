"""The JSON a client sees of a job and of a batch."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from sidelane.model.batch import BatchRecord
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import QueuePosition
from sidelane.web.problems import ProblemDocument


class Links(BaseModel):
    """Where to look next. `events` may carry a token of its own, for clients that cannot send headers."""

    model_config = ConfigDict(populate_by_name=True)

    self_: str = Field(alias="self", description="This document, up to date.")
    events: str = Field(description="The job's events: an event stream, or a WebSocket.")
    result: str = Field(description="The result, once there is one.")
    cancel: str | None = Field(None, description="POST here to cancel; absent once the job has finished.")


class Progress(BaseModel):
    """How far a job says it is."""

    percent: float = Field(ge=0, le=100)
    message: str = ""


class JobDocument(BaseModel):
    """One job as its submitter sees it."""

    id: str
    task: str
    state: State
    attempt: int = Field(description="How often it has been started.")
    cancelling: bool = Field(False, description="It runs and has been asked to stop.")
    position: int | None = Field(
        None, description="How many jobs stand before it, while it is ready; counted up to 1,000."
    )
    estimated_wait: float | None = Field(
        None, description="In how many seconds it may start, as fast as its queue moves; null where nobody can say."
    )
    waiting_for_limit: str | None = Field(None, description="The limit it waits at; it holds no position then.")
    has_worker: bool | None = Field(None, description="Whether a live worker would run it, while it is queued.")
    progress: Progress | None = None
    submitted: datetime
    started: datetime | None = None
    ended: datetime | None = None
    problem: ProblemDocument | None = Field(None, description="Why it failed.")
    links: Links


class BatchLinks(BaseModel):
    """Where to look next. `events` may carry a token of its own, for clients that cannot send headers."""

    model_config = ConfigDict(populate_by_name=True)

    self_: str = Field(alias="self", description="This document, up to date.")
    events: str = Field(description="The batch's events: an event stream.")
    jobs: str = Field(description="The jobs of the batch, newest first.")
    cancel: str | None = Field(None, description="POST here to cancel its jobs; null once the batch has ended.")


class BatchCounts(BaseModel):
    """How many jobs a batch has, and what has become of them."""

    total: int
    unfinished: int
    succeeded: int
    failed: int
    cancelled: int


class RefusedCall(BaseModel):
    """A call that did not become a job of the batch."""

    index: int = Field(description="Its place among the calls, from 0.")
    problem: ProblemDocument


class BatchDocument(BaseModel):
    """One batch as its submitter sees it."""

    id: str
    state: State = Field(
        description="running until all its jobs have ended; then succeeded where each of them has, else failed."
    )
    sealed: bool = Field(description="Whether it takes no more jobs; before that it does not end.")
    counts: BatchCounts
    submitted: datetime
    ended: datetime | None = None
    refused: list[RefusedCall] = Field(
        default_factory=list, description="In the answer to the submit: the calls that did not become jobs."
    )
    links: BatchLinks


class JobPage(BaseModel):
    """Some jobs of a batch, newest first, without their positions."""

    jobs: list[JobDocument]
    next: str | None = Field(None, description="Where the older ones are.")


def job_document(
    record: JobRecord, links: Links, *, place: QueuePosition | None = None, has_worker: bool | None = None
) -> JobDocument:
    """Show a job to its submitter."""
    return JobDocument(
        id=record.id,
        task=record.spec.task,
        state=record.state,
        attempt=record.attempt,
        cancelling=record.cancel_requested,
        position=None if place is None else place.before,
        estimated_wait=None if place is None or place.wait is None else round(place.wait, 1),
        waiting_for_limit=_parked(record),
        has_worker=has_worker,
        progress=Progress(**json.loads(record.progress)) if record.progress else None,
        submitted=_time(record.submitted),
        started=None if record.started is None else _time(record.started),
        ended=None if record.ended is None else _time(record.ended),
        problem=ProblemDocument(**record.problem.document()) if record.problem else None,
        links=links,
    )


def batch_document(record: BatchRecord, links: BatchLinks, refused: Sequence[RefusedCall] = ()) -> BatchDocument:
    """Show a batch to its submitter."""
    return BatchDocument(
        id=record.id,
        state=record.state,
        sealed=record.sealed,
        counts=BatchCounts(
            total=record.total,
            unfinished=record.unfinished,
            succeeded=record.succeeded,
            failed=record.failed,
            cancelled=record.cancelled,
        ),
        submitted=_time(record.submitted),
        ended=None if record.ended is None else _time(record.ended),
        refused=list(refused),
        links=links,
    )


def _parked(record: JobRecord) -> str | None:
    """Name the limit a job waits at, without whom it counts for."""
    return next((limit.name for limit in record.spec.limits if limit.id == record.waiting_for_limit), None)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
