"""Callback status: the callbacks of a job, and their redelivery."""

import json
from dataclasses import dataclass
from typing import Any

from sidelane.callbacks.url import parse_url
from sidelane.client.client import Client
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import JobRecord, JobSpec, Query, State
from sidelane.tasks.internal_queues import CALLBACK_TASK

MAX_CALLBACKS = 200
"""Maximum number of callbacks of one job that are looked up, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRecord:
    """One callback of a job. Times are seconds since 1970.

    `id` and `state` are those of the job that delivers the callback, and None until the reported job has ended. `status` is the
    status of the response that accepted the callback. `problem` is why the last attempt failed, or why nothing was sent. `next_try`
    is when the next attempt is due.
    """

    to: str
    on: str
    progress: bool = False
    id: str | None = None
    state: State | None = None
    attempts: int = 0
    status: int | None = None
    problem: str = ""
    next_try: float | None = None
    ended: float | None = None


async def callbacks_of(client: Client, job_id: str) -> list[CallbackRecord]:
    """Return the callbacks of a job.

    Callbacks of its ends come first, oldest first, and then those that are not due yet. Raises the errors of `Client.record`.
    """
    job = await client.record(job_id)
    records = [callback_record(each) for each in await _callback_jobs(client, job)]
    if job.state.finished:
        return records
    waiting = (each.spec for each in job.spec.follow_ups if each.spec.task == CALLBACK_TASK)
    return [*records, *(CallbackRecord(**_target(spec)) for spec in waiting)]


async def redeliver_callbacks(client: Client, some_id: str) -> list[CallbackRecord]:
    """Deliver a callback again, or those of a job's last end, except one that is being delivered.

    Raises `UnknownJob`, `JobRemoved` or `JobConflict`.
    """
    job = await client.record(some_id)
    wanted = [job]
    if job.spec.task != CALLBACK_TASK:
        wanted = [each for each in await _callback_jobs(client, job) if each.id.startswith(f"{job.id}.{job.ends}.")]
    return [callback_record(await _redeliver(client, each)) for each in wanted]


async def _redeliver(client: Client, callback: JobRecord) -> JobRecord:
    if callback.state is State.QUEUED:  # it waits for its next attempt
        callback = await client.cancel(callback.id)
    return await client.requeue(callback.id) if callback.state.finished else callback


async def _callback_jobs(client: Client, job: JobRecord) -> list[JobRecord]:
    found = await client.find(Query(parent=job.id, task=CALLBACK_TASK, limit=MAX_CALLBACKS))
    records = await client.store.get([each.id for each in reversed(found)])  # including their failures
    return [each for each in records if isinstance(each, JobRecord)]


def callback_record(callback: JobRecord) -> CallbackRecord:
    """Return the callback that a job of `CALLBACK_TASK` delivers. The job must have its history."""
    result = json.loads(callback.result or "{}")
    error = callback.history[-1].error if callback.history else ""
    if not error and callback.problem is not None:
        error = callback.problem.detail or callback.problem.title
    return CallbackRecord(
        **_target(callback.spec), id=callback.id, state=callback.state, attempts=callback.attempt, status=result.get("status"),
        problem=result.get("skipped") or ("" if callback.state is State.SUCCEEDED else error),
        next_try=callback.due if callback.state is State.QUEUED else None, ended=callback.ended,
    )  # fmt: skip


def _target(spec: JobSpec) -> dict[str, Any]:
    """Return target and options of a callback's job, without the query of a URL, which may contain tokens."""
    arguments = json.loads(spec.arguments)
    try:
        to = parse_url(arguments["to"].get("url")).redacted
    except ArgumentsError:  # a queue or a topic
        to = spec.user or ""
    return {"to": to, "on": arguments["on"], "progress": arguments["progress"]}
