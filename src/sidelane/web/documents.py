"""Schemas of the JSON that clients see: job and batch documents, and the data of events.

The table of events is published and frozen: members are added, never changed or removed.

| event | id | data | when |
|---|---|---|---|
| `job` | no | `JobDocument` | first in every stream: the job's current state |
| `attempt` | yes | `AttemptData` | the job starts over; discard earlier output |
| `progress` | yes | `ProgressData` | the task reports progress |
| `token` | yes | `TokenData` | a piece of generated text |
| any other | yes | the task's own | the task emitted it |
| `gap` | no | `GapData` | the cursor is no longer in the log: the log follows from its beginning |
| `gap` | yes | `GapData`, with `missing` | that many events were lost at this place |
| `truncated` | yes | `TruncatedData` | the log is full: only its end follows |
| `end` | yes | `EndData` | once, and last: how the job ended |

The stream of a batch has two events, without ids: `batch`, a `BatchDocument`, first and after every change, and `end`, last.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sidelane.model.batch import BatchRecord
from sidelane.model.event import ATTEMPT, END, GAP, JOB, PROGRESS, TOKEN, TRUNCATED
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import QueuePosition
from sidelane.web.problems import ProblemDocument

# --- jobs -------------------------------------------------------------------------------------------------------------


class Links(BaseModel):
    """Related URLs. `events` may contain a token, for clients that cannot send headers."""

    model_config = ConfigDict(populate_by_name=True)

    self_: str = Field(alias="self", description="This document, up to date.")
    events: str = Field(description="The job's events: an event stream, or a WebSocket.")
    result: str = Field(description="The result, once the job has finished.")
    cancel: str | None = Field(None, description="POST here to cancel; null once the job has finished.")


class Progress(BaseModel):
    """A job's progress, as its task reports it."""

    percent: float = Field(ge=0, le=100)
    message: str = ""


class JobDocument(BaseModel):
    """A job, as its submitter sees it."""

    id: str
    task: str
    state: State
    attempt: int = Field(description="How many times it has been started.")
    cancelling: bool = Field(False, description="Whether it is running and was asked to stop.")
    position: int | None = Field(None, description="How many jobs are ahead of it while it is ready, at most 1,000.")
    estimated_wait: float | None = Field(
        None, description="Seconds until it may start, by its queue's throughput; null if unknown."
    )
    waiting_for_limit: str | None = Field(
        None, description="The name of the limit that it waits for; it has no position meanwhile."
    )
    has_worker: bool | None = Field(None, description="While it is queued: whether a live worker can run it.")
    progress: Progress | None = None
    submitted: datetime
    started: datetime | None = None
    ended: datetime | None = None
    problem: ProblemDocument | None = Field(None, description="Why it failed.")
    links: Links


def job_document(
    record: JobRecord, links: Links, *, position: QueuePosition | None = None, has_worker: bool | None = None
) -> JobDocument:
    """Return the document of a job."""
    return JobDocument(
        id=record.id,
        task=record.spec.task,
        state=record.state,
        attempt=record.attempt,
        cancelling=record.cancel_requested,
        position=None if position is None else position.before,
        estimated_wait=None if position is None or position.wait is None else round(position.wait, 1),
        waiting_for_limit=_limit_name(record),
        has_worker=has_worker,
        progress=Progress(**json.loads(record.progress)) if record.progress else None,
        submitted=_datetime(record.submitted),
        started=None if record.started is None else _datetime(record.started),
        ended=None if record.ended is None else _datetime(record.ended),
        problem=ProblemDocument(**record.problem.document()) if record.problem else None,
        links=links,
    )


def _limit_name(record: JobRecord) -> str | None:
    """Return the name of the limit that a job waits for, without its key, which may be confidential."""
    return next((limit.name for limit in record.spec.limits if limit.id == record.waiting_for_limit), None)


# --- batches ----------------------------------------------------------------------------------------------------------


class BatchLinks(BaseModel):
    """Related URLs. `events` may contain a token, for clients that cannot send headers."""

    model_config = ConfigDict(populate_by_name=True)

    self_: str = Field(alias="self", description="This document, up to date.")
    events: str = Field(description="The batch's events: an event stream.")
    jobs: str = Field(description="The jobs of the batch, newest first.")
    cancel: str | None = Field(None, description="POST here to cancel its jobs; null once the batch has ended.")


class BatchCounts(BaseModel):
    """How many jobs a batch has, by state."""

    total: int
    unfinished: int
    succeeded: int
    failed: int
    cancelled: int


class RefusedCall(BaseModel):
    """A call that did not become a job of the batch."""

    index: int = Field(description="Its index among the calls, from 0.")
    problem: ProblemDocument


class BatchDocument(BaseModel):
    """A batch, as its submitter sees it."""

    id: str
    state: State = Field(
        description="running until all its jobs have ended; then succeeded if all of them succeeded, else failed."
    )
    sealed: bool = Field(description="Whether all its jobs were submitted; it does not end before that.")
    counts: BatchCounts
    submitted: datetime
    ended: datetime | None = None
    refused: list[RefusedCall] = Field(
        default_factory=list, description="In the answer to the submit: the calls that did not become jobs."
    )
    links: BatchLinks


class JobPage(BaseModel):
    """A page of a batch's jobs, newest first, without their positions."""

    jobs: list[JobDocument]
    next: str | None = Field(None, description="The next page, with older jobs.")


def batch_document(record: BatchRecord, links: BatchLinks, refused: Sequence[RefusedCall] = ()) -> BatchDocument:
    """Return the document of a batch."""
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
        submitted=_datetime(record.submitted),
        ended=None if record.ended is None else _datetime(record.ended),
        refused=list(refused),
        links=links,
    )


def _datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- events -----------------------------------------------------------------------------------------------------------


class EventData(BaseModel):
    """The data of an event. Readers ignore members they do not know."""

    model_config = ConfigDict(extra="allow")


class AttemptData(EventData):
    """The job starts over."""

    attempt: int = Field(ge=2, description="The number of the attempt that begins.")


class ProgressData(EventData):
    """The task's progress."""

    percent: float = Field(ge=0, le=100)
    message: str


class TokenData(EventData):
    """A piece of generated text."""

    text: str


class GapData(EventData):
    """Without `missing`, the cursor is no longer in the log, and the log follows from its beginning."""

    missing: int | None = Field(None, ge=1, description="How many events were lost at this place.")


class TruncatedData(EventData):
    """The log is full. Later events are dropped, except its end."""


class EndData(EventData):
    """How the job ended: with `result` if it succeeded, with `problem` if it failed. A batch has neither."""

    id: str
    state: State
    result: Any = None
    problem: ProblemDocument | None = None


BATCH = "batch"

JOB_EVENTS: dict[str, type[BaseModel]] = {
    JOB: JobDocument,
    ATTEMPT: AttemptData,
    PROGRESS: ProgressData,
    TOKEN: TokenData,
    GAP: GapData,
    TRUNCATED: TruncatedData,
    END: EndData,
}


def event_schemas() -> dict[str, Any]:
    """Return the JSON Schema of each event's data, by event name."""
    events: dict[str, type[BaseModel]] = {**JOB_EVENTS, BATCH: BatchDocument}
    return {name: model.model_json_schema(mode="serialization", by_alias=True) for name, model in events.items()}
