"""The job that sends another outside: how it is called, and what it is told."""

import hashlib
import json
from dataclasses import dataclass, replace

from sidelane.model.ids import is_id
from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.tasks.registry import AnyTask

DISPATCH_TASK = "sidelane.send"
"""The name of the task that sends offers."""

MAX_USER_LENGTH = 512


def dispatch_id(lease: Lease) -> str:
    """Give the id of the job that sends a hand-over."""
    text = f"{lease.job_id}.{lease.attempt}.sent"
    return text if is_id(text) else f"{hashlib.sha256(text.encode()).hexdigest()}.sent"


def dispatch_spec(
    send: AnyTask, record: JobRecord, lease: Lease, *, seconds: float, arguments: str | None, to: str
) -> JobSpec:
    """Say everything the store must know of the job that sends a hand-over to `to`, which is worth it for `seconds`.

    Its users are the addresses, so that one that does not answer holds up no other.
    """
    called = send.options(
        id=dispatch_id(lease), user=to[:MAX_USER_LENGTH], priority=record.spec.priority, deadline=seconds
    ).call(
        job=lease.job_id, attempt=lease.attempt, nonce=lease.nonce, to=to, arguments=arguments,
    )  # fmt: skip
    spec = called.spec(parent=lease.job_id, trace=record.spec.trace)
    return replace(spec, retention=max(spec.retention, seconds), follow_ups=())


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchInfo:
    """What the record of a sending job tells of its hand-over.

    `until` is when the outside's time is over (seconds since 1970); `arguments` are those of the job where its own record does not
    hold them.
    """

    to: str
    until: float
    arguments: str | None

    @classmethod
    def of(cls, sending: JobRecord) -> "DispatchInfo":
        told = json.loads(sending.spec.arguments)
        until = sending.submitted + (sending.spec.deadline or 0.0)
        return cls(to=told["to"], until=until, arguments=told["arguments"])
