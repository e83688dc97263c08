"""JSON documents of jobs, workers, queues and more, for operators. Times are ISO 8601 in UTC, durations seconds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sidelane.callbacks.status import CallbackRecord
from sidelane.model.batch import BatchRecord
from sidelane.model.codec import rfc3339
from sidelane.model.event import Event
from sidelane.model.history import NO_USAGE
from sidelane.model.job import Failure, FollowUp, JobRecord, Tombstone
from sidelane.model.schedule import ScheduleRecord
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo
from sidelane.tasks.internal_queues import without_internal

Document = dict[str, Any]


def job_document(record: JobRecord) -> Document:
    """Return a job without its log. Empty values are null, so that every job has the same members.

    `error` is the internal error of its last attempt, which only operators may see.
    """
    spec = record.spec
    return {
        "id": record.id,
        "state": str(record.state),
        "cancelling": record.cancel_requested,
        "task": spec.task,
        "version": spec.version,
        "queue": spec.queue,
        "user": spec.user,
        "priority": spec.priority,
        "key": spec.key,
        "unique": spec.unique,
        "labels": dict(spec.labels),
        "parent": spec.parent,
        "batch": spec.batch,
        "limits": [limit.id for limit in spec.limits],
        "waiting_for_limit": record.waiting_for_limit,
        "waiting_for_batch": record.waiting_for_batch,
        "trace": spec.trace,
        "arguments": parse_json(spec.arguments),
        "submitted": time_text(record.submitted),
        "due": time_text(record.due),
        "started": time_text(record.started),
        "ended": time_text(record.ended),
        "attempt": record.attempt,
        "failures": record.failures,
        "worker_losses": record.worker_losses,
        "isolated": record.isolated,
        "usage": None if record.usage == NO_USAGE else asdict(record.usage),
        "worker": record.worker,
        "events": record.last,
        "progress": parse_json(record.progress),
        "result": parse_json(record.result),
        "problem": record.problem.document() if record.problem else None,
        "error": record.last_failure.error if record.last_failure else None,
    }


def failure_document(failure: Failure) -> Document:
    """Return one attempt's failure with the internal error and traceback, which only operators may see."""
    return {
        "attempt": failure.attempt,
        "at": time_text(failure.at),
        "problem": failure.problem.document(),
        "error": failure.error,
        "traceback": failure.traceback,
    }


def worker_document(worker: WorkerInfo) -> Document:
    """Return the document of one live worker or API process."""
    return {
        "id": worker.id,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "health": worker.health,
        "slots": worker.slots,
        "running": worker.running,
        "memory": worker.memory,
        "cpu": worker.cpu,
        "kind": worker.kind,
        "release": worker.release or None,
        "loop_lag": round(worker.loop_lag, 3),
        "streams": worker.streams,
        "queues": without_internal(worker.queues),
        "tasks": without_internal(worker.tasks),
        "started": time_text(worker.started),
        "restartable": worker.restartable,
    }


def queue_document(queue: QueueStats, workers: Sequence[WorkerInfo]) -> Document:
    """Return one queue, with the names of its live workers. `rate` is in jobs started per second."""
    return {
        "name": queue.name,
        "paused": queue.paused,
        "ready": queue.ready,
        "waiting_for_limit": queue.waiting_for_limit,
        "waiting_for_batch": queue.waiting_for_batch,
        "delayed": queue.delayed,
        "running": queue.running,
        "oldest": queue.oldest,
        "rate": queue.rate,
        "workers": [worker.name for worker in workers if queue.name in worker.queues],
    }


def limit_document(limit: LimitStats) -> Document:
    """Return one limit in use. `available_in` is the number of seconds after which a rate limit admits the next job."""
    return {
        "id": limit.id,
        "used": limit.used,
        "max": limit.max,
        "waiting_for_limit": limit.waiting,
        "available_in": limit.available_in,
    }


def schedule_document(record: ScheduleRecord, next_run: float | None) -> Document:
    """Return one schedule. `next_run` is in seconds since 1970."""
    schedule = record.schedule
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "every": schedule.every,
        "timezone": schedule.timezone,
        "task": schedule.spec.task,
        "queue": schedule.spec.queue,
        "arguments": parse_json(schedule.spec.arguments),
        "catch_up": schedule.catch_up,
        "enabled": record.enabled,
        "last": time_text(record.last) if record.job else None,
        "next": time_text(next_run),
        "job": record.job,
    }


def batch_document(batch: BatchRecord) -> Document:
    """Return the document of one batch, with its counts."""
    return {
        "id": batch.id,
        "state": str(batch.state),
        "sealed": batch.sealed,
        "paused": batch.paused,
        "user": batch.spec.user,
        "total": batch.total,
        "unfinished": batch.unfinished,
        "succeeded": batch.succeeded,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        "submitted": time_text(batch.submitted),
        "ended": time_text(batch.ended),
        "retention": batch.spec.retention,
    }


def follow_up_document(follow_up: FollowUp) -> Document:
    """Return a job that is submitted when another job or a batch ends in one of these states."""
    return {
        "on": sorted(follow_up.on),
        "task": follow_up.spec.task,
        "queue": follow_up.spec.queue,
        "placeholders": dict(follow_up.spec.placeholders),
    }


def callback_document(record: CallbackRecord) -> Document:
    """Return one callback of a job. `id` and `state` are null until the job has ended."""
    return {
        "id": record.id,
        "state": None if record.state is None else str(record.state),
        "to": record.to,
        "on": record.on,
        "progress": record.progress,
        "attempts": record.attempts,
        "status": record.status,
        "problem": record.problem or None,
        "next_try": time_text(record.next_try),
        "ended": time_text(record.ended),
    }


def event_document(event: Event) -> Document:
    """Return one event of a job's log."""
    return {"number": event.number, "at": time_text(event.at), "event": event.name, "data": parse_json(event.data)}


def parse_json(text: str | None) -> Any:
    """Return the value of JSON text from a store."""
    return None if text is None else json.loads(text)


def time_text(at: float | None) -> str | None:
    """Return a time as RFC 3339."""
    return None if at is None else rfc3339(at)


def problem_text(document: Mapping[str, Any]) -> str:
    """Return a problem document on one line: its status, then its detail or title."""
    return f"{document['status']} {document.get('detail') or document['title']}"


def error_text(record: JobRecord) -> str:
    """Return why a job failed: the internal error of its last attempt, or its problem if it ended for another reason."""
    failure = record.last_failure
    if failure is not None and failure.error:
        return failure.error
    return "" if record.problem is None else problem_text(record.problem.document())


def unknown_job_text(tombstone: Tombstone | None) -> Sentence:
    """Return why a job cannot be shown."""
    return sentence("removed: its retention has expired" if tombstone is not None else "no such job")
