"""What users' own tests need: the lane on a store in memory, a clock turned by hand, and jobs run where they stand."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sidelane.app import Sidelane
from sidelane.client.client import Client
from sidelane.client.event_stream import read_all
from sidelane.client.maintenance import PeriodicEnqueuer
from sidelane.consumers.consumer import Consumer, trace_of
from sidelane.external.completion import CompletionStatus
from sidelane.external.dispatch import dispatch_message
from sidelane.external.outbox import DispatchInfo, dispatch_id
from sidelane.external.task import ExternalTask
from sidelane.model.errors import JobConflict, UnknownJob
from sidelane.model.event import Event
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, Lease, Query, State
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.model.worker import ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.factory import open_store
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK, DISPATCH_QUEUE
from sidelane.tasks.job import Job
from sidelane.tasks.resources import Resources
from sidelane.tasks.task import Call, Task
from sidelane.transports.job_messages import CompletionMessage, DispatchedJob
from sidelane.worker.attempt import Attempt, Runtime
from sidelane.worker.child_pool import ChildPool
from sidelane.worker.reporter import Reporter

R = TypeVar("R")

MAX_PER_CLAIM = 100

WORKER = "test"

LEASE = 3600.0
"""Seconds; longer than a test turns the clock in one go, for nobody heartbeats here."""


SWEEP_PAUSE = 2**-9
"""Seconds for which sweeps wait after a pause before they take leases back: hand-overs end in tests, and nothing else runs."""


OUTBOUND_QUEUES = (CALLBACK_QUEUE, DISPATCH_QUEUE)
"""Queues of work that goes out of the house."""


class Harness:
    """A lane under test. Everything goes through the real store and the real serialisation; nothing runs on its own."""

    def __init__(self, lane: Sidelane, client: Client, clock: ManualClock) -> None:
        registry = lane.registry
        self.client = client
        self.clock = clock
        self._preview = lane.callback_delivery.preview
        self._completions = lane.completions
        self._registry = registry
        self._resources = Resources(registry.overrides)
        self._children = ChildPool()
        self._threads = ThreadPoolExecutor(MAX_PER_CLAIM)
        self._reporter = Reporter(client.store, on_lost=lambda append: None, on_reported=lambda report, held: None)
        self._runtime = Runtime(
            registry=registry, resources=self._resources, settings=client.settings, threads=self._threads,
            children=self._children, client=client, reporter=self._reporter, confirm_lease=self._confirm_lease,
        )  # fmt: skip
        self._firings = PeriodicEnqueuer(client.store)
        self._loops = [
            asyncio.create_task(self._reporter.run_appends()),
            asyncio.create_task(self._reporter.run_reports()),
        ]

    async def run(self, call: Call[R]) -> R:
        """Submit a call, run all that is ready, and give its result. Raises `JobFailed`, `JobCancelled`, `NotFinished`."""
        job = await self.client.submit(call)
        await self.drain()
        return await job.result(timeout=0)

    async def drain(self) -> int:
        """Run every job that is ready, and those they submit, until none is; give how many attempts that took.

        Callbacks and hand-overs are left: nothing goes out of the house.
        """
        return await self._drain(outward=False)

    async def deliver(self) -> int:
        """Do what was left: callbacks and hand-overs really go out. Give how many attempts that took."""
        return await self._drain(outward=True)

    async def callbacks(self, job: Job[Any]) -> list[tuple[str, str]]:
        """List what the callbacks of a job's ends say: to whom, and the body."""
        found = await self.client.find(Query(parent=job.id, task=CALLBACK_TASK))
        return [await self._preview(callback) for callback in reversed(found)]

    async def _drain(self, *, outward: bool) -> int:
        count = 0
        while attempts := await self._claim(outward):
            await asyncio.gather(*(attempt.start() for attempt in attempts))
            await self._reporter.wait_reported()
            count += len(attempts)
        return count

    async def advance(self, seconds: float) -> None:
        """Turn the clock on and do what the time then asks for: schedules, due jobs, deadlines, retention."""
        self.clock.advance(seconds)
        while (left := await self._firings.fire()) is not None and left <= 0:
            pass
        for _ in range(3):  # after a long pause the first sweep only takes note of it, and leases end a while later
            while (await self.client.store.sweep(lease=SWEEP_PAUSE)).more:
                pass
            self.clock.advance(SWEEP_PAUSE / 2)

    async def dispatched(self, task: ExternalTask[Any, Any]) -> list[DispatchedJob]:
        """List the offers of a task's jobs that are outside now, oldest first. In a test nothing is sent."""
        running = frozenset({State.RUNNING})
        found = await self.client.find(Query(task=task.name, states=running, limit=10_000))
        return [
            await self._offer(task, record, record.external_lease) for record in found[::-1] if record.external_lease
        ]

    async def complete(self, job: Job[R], result: R) -> None:
        """End a job that is outside with its result. Raises `JobConflict` where it is not."""
        await self._end(CompletionMessage(job=job.id, result=result))

    async def fail(self, job: Job[Any], problem: Problem, *, retry: bool = True) -> None:
        """End a job that is outside with a problem; `retry=False`: for good. Raises `JobConflict` where it is not."""
        await self._end(CompletionMessage(job=job.id, problem=problem, retry=retry))

    async def consume(self, intake: Consumer, message: Message) -> Job[Any] | None:
        """Submit what an intake makes of a message, as a worker would; None where it passes over it.

        Raises `MalformedMessage` where it can make nothing of it, and what a submit raises.
        """
        call = await intake.call(message)
        return None if call is None else await self.client.submit(call, trace=trace_of(message))

    async def submitted(self, task: Task[..., Any, Any]) -> list[JobRecord]:
        """List the jobs of a task, oldest first."""
        found = await self.client.find(Query(task=task.name, limit=10_000))
        return found[::-1]

    async def events(self, job: Job[Any]) -> list[Event]:
        """Give what a job's log holds now."""
        return await read_all(self.client.store, job.id)

    async def close(self) -> None:
        """End what the tests have opened."""
        for loop in self._loops:
            loop.cancel()
        await self._children.close()
        self._threads.shutdown(wait=False)
        await self._resources.close()
        await self.client.close()

    async def _offer(self, task: ExternalTask[Any, Any], record: JobRecord, lease: Lease) -> DispatchedJob:
        (sending,) = await self.client.store.get([dispatch_id(lease)])
        if not isinstance(sending, JobRecord):
            raise UnknownJob(f"The job that sends {record.id!r} was removed.")
        sent = DispatchInfo.of(sending)
        left = sent.until - self.clock()
        return await dispatch_message(self.client, task, record, lease, arguments=sent.arguments, seconds=left)

    async def _end(self, reply: CompletionMessage) -> None:
        answered = await self._completions.apply(reply, trusted_tasks=self._registry.tasks)
        if answered.status is not CompletionStatus.ACCEPTED:
            raise JobConflict(f"Job {reply.job!r} is not outside.")

    async def _claim(self, outward: bool) -> list[Attempt]:
        """Claim what is ready, isolated jobs after the others: all run here."""
        isolated = False
        while True:
            claims = await self.client.store.claim(await self._request(outward, isolated))
            if claims.jobs:
                return [Attempt(claimed, self._runtime, time.monotonic()) for claimed in claims.jobs]
            if claims.isolated:
                isolated = True
            elif claims.next_due is None or claims.next_due > 0:  # else it only set some aside, e.g. at a limit
                return []

    async def _request(self, outward: bool, isolated: bool) -> ClaimRequest:
        known = [stats.name for stats in await self.client.store.stats()]
        queues = {name: MAX_PER_CLAIM for name in known if (name in OUTBOUND_QUEUES) is outward}
        return ClaimRequest(
            request=new_nonce(), worker=WORKER, queues=queues, tasks=self._registry.task_versions(), limit=MAX_PER_CLAIM,
            lease=LEASE, isolated=isolated,
        )  # fmt: skip

    async def _confirm_lease(self, lease: Lease) -> bool:
        """Nobody else takes a lease here."""
        return True


@asynccontextmanager
async def harness(lane: Sidelane) -> AsyncIterator[Harness]:
    """Open a lane for tests: an in-memory store, a manual clock, and files in a temporary folder."""
    lane.load()
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="sidelane-files-"))
        stack.enter_context(lane.files.use_location(folder))
        store = await open_store("sqlite://:memory:", clock=clock)
        client = Client(store, settings=lane.settings, files=lane.files)
        opened = Harness(lane, client, clock)
        stack.push_async_callback(opened.close)
        await stack.enter_async_context(lane.opened_with(client))
        yield opened
