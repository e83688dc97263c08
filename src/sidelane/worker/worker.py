"""The worker: claims, runs, heartbeats, reports."""

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sidelane.model.event import PROGRESS
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, Lease
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.settings import Settings
from sidelane.model.worker import OK, STOPPED, Claimed, WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import JobSource
from sidelane.tasks.registry import Registry
from sidelane.tasks.resources import Resources
from sidelane.worker.attempt import Attempt, Runtime, StopReason, Submitter
from sidelane.worker.background_service import BackgroundService
from sidelane.worker.child_pool import ChildPool
from sidelane.worker.fetcher import JobFetcher, QueueShare
from sidelane.worker.heartbeat import Heartbeat, HeartbeatSource
from sidelane.worker.isolation import IsolationWorkers
from sidelane.worker.reporter import Reporter
from sidelane.worker.watchdog import HEARTBEATS_PER_LEASE, LoopCounter

RESOURCE_RETRY_INTERVAL = 5.0
"""Seconds between two tries to open a resource that failed."""

STOP_NOW_GRACE = 0.3
"""Seconds a task has to clean up when its worker is told to stop at once."""

REPORT_GRACE = 0.2
"""Seconds beyond the grace of the attempts for those that hang on to be reported without them."""

EXIT_GRACE = 2.0
"""Seconds beyond that for an isolation worker to end its process."""

logger = logging.getLogger(__name__)


