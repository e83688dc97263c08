"""One attempt of a job. An attempt runs the task, stops it if necessary, and ends with exactly one outcome."""

import asyncio
import contextvars
import logging
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum

from sidelane.model.errors import FilesUnavailable, RetryLater, UnknownTask
from sidelane.model.event import ATTEMPT, NewEvent
from sidelane.model.job import JobSpec, Lease
from sidelane.model.outcome import AttemptResult, Cancelled, Dispatched, Outcome, Released, Succeeded
from sidelane.model.settings import Settings
from sidelane.model.transition import Change, load_transitions
from sidelane.model.worker import Claimed
from sidelane.tasks.context import Context, TaskChannel, current_context
from sidelane.tasks.placeholders import RETRY_DELAY, resolve_arguments
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.tasks.resources import ResourceFailed, Resources
from sidelane.tasks.task import DispatchFactory
from sidelane.telemetry.tracer import Span
from sidelane.worker.blocked_loop import RunningJob
from sidelane.worker.child_pool import ChildPool
from sidelane.worker.child_stack import ChildStacks
from sidelane.worker.event_buffer import EventBuffer, LeaseLost
from sidelane.worker.executor import execute
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE
from sidelane.worker.job_log import JobLog, keep_records, log_size
from sidelane.worker.outcome import DeadlinePassed, TimedOut, add_job_context, classify_error, is_throttled, report_end
from sidelane.worker.reporter import Reporter
from sidelane.worker.task_channel import LoopChannel, TaskClient, ThreadChannel, UsageMeter

logger = logging.getLogger(__name__)

KILL_TIMEOUT = 1.0
"""Seconds after its grace in which a child process is killed. After that, the attempt is reported without waiting."""

REPORT_TIMEOUT = 5.0
"""Seconds after its timeout and grace in which the result of an attempt is written."""


