"""Worker: claims jobs, runs them, renews their leases and reports their results."""

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from sidelane.model.event import PROGRESS
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, Lease
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.settings import Settings
from sidelane.model.worker import OK, STOPPED, Claimed, WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.processes.own_usage import CpuMeter, own_memory
from sidelane.stores.contract import JobSource
from sidelane.tasks.registry import Registry
from sidelane.tasks.resources import Resources
from sidelane.telemetry.loop import LoopMeter
from sidelane.worker.attempt import Attempt, Runtime, StopReason
from sidelane.worker.attempt_telemetry import AttemptTelemetry
from sidelane.worker.blocked_loop import RunningJob
from sidelane.worker.capacity import QueueShare
from sidelane.worker.child_pool import ChildPool
from sidelane.worker.child_protocol import log_options
from sidelane.worker.fetcher import JobFetcher
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE, Heartbeat, HeartbeatSource
from sidelane.worker.instructions import OperatorInstructions
from sidelane.worker.isolation import IsolationWorkers
from sidelane.worker.reporter import Reporter
from sidelane.worker.task_channel import TaskClient

RESOURCE_RETRY_INTERVAL = 5.0
"""Seconds until a resource that failed to open is tried again."""

MIN_SHUTDOWN_TIMEOUT = 30.0
"""Seconds that a draining worker waits at least, unless the setting says otherwise."""

STOP_NOW_GRACE = 0.3
"""Seconds that a task has to clean up if its worker must stop immediately."""

REPORT_GRACE = 0.2
"""Seconds after their grace in which the results of tasks that do not stop are written."""

EXIT_GRACE = 2.0
"""Seconds after that in which an isolation worker exits."""

logger = logging.getLogger(__name__)


class BackgroundService(Protocol):
    """A loop that a worker runs beside its jobs until it drains, e.g. a message receiver. A service handles its own errors."""

    @property
    def error(self) -> str | None:
        """Why the service does not work at the moment, in a sentence for the worker's health."""
        ...

    async def run(self) -> None:
        """Work until cancelled. Other workers repeat unfinished work."""
        ...


def shutdown_timeout(settings: Settings, registry: Registry, queues: Container[str]) -> float:
    """Return how many seconds a draining worker of these queues waits for its jobs: the setting, else their longest timeout."""
    if settings.shutdown_timeout is not None:
        return settings.shutdown_timeout
    tasks = [task.policy for task in registry.tasks.values() if task.policy.queue in queues]
    return max([MIN_SHUTDOWN_TIMEOUT, *((task.timeout or settings.timeout) + task.cancel_grace for task in tasks)])


