"""Callback payloads: one document about a job, as the body of a webhook and as the data of a CloudEvent."""

import time
from typing import Any

from sidelane.model.codec import rfc3339
from sidelane.model.job import JobRecord, State
from sidelane.model.json_text import dump_json
from sidelane.transports.cloudevents import CloudEvent

PROGRESS = "progress"


def event_name(job: JobRecord) -> str:
    """Return "succeeded", "failed", "cancelled", or "progress" for an unfinished job."""
    return str(job.state) if job.state.finished else PROGRESS


def job_payload(job: JobRecord) -> str:
    """Return the document about a job as JSON text, without empty members.

    The document has the `result` of a succeeded job, the `problem` (RFC 9457) of a failed job, or the `progress` of a running job.
    The document never contains the user, the arguments, or data that only operators may see.
    """
    spec = job.spec
    members: dict[str, Any] = {
        "id": spec.id,
        "task": spec.task,
        "state": job.state,
        "key": spec.key,
        "labels": dict(spec.labels),
        "attempts": job.attempt,
        "submitted": rfc3339(job.submitted),
        "started": None if job.started is None else rfc3339(job.started),
        "ended": None if job.ended is None else rfc3339(job.ended),
        "problem": job.problem.document() if job.problem and job.state is not State.SUCCEEDED else None,
    }
    texts = {name: dump_json(value) for name, value in members.items() if value is not None}
    if job.state is State.SUCCEEDED:
        texts["result"] = job.result or "null"  # JSON text, not parsed: it may be large
    elif not job.state.finished and job.progress is not None:
        texts[PROGRESS] = job.progress
    return _object(texts)


def webhook_body(job: JobRecord, now: float) -> str:
    """Return the body of a webhook (Standard Webhooks 1.0): type, timestamp, data. `now` is the timestamp of an unfinished job."""
    at = now if job.ended is None else job.ended
    return _object(
        {"type": dump_json(f"job.{event_name(job)}"), "timestamp": dump_json(rfc3339(at)), "data": job_payload(job)}
    )  # fmt: skip


def job_event(job: JobRecord, message_id: str, source: str, *, trace: str | None = None) -> CloudEvent:
    """Return a CloudEvent about a job. `source` is a URI reference of the sender. `trace` is by default that of the job."""
    return CloudEvent(
        id=message_id, source=source, type=f"sidelane.job.{event_name(job)}", subject=job.id,
        time=job.ended or time.time(), data=job_payload(job), traceparent=trace or job.spec.trace,
    )  # fmt: skip


def _object(texts: dict[str, str]) -> str:
    return "{" + ",".join(f"{dump_json(name)}:{text}" for name, text in texts.items()) + "}"
