"""A store seen from outside, one call at a time: to put jobs in whatever state a test wants, and to look at them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sidelane.model.event import NewEvent
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


class Shelf:
    """Opens the store for each call; the commands under test open it by themselves."""

    def __init__(self, url: str) -> None:
        self.url = url

    def submit(self, job_id: str, task: str = "answer", **fields: Any) -> str:
        """Put a job in the store."""
        spec = JobSpec(id=job_id, task=task, **{"queue": "chat", "arguments": '{"question":"Why?"}', **fields})
        self.call(lambda store: store.submit([spec]))
        return job_id

    def claim(self, job_id: str) -> Lease:
        """Have the worker take a job."""
        (claimed,) = self.ask_for(job_id)
        return claimed.lease

    def ask_for(self, job_id: str) -> tuple[Claimed, ...]:
        """Have the worker ask for a job, and give what it gets."""
        request = ClaimRequest(
            request=new_nonce(), worker=WORKER.id, queues={"chat": 1, "gpu": 1, "mail": 1}, ids=(job_id,), lease=LEASE
        )
        return self.call(lambda store: store.claim(request)).jobs

    def fail(self, job_id: str, failure: Failure, **fields: Any) -> str:
        """Put a job in the store that failed for good."""
        self.finish(self.claim(self.submit(job_id, **fields)), Failed(failure))
        return job_id

    def fail_all(self, specs: Sequence[JobSpec], failure: Failure) -> None:
        """Put jobs of the queue `chat` in the store that failed for good."""
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
        """Have the worker write to the job's log."""
        append = EventAppend(lease=lease, ordinal=1, entries=entries)
        assert self.call(lambda store: store.append([append])) == [True]

    def finish(self, lease: Lease, outcome: Outcome, *entries: NewEvent) -> None:
        """Have the worker report."""
        report = AttemptResult(lease=lease, outcome=outcome, entries=entries)
        assert self.call(lambda store: store.finish([report])) == [True]

    def beat(self, worker: WorkerInfo = WORKER, leases: Sequence[Lease] = ()) -> None:
        """Have a worker say that it is alive."""
        self.call(lambda store: store.heartbeat(worker, leases, lease=LEASE))

    def record(self, job_id: str) -> JobRecord:
        """Look a job up."""
        (found,) = self.call(lambda store: store.get([job_id]))
        assert isinstance(found, JobRecord)
        return found

    def workers(self) -> list[WorkerInfo]:
        """List the live workers."""
        return self.call(lambda store: store.workers())

    def call(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        """Have the store do something, and give what it answers."""

        async def call() -> T:
            store = await open_store(self.url)
            try:
                return await verb(store)
            finally:
                await store.close()

        return asyncio.run(call())