class Worker:
    """Runs jobs of some queues until it is drained.

    The first of `shares` is for the user's queues, and its slots are shown as those of the worker; internal jobs have their own
    slots. If the first share is for isolated jobs, the worker is an isolation worker, which opens resources when they are needed.
    `open_source` opens the connection of the heartbeat. `on_progress` is called with each job that reports progress. With
    `exit_when_stuck`, the process exits if its event loop is blocked for a lease.
    """

    def __init__(
        self,
        source: JobSource,
        *,
        open_source: Callable[[], Awaitable[HeartbeatSource]],
        registry: Registry,
        settings: Settings,
        client: TaskClient,
        shares: Sequence[QueueShare],
        name: str = "worker",
        background_services: Callable[["Worker"], Sequence[BackgroundService]] = lambda worker: (),
        on_progress: Callable[[JobRecord], None] = lambda record: None,
        exit_when_stuck: bool = False,
    ) -> None:
        self.name = name
        self.id = f"{name}:{socket.gethostname()}:{os.getpid()}:{new_nonce()[:6]}"
        self._source = source
        self._settings = settings
        self._registry = registry
        self._capacities, self._isolated = [share.capacity for share in shares], shares[0].isolated
        self._isolation = IsolationWorkers(
            registry, settings, name=name, queues=list(self._capacities[0].queues), slots=self._capacities[0].total
        )
        self._services, self._on_progress = background_services(self), on_progress
        self._attempts: dict[Lease, Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()
        restart = self.drain if exit_when_stuck and not self._isolated else None
        self.instructions = OperatorInstructions(client, registry, self._tasks, self._isolation, restart)
        self._started, self._cpu = time.time(), CpuMeter()
        self._last_end = time.monotonic()
        self.finished = 0  # attempts of the user's jobs that have ended
        self._confirming = RetryUntilAvailable("confirm a lease")
        self._telemetry = AttemptTelemetry(client.telemetry, self.id)
        self._loop_meter = LoopMeter(client.telemetry, interval=settings.lease_duration / HEARTBEATS_PER_LEASE / 4)
        self._resources = Resources(registry.overrides)
        self._children = ChildPool(lambda: log_options(name, settings))
        self._threads = ThreadPoolExecutor(settings.concurrency, "sidelane-task")
        self._reporter = Reporter(
            source, on_lost=lambda append: self._on_lease_statuses([(append.lease, LeaseStatus.LOST)]),
            on_reported=self._on_reported, on_appended=self._on_appended,
        )  # fmt: skip
        self._runtime = Runtime(
            registry=registry, resources=self._resources, settings=settings, threads=self._threads,
            children=self._children, client=client, reporter=self._reporter, confirm_lease=self._confirm_lease,
            on_grace_expired=self._on_grace_expired, isolated=self._isolated,
        )  # fmt: skip
        self._fetchers = [
            JobFetcher(
                source, share, worker=self.id, lease=settings.lease_duration, tasks=self.instructions.claimable, start=self._start,
                on_isolated=self._isolation.on_claim, release=settings.release,
            )
            for share in shares
        ]  # fmt: skip
        self._heartbeat = Heartbeat(
            open_source, lease=settings.lease_duration, meter=self._loop_meter, leases=self._leases, jobs=self._jobs,
            info=self.info, on_statuses=self._on_lease_statuses, exit_when_stuck=exit_when_stuck,
        )  # fmt: skip
        self._drain, self._stop_now = asyncio.Event(), asyncio.Event()
        self._stopped = False
        self._opening_resources: asyncio.Timeout | None = None

    @property
    def health(self) -> str:
        """Return "ok", or a sentence about why this worker does not work."""
        errors = [
            *self._claim_errors, self._reporter.error, self._heartbeat.error, self._isolation.error,
            *(service.error for service in self._services), *self._resources.failed.values(),
        ]  # fmt: skip
        if self._stopped:
            return STOPPED
        if self._drain.is_set():
            return "draining: it finishes its jobs and takes no more"
        if self.instructions.drains:
            return f"{'draining' if self._busy else 'drained'}: it takes no jobs until an operator resumes it"
        if self._opening_resources is not None:
            return "opening its resources"
        return next((error for error in errors if error), OK)

    @property
    def can_claim(self) -> bool:
        """Whether the worker takes jobs at the moment: the store answers its claims, and it does not drain."""
        drains = self._drain.is_set() or self.instructions.drains
        return not drains and not any(self._claim_errors) and all(fetcher.claimed for fetcher in self._fetchers)

    @property
    def _claim_errors(self) -> list[str | None]:
        return [self._heartbeat.blocked, *(fetcher.error for fetcher in self._fetchers)]

    @property
    def idle(self) -> float:
        """Number of seconds for which the worker has run no job."""
        return 0.0 if self._running else time.monotonic() - self._last_end

    @property
    def shutdown_timeout(self) -> float:
        """Seconds for which a draining worker waits for running jobs. The default stops no job at a deploy (docs/workers.md)."""
        return shutdown_timeout(self._settings, self._registry, self._capacities[0].queues)

    def info(self) -> WorkerInfo:
        """Return the description of this worker that its heartbeats send."""
        return WorkerInfo(
            id=self.id, name=self.name, host=socket.gethostname(), pid=os.getpid(),
            queues={name: limit for capacity in self._capacities for name, limit in capacity.queues.items()}, tasks=self._tasks(),
            slots=self._capacities[0].total, running=self._capacities[0].used, started=self._started, health=self.health,
            isolation=self._isolated, memory=own_memory(), cpu=self._cpu.fraction(), release=self._settings.release,
            loop_lag=self._loop_meter.lag, restartable=self.instructions.can_restart, request=self.instructions.action or "",
        )  # fmt: skip

    def log_jobs(self) -> None:
        """Log the start and the end of each job at INFO, from now on: for development."""
        self._runtime = replace(self._runtime, log_level=logging.INFO)

    def drain(self) -> None:
        """Claim no more jobs, let running jobs finish for `shutdown_timeout` seconds, release the remaining jobs, and end."""
        self._drain.set()
        if self._opening_resources is not None:
            self._opening_resources.reschedule(0.0)

    def stop_now(self) -> None:
        """Release all running jobs immediately, and end."""
        self._stop_now.set()
        self.drain()

    async def run(self) -> None:
        """Work until drained."""
        self._heartbeat.start()
        try:
            await self._open_resources_at_start()
            logger.info(
                "worker %s is ready for jobs of %s, %d at once",
                self.name, ", ".join(self._capacities[0].queues), self._capacities[0].total,
            )  # fmt: skip
            async with asyncio.TaskGroup() as group:
                fetchers = [group.create_task(fetcher.run()) for fetcher in self._fetchers]
                services = [group.create_task(service.run()) for service in self._services]
                loops = [
                    group.create_task(self._reporter.run_appends()),
                    group.create_task(self._reporter.run_reports()),
                    group.create_task(self._loop_meter.run()),
                    group.create_task(self.instructions.run(self.id, self._fetchers)),
                    group.create_task(self._retry_resources()),
                ]
                await self._drain.wait()
                self._isolation.drain()
                for fetcher in self._fetchers:
                    fetcher.stop()
                for service in services:
                    service.cancel()
                await asyncio.wait(fetchers, timeout=self._settings.lease_duration)
                await self._finish_jobs()
                for loop in (*fetchers, *loops):
                    loop.cancel()
        finally:
            await self._close()

    async def _finish_jobs(self) -> None:
        if self._busy and not self._stop_now.is_set():
            timeout = self.shutdown_timeout
            limit = f" for up to {timeout:g} s" if math.isfinite(timeout) else ""
            logger.info("worker %s drains%s; running jobs: %d", self.name, limit, len(self._busy))
            await self._wait_for_jobs(timeout)
        self._isolation.stop_now()
        if self._running:
            logger.warning("worker %s releases its running jobs: %d", self.name, len(self._running))
            grace = STOP_NOW_GRACE if self._stop_now.is_set() else self._settings.cancel_grace
            for attempt in list(self._attempts.values()):
                attempt.stop(StopReason.RELEASE, grace=grace)
            await asyncio.wait(self._running, timeout=grace + REPORT_GRACE)
        if self._isolation.running:
            await asyncio.wait(self._isolation.running, timeout=self._settings.cancel_grace + EXIT_GRACE)
        try:
            await asyncio.wait_for(self._reporter.wait_reported(), self._settings.lease_duration)
        except TimeoutError:
            logger.error("the last results of worker %s did not reach the store; its leases will expire", self.name)

    async def _wait_for_jobs(self, seconds: float) -> None:
        """Wait until no job runs, `seconds` have passed, or all jobs must stop now."""
        stop_now = asyncio.create_task(self._stop_now.wait())
        end = time.monotonic() + seconds
        while self._busy and not stop_now.done() and (left := end - time.monotonic()) > 0:
            timeout = left if math.isfinite(left) else None
            await asyncio.wait([*self._busy, stop_now], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        stop_now.cancel()

    async def _close(self) -> None:
        self._stopped = True
        for task in self._running:
            task.cancel()
        self._telemetry.lost(*self._attempts.values())
        await asyncio.to_thread(self._heartbeat.stop)
        await self._children.close()
        self._isolation.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._resources.close()
        logger.info("worker %s has stopped", self.name)

    async def _open_resources_at_start(self) -> None:
        """Open the resources before the first claim, unless drained meanwhile.

        The asyncio task that opens the resources must close them.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as self._opening_resources:
                for task in set(self._registry.tasks.values()):
                    if task.mode != "process" and not self._isolated:
                        await self._resources.open(task.signature.uses)
        self._opening_resources = None

    async def _retry_resources(self) -> None:
        while True:
            await asyncio.sleep(RESOURCE_RETRY_INTERVAL)
            failed = {resource.name: resource for resource in self._resources.failed}
            if failed:
                await self._resources.open(failed)
                for fetcher in self._fetchers:
                    fetcher.on_tasks_changed()

    def _tasks(self) -> dict[str, int]:
        known = self._registry.task_versions(without=self._resources.failed)
        if self._isolated:
            return {name: version for name, version in known.items() if self._registry.tasks[name].isolable}
        return known

    async def _confirm_lease(self, lease: Lease) -> bool:
        """Ask the store whether a lease is still valid."""
        statuses = await self._confirming.call(
            lambda: self._source.heartbeat(self.info(), [lease], lease=self._settings.lease_duration)
        )
        return statuses is not None and statuses[0] is not LeaseStatus.LOST

    def _on_grace_expired(self) -> None:
        """Exit if a task exceeds its grace, because it would keep the only slot."""
        if self._isolated:
            self.stop_now()

    @property
    def _busy(self) -> set[asyncio.Task[None]]:
        return self._running | self._isolation.running

    def _start(self, claimed: Claimed, claimed_at: float) -> None:
        attempt = Attempt(claimed, self._runtime, claimed_at, self._telemetry.started(claimed))
        self._attempts[claimed.lease] = attempt
        task = attempt.start()
        self._running.add(task)
        task.add_done_callback(lambda ended: self._on_end(attempt, ended))

    def _on_end(self, attempt: Attempt, ended: "asyncio.Task[None]") -> None:
        self._running.discard(ended)
        self._last_end = time.monotonic()
        queue = attempt.record.spec.queue
        capacity = next(capacity for capacity in self._capacities if queue in capacity.queues)
        capacity.release(attempt.record)
        self.finished += capacity is self._capacities[0]
        if not attempt.reported:
            self._attempts.pop(attempt.lease, None)
        if attempt.lost or ended.cancelled() or ended.exception():
            self._telemetry.lost(attempt)
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logger.error("internal error while running job %s", attempt.record.id, exc_info=error)
        for fetcher in self._fetchers:
            fetcher.on_slot_free()

    def _on_reported(self, result: AttemptResult, accepted: bool) -> None:
        attempt = self._attempts.pop(result.lease, None)
        if attempt is not None:
            self._telemetry.ended(attempt, result, accepted=accepted)
        if not accepted:
            logger.warning("job %s had been given to another worker; this one's result is ignored", result.lease.job_id)

    def _on_appended(self, append: EventAppend) -> None:
        attempt = self._attempts.get(append.lease)
        if attempt is None:
            return
        self._telemetry.appended(attempt, append)
        if any(event.name == PROGRESS for event in append.entries):
            self._on_progress(attempt.record)

    def _on_lease_statuses(self, changed: Sequence[tuple[Lease, LeaseStatus]]) -> None:
        for lease, status in changed:
            attempt = self._attempts.get(lease)
            if attempt is None or attempt.finished:
                continue
            if status is LeaseStatus.LOST:
                logger.warning("job %s: its lease is lost, so this attempt stops", lease.job_id)
            attempt.stop(StopReason.LOST if status is LeaseStatus.LOST else StopReason.CANCEL)

    def _jobs(self) -> list[RunningJob]:
        return [job for attempt in list(self._attempts.values()) if (job := attempt.as_running_job()) is not None]

    def _leases(self) -> list[Lease]:
        return [attempt.lease for attempt in list(self._attempts.values()) if not attempt.past_grace]


@asynccontextmanager
async def run_in_background(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker in this process during the block, then drain the worker."""
    running = asyncio.create_task(worker.run(), name=worker.id)
    running.add_done_callback(_log_crash)
    try:
        yield worker
    finally:
        worker.drain()
        await running


def _log_crash(ended: "asyncio.Task[None]") -> None:
    """Log immediately that a worker crashed, because the block that awaits the worker may take days."""
    if not ended.cancelled() and (error := ended.exception()) is not None:
        logger.critical("%s has crashed and runs no more jobs", ended.get_name(), exc_info=error)
