"""What has become of a job's callbacks, and delivering them once more."""

import json
from dataclasses import dataclass
from typing import Any

from sidelane.callbacks.url import parse_url
from sidelane.client.client import Client
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import JobRecord, JobSpec, Query, State
from sidelane.tasks.internal_queues import CALLBACK_TASK

MAX_CALLBACKS = 200
"""Callbacks of one job that are looked up: of its last ends, where it ended often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRecord:
    """One callback of a job. Times are seconds since 1970.

    `id` and `state` are those of the job that delivers it; None: it waits for the end. `status` is what the receiver answered when
    it took it; `problem` says what the last try failed of, or why nothing was sent; `next_try` is when the next one is due.
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
    """List the callbacks of a job: those of its ends, oldest first, then those that wait for one. Raises as `client.record`."""
    job = await client.record(job_id)
    records = [_record(each) for each in await _delivering(client, job)]
    if job.state.finished:
        return records
    waiting = (each.spec for each in job.spec.follow_ups if each.spec.task == CALLBACK_TASK)
    return [*records, *(CallbackRecord(**_told(spec)) for spec in waiting)]


async def redeliver_callbacks(client: Client, some_id: str) -> list[CallbackRecord]:
    """Deliver a callback once more, or those of a job's last end. One that is on its way just now is left alone.

    Raises `UnknownJob` or `JobGone`, `JobConflict`.
    """
    job = await client.record(some_id)
    wanted = [job]
    if job.spec.task != CALLBACK_TASK:
        wanted = [each for each in await _delivering(client, job) if each.id.startswith(f"{job.id}.{job.ends}.")]
    return [_record(await _again(client, each)) for each in wanted]


async def _again(client: Client, callback: JobRecord) -> JobRecord:
    if callback.state is State.QUEUED:  # it waits for its next try
        callback = await client.cancel(callback.id)
    return await client.requeue(callback.id) if callback.state.finished else callback


async def _delivering(client: Client, job: JobRecord) -> list[JobRecord]:
    found = await client.find(Query(parent=job.id, task=CALLBACK_TASK, limit=MAX_CALLBACKS))
    whole = await client.store.get([each.id for each in reversed(found)])  # with their failures
    return [each for each in whole if isinstance(each, JobRecord)]


def _record(callback: JobRecord) -> CallbackRecord:
    told = json.loads(callback.result or "{}")
    failed = callback.history[-1].error if callback.history else ""
    if not failed and callback.problem is not None:
        failed = callback.problem.detail or callback.problem.title
    return CallbackRecord(
        **_told(callback.spec), id=callback.id, state=callback.state, attempts=callback.attempt, status=told.get("status"),
        problem=told.get("skipped") or ("" if callback.state is State.SUCCEEDED else failed),
        next_try=callback.due if callback.state is State.QUEUED else None, ended=callback.ended,
    )  # fmt: skip


def _told(spec: JobSpec) -> dict[str, Any]:
    """Read from the job that delivers a callback whom it tells of what; the query of a URL, where tokens may stand, is left out."""
    arguments = json.loads(spec.arguments)
    try:
        to = parse_url(arguments["to"].get("url")).shown
    except ArgumentsError:  # it is a queue or a topic
        to = spec.user or ""
    return {"to": to, "on": arguments["on"], "progress": arguments["progress"]}
