"""What receivers are told of a job: one document, in a webhook's body and in a message."""

import json
from datetime import UTC, datetime
from typing import Any

from sidelane.model.job import JobRecord, State

PROGRESS = "progress"


def event_of(job: JobRecord) -> str:
    """Name what is told of a job as it is: "succeeded", "failed", "cancelled", or "progress" while it has not ended."""
    return str(job.state) if job.state.finished else PROGRESS


def job_payload(job: JobRecord) -> str:
    """Write what a receiver is told of a job, as JSON text; members that there are none of are left out.

    `result` is there where it succeeded, `problem` (RFC 9457) where it failed, `progress` while it runs. Nothing that is for
    operators alone is among them, nor are its user and its arguments.
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
    texts = {name: compact_json(value) for name, value in members.items() if value is not None}
    if job.state is State.SUCCEEDED:
        texts["result"] = job.result or "null"  # JSON text as it is: it may be large
    elif not job.state.finished and job.progress is not None:
        texts[PROGRESS] = job.progress
    return _object(texts)


def webhook_body(job: JobRecord, now: float) -> str:
    """Write the body of a webhook (Standard Webhooks 1.0): type, timestamp, data. `now` is the time of what has not ended."""
    at = now if job.ended is None else job.ended
    return _object(
        {"type": compact_json(f"job.{event_of(job)}"), "timestamp": compact_json(rfc3339(at)), "data": job_payload(job)}
    )  # fmt: skip


def rfc3339(at: float) -> str:
    """Write a time as RFC 3339 does."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def compact_json(value: object) -> str:
    """Write a value as short JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(texts: dict[str, str]) -> str:
    return "{" + ",".join(f"{compact_json(name)}:{text}" for name, text in texts.items()) + "}"
