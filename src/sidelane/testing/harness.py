"""Harness: a lane under test, with an in-memory store and a manual clock. Jobs run only when the test runs them."""

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
from sidelane.consumers.consumer import Consumer
from sidelane.external.completion import CompletionStatus
from sidelane.external.dispatch import dispatch_message
from sidelane.external.outbox import DispatchInfo, dispatch_id
from sidelane.external.task import ExternalTask
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import ConfigurationError, JobConflict, UnknownJob
from sidelane.model.event import Event
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, Lease, Query, State
from sidelane.model.message import Message
from sidelane.model.outcome import AttemptResult, EventAppend
from sidelane.model.problem import Problem
from sidelane.model.worker import Claimed, ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.factory import open_store
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK, DISPATCH_QUEUE
from sidelane.tasks.job import Job
from sidelane.tasks.resources import Resources
from sidelane.tasks.task import Call, Task
from sidelane.transports.cloudevents import trace_of
from sidelane.transports.job_messages import CompletionMessage, DispatchedJob
from sidelane.worker.attempt import Attempt, Runtime
from sidelane.worker.attempt_telemetry import AttemptTelemetry
from sidelane.worker.child_pool import ChildPool
from sidelane.worker.child_protocol import log_options
from sidelane.worker.reporter import Reporter

R = TypeVar("R")

MAX_PER_CLAIM = 100

MIN_STEP = 2**-9
"""Seconds by which the clock advances to a schedule's time at least."""

EAGER_INTERVAL = 0.005
"""Seconds between two claims of a harness that runs jobs as they are submitted."""

WORKER = "test"

LEASE = 3600.0
"""Seconds of a lease. A lease is longer than any single advance of the clock, because there are no heartbeats."""

SWEEP_PAUSE = 2**-9
"""Seconds after a pause before sweeps expire leases. In tests only external tasks have leases."""

OUTBOUND_QUEUES = (CALLBACK_QUEUE, DISPATCH_QUEUE)
"""Queues of jobs that send callbacks or messages."""


