"""The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): one key of one user is one job."""

import hashlib
from typing import TypeVar

from sidelane.engine.task import Call
from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.job import JobRecord

R = TypeVar("R")

HEADER = "Idempotency-Key"

LONGEST_KEY = 255


class IdempotencyError(SidelaneError):
    """The Idempotency-Key cannot be used."""

    status = 400


class IdempotencyMismatch(ArgumentsError):
    """This Idempotency-Key was used with another request."""


def keyed(call: Call[R], header: str, user: str | None) -> Call[R]:
    """Give the call an id made of its user and key, so that submitting it again finds the same job; its own id stays.

    Raises `IdempotencyError` where there is no user to scope the key to, or the key is empty or too long.
    """
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header  # a structured string, or bare
    if user is None:
        raise IdempotencyError("Idempotency-Key needs a user to belong to, and this request has none.")
    if not 0 < len(key) <= LONGEST_KEY:
        raise IdempotencyError(f"An Idempotency-Key has 1 to {LONGEST_KEY} characters; this one has {len(key)}.")
    if call.options.id is not None:
        return call
    digest = hashlib.sha256(f"{len(user)}:{user}{key}".encode()).hexdigest()[:40]
    return call.with_options(id=f"ik-{digest}")


def check_same(call: Call[R], record: JobRecord) -> None:
    """Check that a replay asks for the job that it got. Raises `IdempotencyMismatch`."""
    if record.spec.task not in (call.task.name, *call.task.aliases) or record.spec.arguments != call.arguments:
        raise IdempotencyMismatch
