"""The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): one key of one user is one job, or one batch."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from sidelane.client.batch import Batch
from sidelane.client.client import Client
from sidelane.files.file import ID, ID_PREFIX
from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.job import JobRecord
from sidelane.tasks.task import Call

R = TypeVar("R")

HEADER = "Idempotency-Key"

LONGEST_KEY = 255

_FILE = re.compile(rf'"file":"{ID.pattern}"')


class IdempotencyError(SidelaneError):
    """The Idempotency-Key cannot be used."""

    status = 400


class IdempotencyMismatch(ArgumentsError):
    """This Idempotency-Key was used with another request."""


def keyed(call: Call[R], header: str, user: str | None) -> Call[R]:
    """Give the call an id made of its user and key, so that submitting it again finds the same job; its own id stays.

    Raises `IdempotencyError` where there is no user to scope the key to, or the key is empty or too long.
    """
    digest = _digest(header, user)
    return call if call.options.id is not None else call.with_options(id=f"ik-{digest}")


def keyed_batch(calls: Sequence[Call[Any]], header: str, user: str | None) -> tuple[str, list[Call[Any]]]:
    """Give a batch and its calls ids made of user and key, so that submitting them again finds the same jobs.

    How many there are is part of a call's id: with more or fewer, none is found. Raises as `keyed` does.
    """
    batch_id = f"ikb-{_digest(header, user)}"
    return batch_id, [
        call if call.options.id is not None else call.with_options(id=f"{batch_id}-{place}-of-{len(calls)}")
        for place, call in enumerate(calls, 1)
    ]


def check_key(header: str, user: str | None) -> tuple[str, str]:
    """Give the key that a header holds, and its user. Raises `IdempotencyError` as `keyed` does."""
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header  # a structured string, or bare
    if user is None:
        raise IdempotencyError("Idempotency-Key needs a user to belong to, and this request has none.")
    if not 0 < len(key) <= LONGEST_KEY:
        raise IdempotencyError(f"An Idempotency-Key has 1 to {LONGEST_KEY} characters; this one has {len(key)}.")
    return key, user


def _digest(header: str, user: str | None) -> str:
    key, user = check_key(header, user)
    return hashlib.sha256(f"{len(user)}:{user}{key}".encode()).hexdigest()[:40]


def check_same(call: Call[R], record: JobRecord) -> None:
    """Check that a replay asks for the job that it got. Raises `IdempotencyMismatch`."""
    same_task = record.spec.task in (call.task.name, *call.task.aliases)
    if not same_task or content_of(record.spec.arguments) != content_of(call.arguments):
        raise IdempotencyMismatch


def content_of(arguments: str) -> str:
    """Give arguments without the ids of their files: one that is uploaded again has another, and is the same by its hash."""
    return _FILE.sub('"file":""', arguments) if ID_PREFIX in arguments else arguments


async def check_all_same(client: Client, calls: Sequence[Call[Any]], batch: Batch[Any]) -> None:
    """Check that a replay of many calls asks for the jobs that it found. Raises `IdempotencyMismatch`."""
    if not calls and (await batch.record()).total:
        raise IdempotencyMismatch
    found = [(call, job.id) for call, job in zip(calls, batch.jobs, strict=True) if job is not None and not job.created]
    records = await client.store.get([job_id for _, job_id in found])
    for (call, _), record in zip(found, records, strict=True):
        if isinstance(record, JobRecord):
            check_same(call, record)


async def check_new(client: Client, batch_id: str) -> None:
    """Check that calls were not refused because their key is that of another batch. Raises `IdempotencyMismatch`."""
    record = await client.store.get_batch(batch_id)
    if record is not None and record.sealed:
        raise IdempotencyMismatch
