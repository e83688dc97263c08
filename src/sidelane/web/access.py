"""Access control: a job or batch is visible to its submitter, and its events to anyone who has a token for them."""

import time

from sidelane.client.client import Client
from sidelane.model.batch import BatchRecord
from sidelane.model.errors import JobRemoved, SidelaneError, UnknownBatch, UnknownJob
from sidelane.model.ids import is_generated
from sidelane.model.job import DAY, JobRecord, Query
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.signing import is_signature, sign
from sidelane.tasks.registry import Registry

PURPOSE = "stream tokens"

_OPT_IN = "Jobs(…, guessable=True) allows it."

MARGIN = 3600.0
"""Seconds that a token remains valid after the longest time that its job may take."""

LONGEST_TOKEN = 100
"""Maximum characters of a token."""

_BATCH = "batch:"  # no id has a colon, so that no job's token opens a batch


class NoUser(SidelaneError):
    """Submitting a job requires a user, and this request has none."""

    status = 403


class Guessable(SidelaneError):
    """A key, or an id chosen by the application, can be guessed, so it gives no access here."""

    status = 403


class Access:
    """Decides which jobs and batches a user may see.

    With `everyone`, there are no users, and anyone who knows an id has access. With `guessable`, keys, and ids chosen by the
    application, give access too, although they can be guessed.
    """

    def __init__(self, client: Client, registry: Registry, *, everyone: bool, guessable: bool) -> None:
        self._client = client
        self._registry = registry
        self._everyone = everyone
        self._guessable = guessable

    def check_may_submit(self, user: str | None) -> None:
        """Check that a job would have an owner. Raises `NoUser` otherwise."""
        if not self._everyone and user is None:
            raise NoUser

    def check_id(self, id_: str) -> None:
        """Check that an id may give access, whether or not it exists. Raises `Guessable` otherwise."""
        if not self._guessable and not is_generated(id_):
            raise Guessable(f"An id chosen by the application can be guessed, so it gives no access here. {_OPT_IN}")

    async def record(self, job_id: str, user: str | None) -> JobRecord:
        """Return a job's record.

        Raises `UnknownJob` if there is no such job, if it is internal, or if the user may not see it. Raises `JobRemoved` if it was
        removed, and `Guessable` if its id may give no access.
        """
        self.check_id(job_id)
        try:
            record = await self._client.record(job_id)
        except JobRemoved as removed:
            self._check_user(removed.user, user, job_id)
            raise
        if not self.can_see_job(record, user):
            raise UnknownJob(f"There is no job {job_id!r}.")
        return record

    async def current(self, key: str, user: str | None) -> JobRecord:
        """Return the record of a user's newest job with a key. Raises `UnknownJob` or `Guessable`."""
        if not self._guessable:
            raise Guessable(f"A key can be guessed, so it gives no access here. {_OPT_IN}")
        for record in await self._client.find(Query(key=key, user=self.owner_filter(user), limit=1)):
            if self.can_see_job(record, user):
                return record
        raise UnknownJob(f"There is no job with the key {key!r}.")

    async def batch(self, batch_id: str, user: str | None) -> BatchRecord:
        """Return a batch's record.

        Raises `UnknownBatch` if there is no such batch or the user may not see it, and `Guessable` if the id may give no access.
        """
        self.check_id(batch_id)
        record = await self._client.store.get_batch(batch_id)
        if record is None or not self.can_see(record.spec.user, user):
            raise UnknownBatch(f"There is no batch {batch_id!r}.")
        return record

    def can_see(self, owner: str | None, user: str | None) -> bool:
        """Return whether a user may see jobs and batches of this owner."""
        return self._everyone or (user is not None and owner == user)

    def can_see_job(self, record: JobRecord, user: str | None) -> bool:
        """Return whether a user may see a job. Internal jobs are visible to no user."""
        return not record.spec.task.startswith(INTERNAL_PREFIX) and self.can_see(record.spec.user, user)

    def owner_filter(self, user: str | None) -> str | None:
        """Return the `user` of a query for jobs that this user may see. None finds all jobs, and "" finds none."""
        return None if self._everyone else user or ""

    def _check_user(self, owner: str | None, user: str | None, job_id: str) -> None:
        if not self.can_see(owner, user):
            raise UnknownJob(f"There is no job {job_id!r}.")

    async def token(self, record: JobRecord) -> str | None:
        """Return a token that gives access to the job's events for as long as the job may last, or None if no token is needed."""
        return await self._token(record.id, self._longest(record))

    async def check(self, job_id: str, token: str) -> None:
        """Check a token. Raises `UnknownJob` if the token is forged, of another job, or expired."""
        if not await self._is_valid_for(job_id, token):
            raise UnknownJob(f"There is no job {job_id!r}, or the token for its events has expired.")

    async def batch_token(self, batch_id: str) -> str | None:
        """Return a token that gives access to a batch's events for a day, or None if no token is needed."""
        return await self._token(_BATCH + batch_id, DAY)

    async def check_batch(self, batch_id: str, token: str) -> None:
        """Check a token. Raises `UnknownBatch` if the token is forged, of another batch, or expired."""
        if not await self._is_valid_for(_BATCH + batch_id, token):
            raise UnknownBatch(f"There is no batch {batch_id!r}, or the token for its events has expired.")

    async def _token(self, what: str, lasts: float) -> str | None:
        if self._everyone:
            return None
        expires = int(time.time() + lasts + MARGIN)
        return f"{expires:x}.{sign(await self._client.key(PURPOSE), f'{what}:{expires:x}')}"

    async def _is_valid_for(self, what: str, token: str) -> bool:
        expires, _, signature = token.partition(".")
        if len(token) > LONGEST_TOKEN:
            return False
        try:
            until = int(expires, 16)
        except ValueError:
            return False
        signed = is_signature(await self._client.key(PURPOSE), f"{what}:{until:x}", signature)
        return signed and until >= time.time()

    def _longest(self, record: JobRecord) -> float:
        spec = record.spec
        if spec.deadline is not None:
            return spec.deadline
        wait = max(spec.delay, (spec.run_at or 0.0) - record.submitted)
        task = self._registry.tasks.get(spec.task)
        runs = 0.0
        if task is not None and task.policy.timeout is not None:
            runs = task.policy.timeout * (task.policy.retry.attempts + spec.max_worker_losses)
        return wait + max(DAY, runs)