class Harness:
    """A lane under test. The harness uses a real store and real serialization, and no job runs by itself."""

    def __init__(self, lane: Sidelane, client: Client, clock: ManualClock) -> None:
        registry = lane.registry
        self.loop = asyncio.get_running_loop()
        self.client = client
        self.clock = clock
        self._preview = lane.callback_delivery.preview
        self._completions = lane.completions
        self._registry = registry
        self._resources = Resources(registry.overrides)
        self._children = ChildPool(lambda: log_options(WORKER, client.settings))
        self._threads = ThreadPoolExecutor(MAX_PER_CLAIM)
        self._telemetry = AttemptTelemetry(client.telemetry, WORKER)
        self._attempts: dict[Lease, Attempt] = {}  # that have not been reported
        self._reporter = Reporter(
            client.store, on_lost=lambda append: None, on_reported=self._on_reported, on_appended=self._on_appended
        )
        self._runtime = Runtime(
            registry=registry, resources=self._resources, settings=client.settings, threads=self._threads,
            children=self._children, client=client, reporter=self._reporter, confirm_lease=self._confirm_lease,
        )  # fmt: skip
        self._enqueuer = PeriodicEnqueuer(client.store, client.telemetry)
        self._started: set[asyncio.Task[None]] = set()
        self._loops = [
            asyncio.create_task(self._reporter.run_appends()),
            asyncio.create_task(self._reporter.run_reports()),
        ]

    async def run(self, call: Call[R]) -> R:
        """Submit a call, run all ready jobs, and return its result. Raises `JobFailed`, `JobCancelled` or `ResultNotReady`."""
        job = await self.client.submit(call)
        await self.drain()
        return await job.result(timeout=0)

    async def drain(self) -> int:
        """Run all ready jobs, and the jobs that they submit. Return the number of attempts.

        `deliver` runs callbacks and dispatches instead.
        """
        return await self._drain(outbound=False)

    async def deliver(self) -> int:
        """Run callbacks and dispatches, which really send requests and messages. Return the number of attempts."""
        return await self._drain(outbound=True)

    async def callbacks(self, job: Job[Any]) -> list[tuple[str, str]]:
        """Return the callbacks of a job's end, each as its receiver and its body."""
        found = await self.client.find(Query(parent=job.id, task=CALLBACK_TASK))
        return [await self._preview(callback) for callback in reversed(found)]

    async def _drain(self, *, outbound: bool) -> int:
        count = 0
        while attempts := await self._claim(outbound):
            await asyncio.gather(*(attempt.start() for attempt in attempts))
            await self._reporter.wait_reported()
            count += len(attempts)
        return count

    def run_eagerly(self) -> None:
        """Run jobs as they are submitted, from now on."""
        self._loops.append(asyncio.create_task(self._run_eagerly()))

    async def _run_eagerly(self) -> None:
        while True:
            for attempt in await self._claim(outbound=False):
                task = attempt.start()
                self._started.add(task)
                task.add_done_callback(self._started.discard)
            await asyncio.sleep(EAGER_INTERVAL)

    async def advance(self, duration: Duration) -> None:
        """Advance the clock, and apply schedules, each at its times, then deadlines and retention."""
        end = self.clock() + to_seconds(duration)
        while (wait := await self._enqueuer.fire()) is not None and self.clock() + wait <= end:
            self.clock.advance(max(MIN_STEP, wait))  # the wait is less by the time that reading the schedules took
        self.clock.advance(end - self.clock())
        for _ in range(3):  # after a long pause the first sweep only records it, and leases expire later
            while (await self.client.store.sweep(lease=SWEEP_PAUSE)).more:
                pass
            self.clock.advance(SWEEP_PAUSE / 2)

    async def dispatched(self, task: ExternalTask[Any, Any]) -> list[DispatchedJob]:
        """Return the messages of a task's jobs that external workers have now, oldest first. In a test nothing is sent."""
        running = frozenset({State.RUNNING})
        found = await self.client.find(Query(task=task.name, states=running, limit=10_000))
        return [
            await self._dispatched(task, record, record.external_lease)
            for record in found[::-1]
            if record.external_lease
        ]

    async def complete(self, job: Job[R], result: R) -> None:
        """Complete the job of an external task. Raises `JobConflict` if no external worker has it."""
        await self._complete(CompletionMessage(job=job.id, result=result))

    async def fail(self, job: Job[Any], problem: Problem, *, retry: bool = True) -> None:
        """Fail the job of an external task; with `retry=False`, without another attempt.

        Raises `JobConflict` if no external worker has it.
        """
        await self._complete(CompletionMessage(job=job.id, problem=problem, retry=retry))

    async def consume(self, consumer: Consumer, message: Message) -> Job[Any] | None:
        """Submit the job that a consumer creates from a message, as a worker would. Return None if the consumer skips the message.

        Raises `MalformedMessage` if the message is invalid, and what a submit raises.
        """
        call = await consumer.call(message)
        return None if call is None else await self.client.submit(call, trace=trace_of(message))

    async def submitted(self, task: Task[..., Any, R]) -> list[Job[R]]:
        """Return typed handles on the jobs of a task, oldest first."""
        return [self.client.job(task, record.id) for record in await self.records(task)]

    async def records(self, task: Task[..., Any, Any]) -> list[JobRecord]:
        """Return the records of a task's jobs, oldest first."""
        found = await self.client.find(Query(task=task.name, limit=10_000))
        return found[::-1]

    async def events(self, job: Job[Any]) -> list[Event]:
        """Return the events of a job's log."""
        return await read_all(self.client.store, job.id)

    async def close(self) -> None:
        """Close everything that the test has opened."""
        for task in (*self._loops, *self._started):
            task.cancel()
        await asyncio.wait([*self._loops, *self._started])
        await self._children.close()
        self._threads.shutdown(wait=False)
        await self._resources.close()
        await self.client.close()

    async def _dispatched(self, task: ExternalTask[Any, Any], record: JobRecord, lease: Lease) -> DispatchedJob:
        (sending,) = await self.client.store.get([dispatch_id(lease)])
        if not isinstance(sending, JobRecord):
            raise UnknownJob(f"The job that dispatches {record.id!r} was removed.")
        info = DispatchInfo.of(sending)
        remaining = info.until - self.clock()
        return await dispatch_message(self.client, task, record, lease, arguments=info.arguments, seconds=remaining)

    async def _complete(self, reply: CompletionMessage) -> None:
        answered = await self._completions.apply(reply, trusted_tasks=self._registry.tasks)
        if answered.status is not CompletionStatus.ACCEPTED:
            raise JobConflict(f"Job {reply.job!r} is not at an external worker.")

    async def _claim(self, outbound: bool) -> list[Attempt]:
        """Claim ready jobs, isolated jobs last."""
        isolated = False
        while True:
            claims = await self.client.store.claim(await self._request(outbound, isolated))
            if claims.jobs:
                return [self._attempt(claimed) for claimed in claims.jobs]
            if claims.isolated:
                isolated = True
            elif claims.next_due is None or claims.next_due > 0:  # else it only moved some, e.g. to wait for a limit
                return []

    def _attempt(self, claimed: Claimed) -> Attempt:
        attempt = Attempt(claimed, self._runtime, time.monotonic(), self._telemetry.started(claimed))
        self._attempts[claimed.lease] = attempt
        return attempt

    def _on_appended(self, append: EventAppend) -> None:
        attempt = self._attempts.get(append.lease)
        if attempt is not None:
            self._telemetry.appended(attempt, append)

    def _on_reported(self, result: AttemptResult, accepted: bool) -> None:
        self._telemetry.ended(self._attempts.pop(result.lease), result, accepted=accepted)

    async def _request(self, outbound: bool, isolated: bool) -> ClaimRequest:
        known = [stats.name for stats in await self.client.store.stats()]
        queues = {name: MAX_PER_CLAIM for name in known if (name in OUTBOUND_QUEUES) is outbound}
        return ClaimRequest(
            request=new_nonce(), worker=WORKER, queues=queues, tasks=self._registry.task_versions(), limit=MAX_PER_CLAIM,
            lease=LEASE, isolated=isolated, release=self.client.settings.release,
        )  # fmt: skip

    async def _confirm_lease(self, lease: Lease) -> bool:
        """Return that a lease is valid, because there is no other worker."""
        return True


