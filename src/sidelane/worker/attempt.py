"""One attempt at one job: run its task, stop it when it must, and conclude with exactly one outcome."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from sidelane.model.errors import FilesUnavailable, RetryLater, UnknownTask
from sidelane.model.event import ATTEMPT, NewEvent
from sidelane.model.job import JobSpec, Lease, Submission
from sidelane.model.outcome import AttemptResult, Cancelled, Dispatched, Outcome, Released, Succeeded
from sidelane.model.settings import Settings
from sidelane.model.worker import Claimed
from sidelane.stores.contract import Store
from sidelane.tasks.context import Context
from sidelane.tasks.job import Job
from sidelane.tasks.placeholders import RETRY_DELAY, resolve_arguments
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.tasks.resources import ResourceFailed, Resources
from sidelane.tasks.task import DispatchFactory, Task
from sidelane.worker.child_pool import ChildPool
from sidelane.worker.event_buffer import EventBuffer, LeaseLost
from sidelane.worker.executor import execute
from sidelane.worker.outcome import DeadlinePassed, TimedOut, add_job_context, classify_error, log_outcome
from sidelane.worker.task_channel import LoopChannel, ThreadChannel
from sidelane.worker.watchdog import HEARTBEATS_PER_LEASE

R = TypeVar("R")

logger = logging.getLogger(__name__)


KILL_TIMEOUT = 1.0
"""Seconds beyond its grace in which a child process is killed, before its end is reported without it."""

REPORT_TIMEOUT = 5.0
"""Seconds an attempt has beyond its timeout and grace for its report to be written."""


class StopReason(StrEnum):
    """Why an attempt is asked to stop."""

    CANCEL = "cancelled"
    TIMEOUT = "timed out"
    DEADLINE = "past its deadline"
    RELEASE = "given back"
    LOST = "lost to another worker"


class Submitter(Protocol):
    """The open lane, as running tasks need it."""

    @property
    def store(self) -> Store: ...
    async def submit_spec(self, spec: JobSpec) -> Submission: ...
    async def keep_files(self, spec: JobSpec, text: str) -> None: ...
    def job(self, task: Task[..., Any, R], job_id: str, *, created: bool = True) -> Job[R]: ...


class Reporting(Protocol):
    """Where attempts say what they have to say."""

    def dirty(self, emission: EventBuffer) -> None: ...
    def report(self, report: AttemptResult) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What attempts need of the process they run in.

    `confirm` asks whether a lease still holds. `overdue` is called when an attempt does not end within its grace. `isolated`: this
    is an isolation worker.
    """

    registry: Registry
    resources: Resources
    settings: Settings
    threads: Executor
    children: ChildPool
    submitter: Submitter
    reporting: Reporting
    confirm: Callable[[Lease], Awaitable[bool]]
    overdue: Callable[[], None] = lambda: None
    isolated: bool = False