class StopReason(StrEnum):
    """Why an attempt is asked to stop."""

    CANCEL = "cancelled"
    TIMEOUT = "timed out"
    DEADLINE = "past its deadline"
    RELEASE = "released"
    LOST = "lost to another worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts of a worker that its attempts use.

    `confirm_lease` asks the store whether a lease is still valid. `on_grace_expired` is called when a task does not stop within its
    grace. `isolated` is true in an isolation worker. `log_level` is the level of starts, and of ends that are no failures.
    """

    registry: Registry
    resources: Resources
    settings: Settings
    threads: Executor
    children: ChildPool
    client: TaskClient
    reporter: Reporter
    confirm_lease: Callable[[Lease], Awaitable[bool]]
    on_grace_expired: Callable[[], None] = lambda: None
    isolated: bool = False
    log_level: int = logging.DEBUG


@dataclass(slots=True)
class WrittenEvents:
    """The task's own events of an attempt that are in the log and not yet reported to telemetry.

    `any` is whether there ever were any. The next report is at `next_report`, in monotonic seconds, or at the end.
    """

    any: bool = False
    count: int = 0
    bytes: int = 0
    next_report: float = 0.0


class Attempt:
    """Runs one claimed job. The attempt ends when its slot is free. If the job's task exceeds its grace, the result is reported
    before that.

    `claimed_at` is when the claim was sent, in monotonic seconds. `span` is the attempt's, and current in the task.
    """

    def __init__(self, claimed: Claimed, runtime: Runtime, claimed_at: float, span: Span) -> None:
        self._claimed_at = claimed_at
        self.span = span
        self.record = claimed.record
        self.lease = claimed.lease
        self.stop_reason: StopReason | None = None
        self.finished = False  # its outcome is decided
        self.reported = False
        self.written = WrittenEvents()
        self._remaining = claimed.remaining
        self.dispatched = claimed.offered  # by another process, which counts its failures
        self._failures = None if claimed.offered else claimed.record.failures
        self._runtime = runtime
        self._usage = UsageMeter()
        self._throttled = False
        self._events = EventBuffer(claimed.lease, runtime.reporter.on_pending)
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._body: asyncio.Task[None] | None = None
        self._child: ChildStacks | None = None
        self._late_finish: asyncio.Task[None] | None = None  # reports the result of a task that exceeds its grace
        self._task = runtime.registry.tasks.get(self.record.spec.task)
        self._channel = self._make_channel()
        keeps_records = self._task is not None and self._task.policy.keep_logs and not claimed.offered
        self._log_size = log_size(self.record.attempt) if keeps_records else 0
        self._variables = contextvars.copy_context()
        self._timeout = math.inf
        self._renewed_until = math.inf
        self._started_at = claimed_at
        self._ended_at: float | None = None
        self._context = self._new_context()

    @property
    def seconds(self) -> float:
        """How long the attempt has run, until its outcome was decided."""
        return (time.monotonic() if self._ended_at is None else self._ended_at) - self._started_at

    @property
    def lost(self) -> bool:
        """Whether its lease was lost, so that its result does not count."""
        return self.stop_reason is StopReason.LOST or (self._events.closed and not self.reported)

    @property
    def past_grace(self) -> bool:
        """Whether the attempt's timeout and grace are over, so that its lease is not renewed any more (rule 4)."""
        return self._loop.time() > self._renewed_until

    def as_running_job(self) -> RunningJob | None:
        """Describe this attempt for logs and stacks, or return None if it does not run. Another thread may call it."""
        if self._body is None or self.finished:
            return None
        return RunningJob(self.lease, self.record.spec.task, self._body, self._channel, self._child)

    def start(self) -> asyncio.Task[None]:
        """Run in a task of the event loop, whose context is that of the attempt for whatever it logs."""
        self._variables.run(current_context.set, self._context)
        if self._log_size and self._task is not None and self._task.mode != "process":
            # otherwise the child process keeps the records
            self._variables.run(keep_records, JobLog(self._log_size, self._keep_record))
        self._body = self._loop.create_task(self._run(), context=self._variables)
        return self._body

    def stop(self, reason: StopReason, *, grace: float | None = None) -> None:
        """Ask the task to stop.

        After `grace` seconds (default: those of its policy), the end of the attempt is reported without waiting.
        """
        if self.stop_reason is not None or self.finished:
            return
        self.stop_reason = reason
        if grace is None:
            grace = self._task.policy.cancel_grace if self._task else 0.0
        if self._task is not None and self._task.mode == "process":
            grace += KILL_TIMEOUT
        self._timers.append(self._loop.call_later(grace, self._on_grace_expired, context=self._variables))
        if self._task is not None and self._task.mode == "thread":
            return  # it calls `ctx.check()`; its slot is taken until it returns
        if self._body is not None:
            self._body.cancel()

    async def _run(self) -> None:
        self._started_at = time.monotonic()
        job, task, attempt = self.record.id, self.record.spec.task, self.record.attempt
        logger.log(self._runtime.log_level, "job %s (%s) attempt %d started", job, task, attempt)
        try:
            with self._runtime.client.telemetry.tracer.current(self.span):
                outcome = await self._outcome()
        finally:
            for timer in self._timers:
                timer.cancel()
        await self._finish(outcome)

    async def _outcome(self) -> Outcome:
        try:
            self._emit_attempt_event()
            outcome = await self._execute()
            if isinstance(outcome, Succeeded):
                await self._runtime.client.keep_files(self.record.spec, outcome.result)
            return outcome
        except asyncio.CancelledError as error:
            return self._stopped_outcome() if self.stop_reason else self._error_outcome(error)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its failure; its sys.exit() does not end the worker
            return self._stopped_outcome() if self.stop_reason else self._error_outcome(error)

    async def _execute(self) -> Outcome:
        task, spec = self._task, self.record.spec
        if task is None:
            raise UnknownTask(f"No task named {spec.task!r} is registered here.")
        context = self._context
        arguments = spec.arguments
        if spec.placeholders:
            arguments = await resolve_arguments(
                spec, self._runtime.client.store, lambda text: task.decode_arguments(text, spec.version)
            )
        if spec.parent is not None:
            await self._keep_argument_files(spec, arguments)
        if task.dispatch_factory is not None:
            return self._dispatch(task, task.dispatch_factory, arguments)
        if task.mode == "process":
            async with self._runtime.children.child(task) as child:
                self._child = child.stacks
                if self._is_claim_old():
                    await self._check_lease()
                self._start_timeout(task)  # only now: a cold child's start is not the task's time
                outcome, self._throttled = await child.execute(
                    task, arguments, context, self._runtime.client.submit_spec,
                    version=self.record.spec.version, failures=self._failures, log_size=self._log_size,
                )  # fmt: skip
                return outcome
        if self._is_claim_old():
            await self._check_lease()
        self._start_timeout(task)
        result = await execute(
            task,
            task.decode_arguments(arguments, spec.version),
            context,
            resources=self._runtime.resources,
            middleware=self._runtime.registry.middleware,
            threads=self._runtime.threads,
        )
        return Succeeded(result)

    def _is_claim_old(self) -> bool:
        """Return whether the claim is so old that another worker may have the job."""
        return time.monotonic() - self._claimed_at > self._runtime.settings.lease_duration / HEARTBEATS_PER_LEASE

    async def _check_lease(self) -> None:
        """Confirm the lease. Raises `LeaseLost`."""
        if not await self._runtime.confirm_lease(self.lease):
            self.stop_reason = StopReason.LOST
            raise LeaseLost

    async def _keep_argument_files(self, spec: JobSpec, arguments: str) -> None:
        """Keep the files that this job's arguments name as long as this job, even if its parent is removed."""
        try:
            await self._runtime.client.keep_files(spec, arguments)
        except FilesUnavailable as error:
            raise RetryLater(RETRY_DELAY) from error

    def _dispatch(self, task: AnyTask, dispatch: DispatchFactory, arguments: str) -> Outcome:
        """Return the outcome that dispatches the attempt to an external worker, bounded by the task's timeout and the deadline."""
        task.decode_arguments(arguments, self.record.spec.version)  # so that wrong arguments fail and are not sent
        seconds = min(task.policy.timeout or math.inf, math.inf if self._remaining is None else self._remaining)
        if seconds <= 0:
            raise DeadlinePassed("The job's deadline passed before it could be dispatched.")
        resolved = arguments if self.record.spec.placeholders else None
        return Dispatched(seconds, dispatch(self.record, self.lease, seconds, resolved))

    def _emit_attempt_event(self) -> None:
        """Emit an `attempt` event so that readers discard earlier output.

        Later attempts of external tasks always have this event, so the numbers of their own events are offset by one.
        """
        if self.record.attempt == 1:
            return
        if self._had_events() or (self._task is not None and self._task.mode == "remote"):
            self._events.add(NewEvent(ATTEMPT, f'{{"attempt":{self.record.attempt}}}'))

    def _had_events(self) -> bool:
        """Return whether clients may have seen events of earlier attempts. They never see log records."""
        if not self._log_size:
            return self.record.last > 0
        return any(
            each.change in (Change.FIRST_EVENT, Change.ENDED) for each in load_transitions(self.record.transitions)
        )

    def _keep_record(self, event: NewEvent) -> None:
        if not self._events.closed:
            self._events.add(event)

    def _start_timeout(self, task: AnyTask) -> None:
        seconds, reason = task.policy.timeout, StopReason.TIMEOUT
        if self._remaining is not None and (seconds is None or self._remaining < seconds):
            seconds, reason = self._remaining, StopReason.TIMEOUT if self.dispatched else StopReason.DEADLINE
        if seconds is not None:
            self._timeout = seconds
            self._timers.append(self._loop.call_later(seconds, self.stop, reason))
            self._renewed_until = self._loop.time() + seconds + task.policy.cancel_grace + REPORT_TIMEOUT

    def _make_channel(self) -> TaskChannel:
        events, client, stopping = self._events, self._runtime.client, self._is_stopping
        if self._task is not None and self._task.mode == "thread":
            return ThreadChannel(events, client, stopping, usage=self._usage, loop=self._loop)
        return LoopChannel(events, client, stopping, usage=self._usage)

    def _new_context(self) -> Context:
        spec = self.record.spec
        return Context(
            job_id=spec.id,
            task=spec.task,
            queue=spec.queue,
            attempt=self.record.attempt,
            user=spec.user,
            key=spec.key,
            parent=spec.parent,
            labels=dict(spec.labels),
            trace=self.span.traceparent or spec.trace,
            remaining=self._remaining,
            payload_limit=self._runtime.settings.payload_limit,
            channel=self._channel,
            tracer=self._runtime.client.telemetry.tracer,
        )

    def _is_stopping(self) -> bool:
        return self.stop_reason is not None

    def _error_outcome(self, error: BaseException) -> Outcome:
        task = self._task
        if task is None or isinstance(error, LeaseLost):
            return Released()
        if isinstance(error, ResourceFailed) and self._runtime.isolated:
            return Released(RETRY_DELAY)  # other workers do not even claim jobs whose resources are closed
        self._throttled = is_throttled(error)
        return classify_error(error, failures=self._failures, retry=task.policy.retry, registry=self._runtime.registry)

    def _stopped_outcome(self) -> Outcome:
        match self.stop_reason:
            case StopReason.CANCEL:
                return Cancelled()
            case StopReason.TIMEOUT:
                return self._error_outcome(TimedOut(f"The task did not end within {self._timeout:g} seconds."))
            case StopReason.DEADLINE:
                return self._error_outcome(DeadlinePassed("The job's deadline passed while it ran."))
            case _:
                return Released()

    def _on_grace_expired(self) -> None:
        if self.finished:
            return
        logger.warning(
            "job %s (%s) was %s and does not stop: its end is reported, and its slot is taken until the task returns",
            self.record.id, self.record.spec.task, self.stop_reason,
        )  # fmt: skip
        self._late_finish = self._loop.create_task(self._finish(self._stopped_outcome()))
        self._runtime.on_grace_expired()

    async def _finish(self, outcome: Outcome) -> None:
        if self.finished or self.stop_reason is StopReason.LOST or self._events.closed:
            self.finished = True
            return
        self.finished, self._ended_at = True, time.monotonic()
        ordinal, events = await self._events.drain()
        self._events.closed = True  # a task that exceeds its grace may still emit
        outcome = add_job_context(outcome, self.record.id, self.record.attempt)
        report_end(
            self.record, outcome, dispatched=self.dispatched, seconds=self.seconds, level=self._runtime.log_level,
        )  # fmt: skip
        self.reported = True
        self._runtime.reporter.report(
            AttemptResult(
                lease=self.lease, outcome=outcome, ordinal=ordinal, entries=events, usage=self._usage.total,
                throttled=self._throttled, trace=self.span.traceparent,
            )
        )  # fmt: skip