class Worker:
    """Runs jobs of some queues until it is told to drain.

    The first of `shares` is its users', whose slots it is known by; side work has slots of its own. If it is of isolated jobs, this
    is an isolation worker, which opens resources when they are needed. `open_source` opens the heartbeat's own connection;
    `attendants` run beside the jobs. `on_progress` is called with each job that reports progress.
    `exit_when_stuck`: end the process when its loop is blocked for a lease.
    """

    def __init__(
        self,
        source: JobSource,
        *,
        open_source: Callable[[], Awaitable[HeartbeatSource]],
        registry: Registry,
        settings: Settings,
        submitter: Submitter,
        shares: Sequence[QueueShare],
        name: str = "worker",
        attendants: Sequence[BackgroundService] = (),
        on_progress: Callable[[JobRecord], None] = lambda record: None,
        exit_when_stuck: bool = False,
    ) -> None:
        self.name = name
        self.id = f"{name}:{socket.gethostname()}:{os.getpid()}:{new_nonce()[:6]}"
        self._source = source
        self._settings = settings
        self._registry = registry
        self._slots = [share.slots for share in shares]
        self._isolated = shares[0].isolated
        self._isolation = IsolationWorkers(
            registry, settings, name=name, queues=list(self._slots[0].queues), slots=self._slots[0].total
        )
        self._attendants = attendants
        self._on_progress = on_progress
        self._attempts: dict[Lease, Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._started = time.time()
        self._last_end = time.monotonic()
        self._confirming = RetryUntilAvailable("look at a lease again")
        self._pulse = LoopCounter()
        self._resources = Resources(registry.overrides)
        self._children = ChildPool()
        self._threads = ThreadPoolExecutor(settings.concurrency, "sidelane-task")
        self._reporter = Reporter(
            source, on_lost=self._on_lost, on_reported=self._on_reported, on_appended=self._on_appended
        )  # fmt: skip
        self._runtime = Runtime(
            registry=registry, resources=self._resources, settings=settings, threads=self._threads,
            children=self._children, submitter=submitter, reporting=self._reporter, confirm=self._confirm,
            overdue=self._on_overdue, isolated=self._isolated,
        )  # fmt: skip
        self._claimings = [
            JobFetcher(
                source, share, worker=self.id, lease=settings.lease_duration, tasks=self._tasks, start=self._start,
                heard=self._isolation.heard,
            )
            for share in shares
        ]  # fmt: skip
        self._heartbeat = Heartbeat(
            open_source, lease=settings.lease_duration, pulse=self._pulse, leases=self._leases, info=self.info,
            on_verdicts=self._on_verdicts, exit_when_stuck=exit_when_stuck,
        )  # fmt: skip
        self._drain = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._stopped = False
        self._opening: asyncio.Timeout | None = None

    @property
    def health(self) -> str:
        """Say "ok", or in a sentence what keeps this worker from its work."""
        troubles = [
            self._heartbeat.stuck,
            *(claiming.error for claiming in self._claimings),
            self._reporter.error,
            self._heartbeat.error,
            self._isolation.error,
            *(attendant.error for attendant in self._attendants),
            *self._resources.failed.values(),
        ]
        if self._stopped:
            return STOPPED
        if self._drain.is_set():
            return "draining: it finishes its jobs and takes no more"
        if self._opening is not None:
            return "opening its resources"
        return next((trouble for trouble in troubles if trouble), OK)

    @property
    def idle(self) -> float:
        """For how many seconds it has run nothing."""
        return 0.0 if self._running else time.monotonic() - self._last_end

    def info(self) -> WorkerInfo:
        """Describe this worker as its heartbeats do."""
        return WorkerInfo(
            id=self.id, name=self.name, host=socket.gethostname(), pid=os.getpid(),
            queues={name: most for slots in self._slots for name, most in slots.queues.items()}, tasks=self._tasks(),
            slots=self._slots[0].total, running=self._slots[0].taken, started=self._started, health=self.health,
            isolation=self._isolated,
        )  # fmt: skip

    def drain(self) -> None:
        """Take no more jobs, let the running ones finish for `drain` seconds, give the rest back, and end."""
        self._drain.set()
        if self._opening is not None:
            self._opening.reschedule(0.0)

    def stop_now(self) -> None:
        """Give everything back at once, and end."""
        self._stop_now.set()
        self.drain()

    async def run(self) -> None:
        """Work until told to drain."""
        self._heartbeat.start()
        try:
            await self._open_first()
            logger.info(
                "worker %s is ready for jobs of %s, %d at once",
                self.name, ", ".join(self._slots[0].queues), self._slots[0].total,
            )  # fmt: skip
            async with asyncio.TaskGroup() as group:
                claims = [group.create_task(claiming.run()) for claiming in self._claimings]
                attendants = [group.create_task(attendant.run()) for attendant in self._attendants]
                loops = [
                    group.create_task(self._reporter.run_appends()),
                    group.create_task(self._reporter.run_reports()),
                    group.create_task(self._pulse.run(self._settings.lease_duration / HEARTBEATS_PER_LEASE / 4)),
                    group.create_task(self._retry_resources()),
                ]
                await self._drain.wait()
                self._isolation.drain()
                for claiming in self._claimings:
                    claiming.stop()
                for attendant in attendants:
                    attendant.cancel()
                await asyncio.wait(claims, timeout=self._settings.lease_duration)
                await self._finish_jobs()
                for loop in (*claims, *loops):
                    loop.cancel()
        finally:
            await self._close()

    async def _finish_jobs(self) -> None:
        if self._busy and not self._stop_now.is_set():
            most = (
                f" for up to {self._settings.shutdown_timeout:g} s"
                if math.isfinite(self._settings.shutdown_timeout)
                else ""
            )
            logger.info("worker %s drains%s: jobs to finish: %d", self.name, most, len(self._busy))
            await self._until_done(self._settings.shutdown_timeout)
        self._isolation.stop_now()
        if self._running:
            logger.warning("worker %s gives back what has not finished: %d", self.name, len(self._running))
            grace = STOP_NOW_GRACE if self._stop_now.is_set() else self._settings.cancel_grace
            for attempt in list(self._attempts.values()):
                attempt.stop(StopReason.RELEASE, grace=grace)
            await asyncio.wait(self._running, timeout=grace + REPORT_GRACE)
        if self._isolation.running:
            await asyncio.wait(self._isolation.running, timeout=self._settings.cancel_grace + EXIT_GRACE)
        try:
            await asyncio.wait_for(self._reporter.settled(), self._settings.lease_duration)
        except TimeoutError:
            logger.error("the last reports of worker %s did not reach the store; its leases will run out", self.name)

    async def _until_done(self, seconds: float) -> None:
        """Wait until nothing runs, the time is over, or everything must stop now."""
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
        await asyncio.to_thread(self._heartbeat.stop)
        await self._children.close()
        self._isolation.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._resources.close()
        logger.info("worker %s has stopped", self.name)

    async def _open_first(self) -> None:
        """Open the resources before the first claim, unless told to stop meanwhile. In this very task, which closes them too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as self._opening:
                await self._open_resources()
        self._opening = None

    async def _open_resources(self) -> None:
        for task in set(self._registry.tasks.values()):
            if task.mode != "process" and not self._isolated:
                await self._resources.open(task.signature.uses)

    async def _retry_resources(self) -> None:
        while True:
            await asyncio.sleep(RESOURCE_RETRY_INTERVAL)
            failed = {resource.name: resource for resource in self._resources.failed}
            if failed:
                await self._resources.open(failed)
                for claiming in self._claimings:
                    claiming.more_tasks()

    def _tasks(self) -> dict[str, int]:
        known = self._registry.task_versions(without=self._resources.failed)
        if self._isolated:
            return {name: version for name, version in known.items() if self._registry.tasks[name].isolable}
        return known

    async def _confirm(self, lease: Lease) -> bool:
        """Ask the store whether a lease still holds."""
        verdicts = await self._confirming.call(
            lambda: self._source.heartbeat(self.info(), [lease], lease=self._settings.lease_duration)
        )
        return verdicts is not None and verdicts[0] is not LeaseStatus.LOST

    def _on_overdue(self) -> None:
        """Leave with a task that outlives its grace: it would keep the only slot."""
        if self._isolated:
            self.stop_now()

    @property
    def _busy(self) -> set[asyncio.Task[None]]:
        return self._running | self._isolation.running

    def _start(self, claimed: Claimed, asked: float) -> None:
        attempt = Attempt(claimed, self._runtime, asked)
        self._attempts[claimed.lease] = attempt
        task = attempt.start()
        self._running.add(task)
        task.add_done_callback(lambda ended: self._on_end(attempt, ended))

    def _on_end(self, attempt: Attempt, ended: "asyncio.Task[None]") -> None:
        self._running.discard(ended)
        self._last_end = time.monotonic()
        queue = attempt.record.spec.queue
        next(slots for slots in self._slots if queue in slots.queues).release(attempt.record)
        if not attempt.reported:
            self._attempts.pop(attempt.lease, None)
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logger.error("job %s broke its worker's own code", attempt.record.id, exc_info=error)
        for claiming in self._claimings:
            claiming.freed()

    def _on_reported(self, report: AttemptResult, held: bool) -> None:
        self._attempts.pop(report.lease, None)
        if not held:
            logger.warning(
                "job %s had been given to another worker; what this one reported was not taken", report.lease.job_id
            )

    def _on_appended(self, append: EventAppend) -> None:
        attempt = self._attempts.get(append.lease)
        if attempt is not None and any(entry.name == PROGRESS for entry in append.entries):
            self._on_progress(attempt.record)

    def _on_lost(self, append: EventAppend) -> None:
        self._on_verdicts([(append.lease, LeaseStatus.LOST)])

    def _on_verdicts(self, news: Sequence[tuple[Lease, LeaseStatus]]) -> None:
        for lease, verdict in news:
            attempt = self._attempts.get(lease)
            if attempt is None or attempt.concluded:
                continue
            if verdict is LeaseStatus.LOST:
                logger.warning("job %s: its lease is lost, so this attempt stops", lease.job_id)
            attempt.stop(StopReason.LOST if verdict is LeaseStatus.LOST else StopReason.CANCEL)

    def _leases(self) -> list[Lease]:
        return [attempt.lease for attempt in list(self._attempts.values()) if not attempt.overstayed]