class Attempt:
    """Runs one claimed job. `run` ends when its slot is free; the report may have gone out before, if the task hung on.

    `asked` is when the job was asked for, in monotonic seconds.
    """

    def __init__(self, claimed: Claimed, runtime: Runtime, asked: float) -> None:
        self._asked = asked
        self.record = claimed.record
        self.lease = claimed.lease
        self.stopping: StopReason | None = None
        self.concluded = False
        self.reported = False
        self._remaining = claimed.remaining
        self.offered = claimed.offered
        self._failures = None if claimed.offered else claimed.record.failures
        self._runtime = runtime
        self.emission = EventBuffer(claimed.lease, runtime.reporting.dirty)
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._body: asyncio.Task[None] | None = None
        self._late: asyncio.Task[None] | None = None  # reports the end of a body that hangs on
        self._task = runtime.registry.tasks.get(self.record.spec.task)
        self._seconds = math.inf  # it may run
        self._overstays = math.inf

    @property
    def overstayed(self) -> bool:
        """Whether its timeout and grace are over: its lease is not renewed any more (rules 4)."""
        return self._loop.time() > self._overstays

    def start(self) -> asyncio.Task[None]:
        """Run in a task of its own."""
        self._body = self._loop.create_task(self._run())
        return self._body

    def stop(self, reason: StopReason, *, grace: float | None = None) -> None:
        """Ask the attempt to stop. It has `grace` seconds (else its task's) to clean up, then its end is reported without it."""
        if self.stopping is not None or self.concluded:
            return
        self.stopping = reason
        if grace is None:
            grace = self._task.policy.cancel_grace if self._task else 0.0
        if self._task is not None and self._task.mode == "process":
            grace += KILL_TIMEOUT
        self._timers.append(self._loop.call_later(grace, self._overdue))
        if self._task is not None and self._task.mode == "thread":
            return  # it asks `ctx.check()`; its slot is taken until it returns
        if self._body is not None:
            self._body.cancel()

    async def _run(self) -> None:
        try:
            outcome = await self._outcome()
        finally:
            for timer in self._timers:
                timer.cancel()
        await self._conclude(outcome)

    async def _outcome(self) -> Outcome:
        try:
            self._announce()
            outcome = await self._perform()
            if isinstance(outcome, Succeeded):
                await self._runtime.submitter.keep_files(self.record.spec, outcome.result)
            return outcome
        except asyncio.CancelledError as error:
            return self._stopped() if self.stopping else self._failed(error)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure; a task's sys.exit() is its failure, not the worker's end
            return self._stopped() if self.stopping else self._failed(error)

    async def _perform(self) -> Outcome:
        task, spec = self._task, self.record.spec
        if task is None:
            raise UnknownTask(f"No task named {spec.task!r} is registered here.")
        context = self._context()
        arguments = spec.arguments
        if spec.placeholders:
            arguments = await resolve_arguments(
                spec, self._runtime.submitter.store, lambda text: task.decode_arguments(text, spec.version)
            )
        if spec.parent is not None:  # what it has of another job is its own now
            await self._take_over_files(spec, arguments)
        if task.dispatch_factory is not None:
            return self._handed_over(task, task.dispatch_factory, arguments)
        if task.mode == "process":
            async with self._runtime.children.child(task) as child:
                await self._still_held()
                self._watch_the_clock(task)  # only now: a cold child's start is not the task's time
                return await child.perform(
                    task, arguments, context, self._runtime.submitter.submit_spec,
                    version=self.record.spec.version, failures=self._failures,
                )  # fmt: skip
        await self._still_held()
        self._watch_the_clock(task)
        result = await execute(
            task,
            task.decode_arguments(arguments, spec.version),
            context,
            resources=self._runtime.resources,
            arounds=self._runtime.registry.middleware,
            threads=self._runtime.threads,
        )
        return Succeeded(result)

    async def _still_held(self) -> None:
        """Look at the lease again if so long has passed since the claim that the job may be another's. Raises `LeaseLost`."""
        late = time.monotonic() - self._asked > self._runtime.settings.lease_duration / HEARTBEATS_PER_LEASE
        if late and not await self._runtime.confirm(self.lease):
            self.stopping = StopReason.LOST
            raise LeaseLost

    async def _take_over_files(self, spec: JobSpec, arguments: str) -> None:
        try:
            await self._runtime.submitter.keep_files(spec, arguments)
        except FilesUnavailable as error:
            raise RetryLater(RETRY_DELAY) from error

    def _handed_over(self, task: AnyTask, hand_over: DispatchFactory, arguments: str) -> Outcome:
        """Let the attempt go on outside, in the time that the task, or what is left of the job's deadline, gives it."""
        task.decode_arguments(arguments, self.record.spec.version)  # what does not fit fails here, and is not sent
        seconds = min(task.policy.timeout or math.inf, math.inf if self._remaining is None else self._remaining)
        if seconds <= 0:
            raise DeadlinePassed("The job's deadline passed before it could be handed over.")
        given = arguments if self.record.spec.placeholders else None
        return Dispatched(seconds, hand_over(self.record, self.lease, seconds, given))

    def _announce(self) -> None:
        if self.record.attempt == 1:
            return
        # readers have seen something that starts over now; of one that runs outside the first entry is always this, so that
        # what comes from there has its numbers after it
        if self.record.last or (self._task is not None and self._task.mode == "remote"):
            self.emission.add(NewEvent(ATTEMPT, f'{{"attempt":{self.record.attempt}}}'))

    def _watch_the_clock(self, task: AnyTask) -> None:
        seconds, reason = task.policy.timeout, StopReason.TIMEOUT
        if self._remaining is not None and (seconds is None or self._remaining < seconds):
            seconds, reason = self._remaining, StopReason.TIMEOUT if self.offered else StopReason.DEADLINE
        if seconds is not None:
            self._seconds = seconds
            self._timers.append(self._loop.call_later(seconds, self.stop, reason))
            self._overstays = self._loop.time() + seconds + task.policy.cancel_grace + REPORT_TIMEOUT

    def _context(self) -> Context:
        spec = self.record.spec
        threaded = self._task is not None and self._task.mode == "thread"
        return Context(
            job_id=spec.id,
            task=spec.task,
            queue=spec.queue,
            attempt=self.record.attempt,
            user=spec.user,
            key=spec.key,
            parent=spec.parent,
            labels=dict(spec.labels),
            trace=spec.trace,
            remaining=self._remaining,
            payload_limit=self._runtime.settings.payload_limit,
            channel=ThreadChannel(self, self._loop) if threaded else LoopChannel(self),
        )

    def _failed(self, error: BaseException) -> Outcome:
        task = self._task
        if task is None or isinstance(error, LeaseLost):
            return Released()
        if isinstance(error, ResourceFailed) and self._runtime.isolated:
            return Released(RETRY_DELAY)  # other workers do not even claim jobs whose resources are closed
        return classify_error(error, failures=self._failures, retry=task.policy.retry, registry=self._runtime.registry)

    def _stopped(self) -> Outcome:
        match self.stopping:
            case StopReason.CANCEL:
                return Cancelled()
            case StopReason.TIMEOUT:
                return self._failed(TimedOut(f"The task did not end within {self._seconds:g} seconds."))
            case StopReason.DEADLINE:
                return self._failed(DeadlinePassed("The job's deadline passed while it ran."))
            case _:
                return Released()

    def _overdue(self) -> None:
        if self.concluded:
            return
        logger.warning(
            "job %s (%s) was %s and does not stop: its end is reported, and it keeps its slot until it returns",
            self.record.id, self.record.spec.task, self.stopping,
        )  # fmt: skip
        self._late = self._loop.create_task(self._conclude(self._stopped()))
        self._runtime.overdue()

    async def _conclude(self, outcome: Outcome) -> None:
        if self.concluded or self.stopping is StopReason.LOST or self.emission.lost:
            self.concluded = True
            return
        self.concluded = True
        ordinal, entries = await self.emission.drain()
        self.emission.lost = True  # what still comes from a task that hangs on is not heard
        outcome = add_job_context(outcome, self.record.id, self.record.attempt)
        log_outcome(self.record.id, self.record.spec.task, self.record.attempt, outcome, offered=self.offered)
        self.reported = True
        self._runtime.reporting.report(
            AttemptResult(lease=self.lease, outcome=outcome, ordinal=ordinal, entries=entries)
        )

    def asked_to_stop(self) -> bool:
        return self.stopping is not None

    async def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Job[R]:
        """Submit a child of this job, a call of `task`."""
        submitter = self._runtime.submitter
        submission = await submitter.submit_spec(spec)
        return submitter.job(task, submission.record.id, created=submission.created)
