"""JSON documents of what the store keeps, for `--json`. Times are ISO 8601 in UTC, durations seconds."""

import json
from datetime import UTC, datetime
from typing import Any

from sidelane.model.event import Event
from sidelane.model.job import Failure, JobRecord
from sidelane.model.worker import WorkerInfo

Document = dict[str, Any]


def job_document(record: JobRecord) -> Document:
    """Everything about a job but its log. What is empty is null, so that every job has the same members."""
    spec = record.spec
    return {
        "id": record.id,
        "state": str(record.state),
        "cancelling": record.cancelling,
        "task": spec.task,
        "version": spec.version,
        "queue": spec.queue,
        "user": spec.user,
        "priority": spec.priority,
        "key": spec.key,
        "unique": spec.unique,
        "labels": dict(spec.labels),
        "parent": spec.parent,
        "trace": spec.trace,
        "arguments": parsed(spec.arguments),
        "submitted": time_text(record.submitted),
        "due": time_text(record.due),
        "started": time_text(record.started),
        "ended": time_text(record.ended),
        "attempt": record.attempt,
        "failures": record.failures,
        "losses": record.losses,
        "worker": record.worker,
        "events": record.last,
        "progress": parsed(record.progress),
        "result": parsed(record.result),
        "problem": record.problem.document() if record.problem else None,
    }


def failure_document(failure: Failure) -> Document:
    """One attempt's failure, as operators may see it."""
    return {
        "attempt": failure.attempt,
        "at": time_text(failure.at),
        "problem": failure.problem.document(),
        "error": failure.error,
        "traceback": failure.traceback,
    }


def worker_document(worker: WorkerInfo) -> Document:
    """One live worker."""
    return {
        "id": worker.id,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "health": worker.health,
        "slots": worker.slots,
        "running": worker.running,
        "queues": dict(worker.queues),
        "tasks": dict(worker.tasks),
        "started": time_text(worker.started),
    }


def event_document(event: Event) -> Document:
    """One event of a job's log."""
    return {"number": event.number, "at": time_text(event.at), "event": event.name, "data": parsed(event.data)}


def parsed(text: str | None) -> Any:
    """Read JSON text that a store keeps."""
    return None if text is None else json.loads(text)


def time_text(at: float | None) -> str | None:
    """Write a time as ISO 8601."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
