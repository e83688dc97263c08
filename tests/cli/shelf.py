"""A store seen from outside, one call at a time: to put jobs in whatever state a test wants, and to look at them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sidelane.model.event import Entry
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.model.outcome import Append, Outcome, Report
from sidelane.model.worker import ClaimRequest, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.stores.opening import open_store

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
        self._call(lambda store: store.submit([spec]))
        return job_id

    def claim(self, job_id: str) -> Lease:
        """Have the worker take a job."""
        request = ClaimRequest(
            request=new_nonce(), worker=WORKER.id, queues={"chat": 1, "gpu": 1}, ids=(job_id,), lease=LEASE
        )
        (claimed,) = self._call(lambda store: store.claim(request)).jobs
        return claimed.lease

    def emit(self, lease: Lease, *entries: Entry) -> None:
        """Have the worker write to the job's log."""
        append = Append(lease=lease, ordinal=1, entries=entries)
        assert self._call(lambda store: store.append([append])) == [True]

    def finish(self, lease: Lease, outcome: Outcome, *entries: Entry) -> None:
        """Have the worker report."""
        report = Report(lease=lease, outcome=outcome, entries=entries)
        assert self._call(lambda store: store.finish([report])) == [True]

    def beat(self, worker: WorkerInfo = WORKER, leases: Sequence[Lease] = ()) -> None:
        """Have a worker say that it is alive."""
        self._call(lambda store: store.heartbeat(worker, leases, lease=LEASE))

    def record(self, job_id: str) -> JobRecord:
        """Look a job up."""
        (found,) = self._call(lambda store: store.get([job_id]))
        assert isinstance(found, JobRecord)
        return found

    def workers(self) -> list[WorkerInfo]:
        """List the live workers."""
        return self._call(lambda store: store.workers())

    def _call(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        async def call() -> T:
            store = await open_store(self.url)
            try:
                return await verb(store)
            finally:
                await store.close()

        return asyncio.run(call())
