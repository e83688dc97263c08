"""The JSON a client sees of a job."""

import json
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from sidelane.model.job import JobRecord, State
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
    served: bool | None = Field(None, description="Whether a live worker would run it, while it is queued.")
    progress: Progress | None = None
    submitted: datetime
    started: datetime | None = None
    ended: datetime | None = None
    problem: ProblemDocument | None = Field(None, description="Why it failed.")
    links: Links


def job_document(
    record: JobRecord, links: Links, *, position: int | None = None, served: bool | None = None
) -> JobDocument:
    """Show a job to its submitter."""
    return JobDocument(
        id=record.id,
        task=record.spec.task,
        state=record.state,
        attempt=record.attempt,
        cancelling=record.cancelling,
        position=position,
        served=served,
        progress=Progress(**json.loads(record.progress)) if record.progress else None,
        submitted=_time(record.submitted),
        started=None if record.started is None else _time(record.started),
        ended=None if record.ended is None else _time(record.ended),
        problem=ProblemDocument(**record.problem.document()) if record.problem else None,
        links=links,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