@asynccontextmanager
async def harness(lane: Sidelane, *, eager: bool = False) -> AsyncIterator[Harness]:
    """Open a lane for tests: an in-memory store, a manual clock, and files in a temporary folder.

    With `eager`, jobs run as they are submitted. Within the block, `lane.open()` and `lane.lifespan` change nothing.
    """
    async with open_harness(lane, eager=eager) as opened:
        loop = asyncio.get_running_loop()

        @asynccontextmanager
        async def open_again(lane: Sidelane, workers: int) -> AsyncIterator[Sidelane]:
            if asyncio.get_running_loop() is not loop:
                raise ConfigurationError(
                    "This harness belongs to another event loop. With starlette's TestClient, use "
                    "sidelane.testing.sync_harness(lane)."
                )
            yield lane

        with lane.opened_by(open_again):
            yield opened


@asynccontextmanager
async def open_harness(lane: Sidelane, *, eager: bool) -> AsyncIterator[Harness]:
    """Open a lane for tests on this event loop."""
    lane.load()
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="sidelane-files-"))
        stack.enter_context(lane.files.use_location(folder))
        store = await open_store("sqlite://:memory:", clock=clock)
        client = Client(
            store, settings=lane.settings, files=lane.files, registry=lane.registry, telemetry=lane.telemetry
        )
        opened = Harness(lane, client, clock)
        stack.push_async_callback(opened.close)
        await stack.enter_async_context(lane.opened_with(client))
        if eager:
            opened.run_eagerly()
        yield opened
