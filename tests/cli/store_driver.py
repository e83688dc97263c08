"""Puts jobs into any state in a store, acting as client and worker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sidelane.model.event import NewEvent
from sidelane.model.history import NO_USAGE, Usage
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, JobRecord, JobSpec, Lease
from sidelane.model.outcome import AttemptResult, EventAppend, Failed, Outcome
from sidelane.model.worker import Claimed, ClaimRequest, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

T = TypeVar("T")

WORKER = WorkerInfo(
    id="w1:box:4711:abc",
    name="w1",
    host="box",
    pid=4711,
    queues={"chat": 200, "gpu": 1},
    tasks={"answer": 1},
    slots=200,
    running=1,
)

LEASE = 60.0


class StoreDriver:
    """Opens the store for each call, because the commands under test open it themselves."""

    def __init__(self, url: str) -> None:
        self.url = url

    def submit(self, job_id: str, task: str = "answer", **fields: Any) -> str:
        """Submit a job."""
        spec = JobSpec(id=job_id, task=task, **{"queue": "chat", "arguments": '{"question":"Why?"}', **fields})
        self.call(lambda store: store.submit([spec]))
        return job_id

    def claim(self, job_id: str) -> Lease:
        """Claim a job, and return its lease."""
        (claimed,) = self.try_claim(job_id)
        return claimed.lease

    def try_claim(self, *job_ids: str) -> tuple[Claimed, ...]:
        """Ask for jobs, and return what the store gives to the worker."""
        queues = dict.fromkeys(("chat", "gpu", "mail"), len(job_ids))
        request = ClaimRequest(
            request=new_nonce(), worker=WORKER.id, queues=queues, ids=job_ids, limit=len(job_ids), lease=LEASE
        )
        return self.call(lambda store: store.claim(request)).jobs

    def fail(self, job_id: str, failure: Failure, **fields: Any) -> str:
        """Submit a job and let it fail for good."""
        self.finish(self.claim(self.submit(job_id, **fields)), Failed(failure))
        return job_id

    def fail_all(self, specs: Sequence[JobSpec], failure: Failure) -> None:
        """Submit jobs of the queue `chat` and let them fail for good."""
        request = ClaimRequest(
            request=new_nonce(), worker=WORKER.id, queues={"chat": len(specs)}, limit=len(specs), lease=LEASE
        )

        async def fail(store: Store) -> int:
            await store.submit(specs)
            claims = await store.claim(request)
            reports = [AttemptResult(lease=claimed.lease, outcome=Failed(failure)) for claimed in claims.jobs]
            return sum(await store.finish(reports))

        assert self.call(fail) == len(specs)

    def emit(self, lease: Lease, *entries: NewEvent) -> None:
        """Append events to a job's log."""
        append = EventAppend(lease=lease, ordinal=1, entries=entries)
        assert self.call(lambda store: store.append([append])) == [True]

    def finish(self, lease: Lease, outcome: Outcome, *entries: NewEvent, usage: Usage = NO_USAGE) -> None:
        """Report the outcome of an attempt."""
        report = AttemptResult(lease=lease, outcome=outcome, entries=entries, usage=usage)
        assert self.call(lambda store: store.finish([report])) == [True]

    def heartbeat(self, worker: WorkerInfo = WORKER, leases: Sequence[Lease] = ()) -> None:
        """Send a worker's heartbeat."""
        self.call(lambda store: store.heartbeat(worker, leases, lease=LEASE))

    def record(self, job_id: str) -> JobRecord:
        """Return a job's record."""
        (found,) = self.call(lambda store: store.get([job_id]))
        assert isinstance(found, JobRecord)
        return found

    def workers(self) -> list[WorkerInfo]:
        """Return the live workers."""
        return self.call(lambda store: store.workers())

    def call(self, method: Callable[[Store], Awaitable[T]]) -> T:
        """Call the store, and return its answer."""

        async def call() -> T:
            store = await open_store(self.url)
            try:
                return await method(store)
            finally:
                await store.close()

        return asyncio.run(call())
