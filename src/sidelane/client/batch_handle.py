"""Batch: the typed handle on jobs that are submitted together."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from sidelane.client.event_stream import batch_record, stream_batch
from sidelane.model.batch import BatchRecord
from sidelane.model.errors import (
    JobCancelled,
    JobError,
    JobFailed,
    JobRefused,
    JobRemoved,
    ResultNotReady,
    UnknownJob,
)
from sidelane.model.job import UNFINISHED, JobRecord, Query, State, Tombstone
from sidelane.model.problem import Problem
from sidelane.stores.contract import Store
from sidelane.tasks.job import Job

R = TypeVar("R")

CHUNK_SIZE = 100
"""Jobs of a batch per call of the store."""


@dataclass(frozen=True, slots=True)
class RejectedCall:
    """A call of a batch that the store rejected: its index among the calls, and the error."""

    index: int
    error: JobRefused


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """A handle on one batch of jobs whose results are `R`s.

    `jobs` are the handles on the jobs of `submit_many`, in the order of the calls, with None for a rejected one. A batch that is
    looked up by its id has no handles. `rejected` are the rejected calls.
    """

    id: str
    store: Store = field(repr=False, compare=False)
    jobs: tuple[Job[R] | None, ...] = field(default=(), repr=False, compare=False)
    rejected: tuple[RejectedCall, ...] = field(default=(), repr=False, compare=False)

    async def record(self) -> BatchRecord:
        """Return the batch's record: the numbers of its jobs by state. Raises `UnknownBatch`."""
        return await batch_record(self.store, self.id)

    def follow(self) -> AsyncGenerator[BatchRecord, None]:
        """Yield the batch's record when it changes, up to its end. Raises `UnknownBatch`."""
        return stream_batch(self.store, self.id)

    async def wait(self, timeout: float | None = None) -> BatchRecord:
        """Wait up to `timeout` seconds (None: for ever) for the batch's end.

        Raises `ResultNotReady` on timeout, and `UnknownBatch`.
        """
        async with aclosing(stream_batch(self.store, self.id, timeout=timeout)) as records:
            async for record in records:
                if record.ended is not None:
                    return record
        raise ResultNotReady(f"Batch {self.id!r} has not ended yet.")

    async def results(self, timeout: float | None = None) -> "list[R | JobError]":
        """Wait up to `timeout` seconds for the end. Return the result or the error of each of `jobs`.

        Raises `ResultNotReady` on timeout.
        """
        await self.wait(timeout)
        errors = {each.index: each.error for each in self.rejected}
        results: list[R | JobError] = []
        for start in range(0, len(self.jobs), CHUNK_SIZE):
            jobs = self.jobs[start : start + CHUNK_SIZE]
            found = iter(await self.store.get([job.id for job in jobs if job is not None]))
            for index, job in enumerate(jobs, start):
                if job is None:
                    results.append(errors[index])
                else:
                    outcome = _outcome(job, next(found))
                    results.append(outcome)
        return results

    async def cancel(self) -> BatchRecord:
        """Seal the batch and cancel its unfinished jobs. Raises `UnknownBatch`."""
        await self.store.seal_batch(self.id)
        query = Query(batch=self.id, states=UNFINISHED, limit=CHUNK_SIZE)
        while found := await self.store.list_jobs(query):
            await self.store.cancel([record.id for record in found])
            query = replace(query, before=found[-1].sequence)
        return await self.record()


def _outcome(job: Job[R], found: JobRecord | Tombstone | None) -> R | JobError:
    """Return the result of a record, or the error that its job's `result()` would raise."""
    if found is None:
        return UnknownJob(f"There is no job {job.id!r}.")
    if isinstance(found, Tombstone):
        return JobRemoved(f"Job {job.id!r} was removed after its retention.", found.user)
    match found.state:
        case State.SUCCEEDED:
            try:
                return job.read(found.result or "null")
            except JobError as error:
                return error
        case State.FAILED:
            return JobFailed(found.problem or Problem())
        case State.CANCELLED:
            return JobCancelled(f"Job {job.id!r} was cancelled.")
        case _:
            return ResultNotReady(f"Job {job.id!r} is still {found.state}.")
