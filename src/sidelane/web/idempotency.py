"""The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): one key of one user stands for one job or batch."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from sidelane.client.batch_handle import Batch
from sidelane.client.client import Client
from sidelane.files.file import ID, ID_PREFIX
from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.job import JobRecord
from sidelane.tasks.task import Call

R = TypeVar("R")

HEADER = "Idempotency-Key"

MAX_KEY_LENGTH = 255

_FILE = re.compile(rf'"file":"{ID.pattern}"')


class IdempotencyError(SidelaneError):
    """The Idempotency-Key cannot be used."""

    status = 400


class IdempotencyMismatch(ArgumentsError):
    """This Idempotency-Key was used with another request."""


def with_key(call: Call[R], header: str, user: str | None) -> Call[R]:
    """Return the call with an id derived from user and key, so that a repeated request finds the same job. An existing id is kept.

    Raises `IdempotencyError` if there is no user, or the key is empty or too long.
    """
    digest = _digest(header, user)
    return call if call.options.id is not None else call.with_options(id=f"ik-{digest}")


def batch_with_key(calls: Sequence[Call[Any]], header: str, user: str | None) -> tuple[str, list[Call[Any]]]:
    """Return a batch id and the calls with ids derived from user and key, so that a repeated request finds the same jobs.

    The number of calls is part of each id, so a repeated request with more or fewer calls finds no jobs.
    Raises the errors of `with_key`.
    """
    batch_id = f"ikb-{_digest(header, user)}"
    return batch_id, [
        call if call.options.id is not None else call.with_options(id=f"{batch_id}-{number}-of-{len(calls)}")
        for number, call in enumerate(calls, 1)
    ]


def check_key(header: str, user: str | None) -> tuple[str, str]:
    """Return the key in a header, and its user.

    Raises `IdempotencyError` if there is no user, or the key is empty or too long.
    """
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header  # a structured string, or bare
    if user is None:
        raise IdempotencyError("An Idempotency-Key belongs to a user, and this request has none.")
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise IdempotencyError(f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} characters; this one has {len(key)}.")
    return key, user


def _digest(header: str, user: str | None) -> str:
    key, user = check_key(header, user)
    return hashlib.sha256(f"{len(user)}:{user}{key}".encode()).hexdigest()[:40]


def check_same(call: Call[R], record: JobRecord) -> None:
    """Check that a repeated request requests the job that was found. Raises `IdempotencyMismatch`."""
    same_task = record.spec.task in (call.task.name, *call.task.aliases)
    if not same_task or without_file_ids(record.spec.arguments) != without_file_ids(call.arguments):
        raise IdempotencyMismatch


def without_file_ids(arguments: str) -> str:
    """Return arguments without the ids of their files. A second upload has a new id, but the same hash."""
    return _FILE.sub('"file":""', arguments) if ID_PREFIX in arguments else arguments


async def check_all_same(client: Client, calls: Sequence[Call[Any]], batch: Batch[Any]) -> None:
    """Check that a repeated batch requests the jobs that were found. Raises `IdempotencyMismatch`."""
    if not calls and (await batch.record()).total:
        raise IdempotencyMismatch
    found = [(call, job.id) for call, job in zip(calls, batch.jobs, strict=True) if job is not None and not job.created]
    if not found:  # all jobs are new: do not depend on the store any more
        return
    records = await client.store.get([job_id for _, job_id in found])
    for (call, _), record in zip(found, records, strict=True):
        if isinstance(record, JobRecord):
            check_same(call, record)


async def check_new(client: Client, batch_id: str) -> None:
    """Check that no other batch was submitted with the key of these refused calls. Raises `IdempotencyMismatch`."""
    record = await client.store.get_batch(batch_id)
    if record is not None and record.sealed:
        raise IdempotencyMismatch
