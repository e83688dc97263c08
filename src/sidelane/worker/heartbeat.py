"""Heartbeats: a thread with its own event loop and store connection renews a worker's leases and watches the main loop (rule 4)."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from sidelane.model.errors import StoreError
from sidelane.model.job import Lease
from sidelane.model.outcome import AttemptResult, LeaseStatus, Released
from sidelane.model.worker import WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import worker_topic
from sidelane.telemetry.loop import LoopMeter
from sidelane.worker.blocked_loop import BlockedLoop, RunningJob
from sidelane.worker.stack import LoopStacks
from sidelane.worker.stack_responder import RequestSource, StackResponder

HEARTBEATS_PER_LEASE = 3

EXIT_STUCK = 70
"""Exit status of a process whose event loop was blocked for a lease (EX_SOFTWARE of sysexits.h)."""

BLOCKED_AFTER, CHECK_INTERVAL = 1.0, 0.5
"""Seconds without a response of the main loop after which the log says what blocks it, and between two checks."""

logger = logging.getLogger(__name__)


class LoopWatchdog:
    """Measures for how long the meter of a loop has not counted. Another thread calls `blocked_for` every `interval` seconds.

    A late call counts for `interval` at most, because a process that was stopped as a whole, or a suspended laptop, is not blocked.
    """

    def __init__(self, meter: LoopMeter, interval: float) -> None:
        self._meter = meter
        self._interval = interval
        self._count = -1
        self._checked = time.monotonic()
        self._seconds = 0.0

    def blocked_for(self) -> float:
        """Return for how many seconds the counter has not changed."""
        now = time.monotonic()
        passed, self._checked = min(now - self._checked, self._interval), now
        self._seconds = self._seconds + passed if self._meter.count == self._count else 0.0
        self._count = self._meter.count
        return self._seconds


class HeartbeatSource(RequestSource, Protocol):
    """The part of a job source that heartbeats use; see `stores.contract.JobSource`."""

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]: ...
    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]: ...
    async def close(self) -> None: ...


class Heartbeat:
    """Renews leases every third of a lease, and immediately when the store notifies that a job should stop.

    The same thread answers requests for stacks. `leases`, `jobs` and `info` are called in this thread; `on_statuses` is called on
    the main loop, with leases that are lost or cancelled. If the main loop is blocked for a second, the log names the cause. If it
    has been blocked for a lease, the process releases the other jobs and ends, provided that `exit_when_stuck` is true. Otherwise
    its leases are renewed no more, so that other workers take over its jobs (rule 4).
    """

    def __init__(
        self,
        open_source: Callable[[], Awaitable[HeartbeatSource]],
        *,
        lease: float,
        meter: LoopMeter,
        leases: Callable[[], Sequence[Lease]],
        jobs: Callable[[], Sequence[RunningJob]],
        info: Callable[[], WorkerInfo],
        on_statuses: Callable[[Sequence[tuple[Lease, LeaseStatus]]], None],
        exit_when_stuck: bool,
    ) -> None:
        self._open_source = open_source
        self._lease = lease
        self._interval = lease / HEARTBEATS_PER_LEASE
        self._watchdog = LoopWatchdog(meter, self._interval)
        self._leases = leases
        self._jobs = jobs
        self._info = info
        self._on_statuses = on_statuses
        self._exit_when_stuck = exit_when_stuck
        self._main = asyncio.get_running_loop()
        self._main_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="sidelane-heartbeat", daemon=True)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None  # the same on the thread's loop
        self._renewing = RetryUntilAvailable("renew its leases")
        self.blocked: str | None = None  # a sentence, while the main loop is blocked

    @property
    def error(self) -> str | None:
        """Why heartbeats do not reach the store at the moment, or None."""
        return self._renewing.error

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after one last heartbeat, after which the store deletes the worker. Blocks until then."""
        self._stopping.set()
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(self._lease)

    def _run(self) -> None:
        asyncio.run(self._run_loop())

    async def _run_loop(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        watching = asyncio.create_task(self._watch_main_loop())
        while not self._stopping.is_set():
            try:
                source = await self._open_source()
            except StoreError as error:
                self._renewing.failed(error)
                await self._pause(self._interval)
                continue
            answering = asyncio.create_task(self._stack_responder(source).run())
            try:
                await self._renew_until_stopped(source)
            except StoreError as error:  # it could not be watched
                self._renewing.failed(error)
                await self._pause(self._interval)
            finally:
                answering.cancel()
                await asyncio.wait([answering])
                await source.close()
        watching.cancel()

    def _stack_responder(self, source: HeartbeatSource) -> StackResponder:
        stacks = LoopStacks(self._main, self._main_thread)
        return StackResponder(
            source, jobs=self._jobs, stacks=stacks, worker=self._info().id, interval=self._interval
        )  # fmt: skip

    async def _watch_main_loop(self) -> None:
        """Log once when the main loop has not responded for a second, if jobs run on it.

        One late check is not enough, because a process that was stopped as a whole is not blocked.
        """
        responded: threading.Event | None = None
        missed = 0
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            if responded is None or responded.is_set():
                responded, missed = self._ping_main_loop(), 0
                continue
            missed += 1
            if missed * CHECK_INTERVAL == BLOCKED_AFTER:
                blocked = BlockedLoop.inspect(self._main_thread, self._jobs())
                logger.warning("the event loop is blocked: %s", blocked, extra={"traceback": blocked.stack})

    def _ping_main_loop(self) -> threading.Event | None:
        """Return an event that the main loop sets as soon as it can; None if no jobs run."""
        if not self._leases() or self._main.is_closed():
            return None
        responded = threading.Event()
        self._main.call_soon_threadsafe(responded.set)
        return responded

    async def _renew_until_stopped(self, source: HeartbeatSource) -> None:
        async with source.watch(worker_topic(self._info().id)) as subscription:
            while True:
                stopping = self._stopping.is_set()
                await self._renew(source)
                if stopping:
                    return
                notified = asyncio.ensure_future(subscription.wait(self._interval))
                stop = asyncio.ensure_future(self._wait_for_stop())
                await asyncio.wait([notified, stop], return_when=asyncio.FIRST_COMPLETED)
                for task in (notified, stop):
                    task.cancel()

    async def _renew(self, source: HeartbeatSource) -> None:
        if await self._check_main_loop(source):
            return
        leases = self._leases()
        try:
            statuses = await source.heartbeat(self._info(), leases, lease=self._lease)
        except StoreError as error:
            self._renewing.failed(error)
            return
        self._renewing.recovered()
        changed = [pair for pair in zip(leases, statuses, strict=True) if pair[1] is not LeaseStatus.HELD]
        if changed and not self._main.is_closed():
            self._main.call_soon_threadsafe(self._on_statuses, changed)

    async def _check_main_loop(self, source: HeartbeatSource) -> bool:
        """Return whether the main loop has been blocked for a lease; end the process if it should."""
        seconds = self._watchdog.blocked_for()
        self.blocked = None
        if seconds < self._interval:
            return False
        blocked = BlockedLoop.inspect(self._main_thread, self._jobs())
        self.blocked = f"the event loop has been stuck for {seconds:.1f} s: {blocked}"
        if seconds < self._lease * 0.9:  # timers are not exact
            return False
        logger.error("%s", self.blocked, extra={"traceback": blocked.stack})
        if self._exit_when_stuck:
            await self._release_others(source, blocked)
            logger.error("this process exits with status %d", EXIT_STUCK)
            logging.shutdown()
            os._exit(EXIT_STUCK)
        return True

    async def _release_others(self, source: HeartbeatSource, blocked: BlockedLoop) -> None:
        """Release every job but the one that blocks the loop, so that none of them counts a worker loss (rule 7).

        If it is not known which one that is, all are left to the sweep.
        """
        if blocked.blocker is None:
            return
        released = [AttemptResult(lease=job.lease, outcome=Released()) for job in blocked.others]
        with contextlib.suppress(StoreError, TimeoutError):  # then the sweep finds them
            await asyncio.wait_for(source.finish(released), self._interval)

    async def _wait_for_stop(self) -> None:
        if self._stop is not None:
            await self._stop.wait()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wait_for_stop(), seconds)
