"""Who may see a job: its submitter, and whoever holds a token for its events."""

import base64
import hashlib
import hmac
import secrets
import time

from sidelane.engine.client import Client
from sidelane.engine.registry import Registry
from sidelane.model.errors import JobGone, SidelaneError, UnknownJob
from sidelane.model.job import DAY, JobRecord

SECRET = "stream-token-secret"  # noqa: S105 - the name under which the store keeps it

MARGIN = 3600.0
"""Seconds a token outlives the longest time its job may take."""


class NoUser(SidelaneError):
    """Submitting a job takes a user here, and this request has none."""

    status = 403


class Access:
    """Decides who sees which job. `everyone`: the id alone opens a job."""

    def __init__(self, client: Client, registry: Registry, *, everyone: bool) -> None:
        self._client = client
        self._registry = registry
        self._everyone = everyone
        self._key: bytes | None = None

    def check_may_submit(self, user: str | None) -> None:
        """Check that a job would have an owner. Raises `NoUser`."""
        if not self._everyone and user is None:
            raise NoUser

    async def record(self, job_id: str, user: str | None) -> JobRecord:
        """Look up a job for a user. Raises `UnknownJob`, also where it is someone else's, and `JobGone`."""
        try:
            record = await self._client.record(job_id)
        except JobGone as gone:
            self._check_user(gone.user, user, job_id)
            raise
        self._check_user(record.spec.user, user, job_id)
        return record

    def _check_user(self, owner: str | None, user: str | None, job_id: str) -> None:
        if not self._everyone and (user is None or owner != user):
            raise UnknownJob(f"There is no job {job_id!r}.")

    async def token(self, record: JobRecord) -> str | None:
        """Make a token that opens the job's events for as long as the job may last; None where none is needed."""
        if self._everyone:
            return None
        expires = int(time.time() + self._longest(record) + MARGIN)
        return f"{expires:x}.{await self._signature(record.id, expires)}"

    async def check(self, job_id: str, token: str) -> None:
        """Check a token. Raises `UnknownJob` when it is forged, of another job, or expired."""
        expires, _, signature = token.partition(".")
        try:
            until = int(expires, 16)
        except ValueError:
            until = 0
        expected = await self._signature(job_id, until)
        if until < time.time() or not hmac.compare_digest(signature.encode(), expected.encode()):
            raise UnknownJob(f"There is no job {job_id!r}, or the token for its events has expired.")

    def _longest(self, record: JobRecord) -> float:
        spec = record.spec
        if spec.deadline is not None:
            return spec.deadline
        wait = max(spec.delay, (spec.run_at or 0.0) - record.submitted)
        task = self._registry.tasks.get(spec.task)
        runs = 0.0
        if task is not None and task.policy.timeout is not None:
            runs = task.policy.timeout * (task.policy.retry.attempts + spec.losses)
        return wait + max(DAY, runs)

    async def _signature(self, job_id: str, expires: int) -> str:
        if self._key is None:
            secret = self._client.settings.secret or await self._client.store.remember(SECRET, secrets.token_hex(32))
            self._key = secret.encode()
        digest = hmac.new(self._key, f"events:{job_id}:{expires:x}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
