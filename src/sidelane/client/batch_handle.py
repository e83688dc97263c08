"""Batch: the typed handle on jobs that are submitted together."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from sidelane.client.event_stream import batch_record, stream_batch
from sidelane.model.batch import BatchRecord
from sidelane.model.durations import Duration, to_seconds
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
    looked up by its id has none; `job_of` returns the handle on the job of a record. `rejected` are the rejected calls.
    """

    id: str
    store: Store = field(repr=False, compare=False)
    jobs: tuple[Job[R] | None, ...] = field(default=(), repr=False, compare=False)
    rejected: tuple[RejectedCall, ...] = field(default=(), repr=False, compare=False)
    job_of: Callable[[JobRecord], Job[R]] | None = field(default=None, repr=False, compare=False)

    async def record(self) -> BatchRecord:
        """Return the batch's record: the numbers of its jobs by state. Raises `UnknownBatch`."""
        return await batch_record(self.store, self.id)

    def follow(self) -> AsyncGenerator[BatchRecord, None]:
        """Yield the batch's record when it changes, up to its end. Raises `UnknownBatch`."""
        return stream_batch(self.store, self.id)

    async def wait(self, timeout: Duration | None = None) -> BatchRecord:
        """Wait up to `timeout` seconds (None: for ever) for its end. Raises `ResultNotReady` on timeout, or `UnknownBatch`."""
        async with aclosing(stream_batch(self.store, self.id, timeout=to_seconds(timeout))) as records:
            async for record in records:
                if record.ended is not None:
                    return record
        raise ResultNotReady(f"Batch {self.id!r} has not ended yet.")

    async def results(self, timeout: Duration | None = None) -> "list[R | JobError]":
        """Wait up to `timeout` seconds for the end. Return the result of each of `jobs`, or the error that it has instead.

        If the batch was looked up by its id, return those of the jobs that the store still has, in the order of their submit.
        Raises `ResultNotReady` on timeout.
        """
        await self.wait(timeout)
        results: list[R | JobError] = []
        if self.job_of is not None:
            for record in await self._stored_jobs():
                outcome = _outcome(self.job_of(record), record)
                results.append(outcome)
            return results
        errors = {each.index: each.error for each in self.rejected}
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
        async for page in self._pages(UNFINISHED):
            await self.store.cancel([record.id for record in page])
        return await self.record()

    async def _stored_jobs(self) -> list[JobRecord]:
        """Return the records of its jobs, oldest first. Jobs that failed have their histories."""
        newest_first: list[JobRecord] = []
        async for page in self._pages():
            failed = [record.id for record in page if record.state is State.FAILED]
            found = await self.store.get(failed) if failed else []
            complete = {each.id: each for each in found if isinstance(each, JobRecord)}
            newest_first += [complete.get(record.id, record) for record in page]
        return newest_first[::-1]

    async def _pages(self, states: frozenset[State] | None = None) -> AsyncIterator[list[JobRecord]]:
        """Yield the records of its jobs in chunks, newest first."""
        query = Query(batch=self.id, states=states, limit=CHUNK_SIZE)
        while page := await self.store.list_jobs(query):
            yield page
            query = replace(query, before=page[-1].sequence)


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
            return JobFailed(found.problem or Problem(), failure=found.last_failure)
        case State.CANCELLED:
            return JobCancelled(f"Job {job.id!r} was cancelled.")
        case _:
            return ResultNotReady(f"Job {job.id!r} is still {found.state}.")
