"""The typed handle on a batch: jobs that were submitted together and are counted until the last of them has ended."""

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
"""How many jobs of a batch are looked at in one call of the store."""


@dataclass(frozen=True, slots=True)
class RejectedCall:
    """A call of a batch that did not become a job: its place among the calls, and why."""

    place: int
    error: JobRefused


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """One batch, known by its id, of jobs whose results are `R`s.

    `jobs` are the handles on what `submit_many` submitted, in the order of the calls, with None where one was refused; a batch
    that is looked up by its id has none.
    """

    id: str
    store: Store = field(repr=False, compare=False)
    jobs: tuple[Job[R] | None, ...] = field(default=(), repr=False, compare=False)
    refused: tuple[RejectedCall, ...] = field(default=(), repr=False, compare=False)

    async def record(self) -> BatchRecord:
        """Look the batch up: how many jobs it has, and how many have ended in which way. Raises `UnknownBatch`."""
        return await batch_record(self.store, self.id)

    def follow(self) -> AsyncGenerator[BatchRecord, None]:
        """Yield its record whenever it has changed; the last one is its end. Raises `UnknownBatch`."""
        return stream_batch(self.store, self.id)

    async def wait(self, timeout: float | None = None) -> BatchRecord:
        """Wait up to `timeout` seconds (None: for ever) for its end. Raises `NotFinished` or `UnknownBatch`."""
        async with aclosing(stream_batch(self.store, self.id, timeout=timeout)) as records:
            async for record in records:
                if record.ended is not None:
                    return record
        raise ResultNotReady(f"Batch {self.id!r} has not ended yet.")

    async def results(self, timeout: float | None = None) -> "list[R | JobError]":
        """Wait up to `timeout` seconds for the end, and give for each of `jobs` its result, or the error that says why it has none.

        Raises `NotFinished` when the time is over.
        """
        await self.wait(timeout)
        refused = {each.place: each.error for each in self.refused}
        results: list[R | JobError] = []
        for start in range(0, len(self.jobs), CHUNK_SIZE):
            jobs = self.jobs[start : start + CHUNK_SIZE]
            found = iter(await self.store.get([job.id for job in jobs if job is not None]))
            for place, job in enumerate(jobs, start):
                if job is None:
                    results.append(refused[place])
                else:
                    outcome = _outcome(job, next(found))
                    results.append(outcome)
        return results

    async def cancel(self) -> BatchRecord:
        """Let no more jobs join, cancel those that are queued and ask those that run to stop. Raises `UnknownBatch`."""
        await self.store.seal_batch(self.id)
        query = Query(batch=self.id, states=UNFINISHED, limit=CHUNK_SIZE)
        while found := await self.store.list_jobs(query):
            await self.store.cancel([record.id for record in found])
            query = replace(query, before=found[-1].sequence)
        return await self.record()


def _outcome(job: Job[R], found: JobRecord | Tombstone | None) -> R | JobError:
    """Give the result that a record holds, or the error that its job's `result()` would raise."""
    if found is None:
        return UnknownJob(f"There is no job {job.id!r}.")
    if isinstance(found, Tombstone):
        return JobRemoved(f"Job {job.id!r} has finished, and the time it is kept for has passed.", found.user)
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
