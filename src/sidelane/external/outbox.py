"""Outbox of external jobs: the internal job that dispatches another job, submitted in the same step as the attempt."""

import hashlib
import json
from dataclasses import dataclass, replace

from sidelane.model.ids import is_id
from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.tasks.registry import AnyTask

DISPATCH_TASK = "sidelane.send"
"""Name of the internal task that dispatches jobs."""

MAX_USER_LENGTH = 512


def dispatch_id(lease: Lease) -> str:
    """Return the id of the job that dispatches another one under this lease."""
    text = f"{lease.job_id}.{lease.attempt}.sent"
    return text if is_id(text) else f"{hashlib.sha256(text.encode()).hexdigest()}.sent"


def dispatch_spec(
    dispatch: AnyTask, record: JobRecord, lease: Lease, *, seconds: float, arguments: str | None, to: str
) -> JobSpec:
    """Return the spec of the job that dispatches another job to `to`. The dispatch job expires after `seconds`.

    The user of the dispatch job is the endpoint, so that an endpoint that does not answer delays no other endpoint.
    """
    called = dispatch.options(
        id=dispatch_id(lease), user=to[:MAX_USER_LENGTH], priority=record.spec.priority, deadline=seconds
    ).call(
        job=lease.job_id, attempt=lease.attempt, nonce=lease.nonce, to=to, arguments=arguments,
    )  # fmt: skip
    spec = called.spec(parent=lease.job_id, trace=record.spec.trace)
    return replace(spec, retention=max(spec.retention, seconds), follow_ups=())


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchInfo:
    """Data about the dispatched job in the record of its dispatch job.

    `until` is when the external worker's time ends, in seconds since 1970; `arguments` are set if the record of the dispatched job
    does not contain its arguments.
    """

    to: str
    until: float
    arguments: str | None

    @classmethod
    def of(cls, dispatch: JobRecord) -> "DispatchInfo":
        sent = json.loads(dispatch.spec.arguments)
        until = dispatch.submitted + (dispatch.spec.deadline or 0.0)
        return cls(to=sent["to"], until=until, arguments=sent["arguments"])
