"""Heartbeats: a thread with its own event loop and store connection renews a worker's leases and watches the main loop (rule 4)."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidelane.model.errors import StoreError
from sidelane.model.job import Lease
from sidelane.model.outcome import LeaseStatus
from sidelane.model.worker import WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import Subscription, worker_topic

HEARTBEATS_PER_LEASE = 3

EXIT_STUCK = 70
"""Exit status of a process whose event loop was blocked for a lease (EX_SOFTWARE of sysexits.h)."""

logger = logging.getLogger(__name__)


class LoopCounter:
    """A counter that the main loop increments as long as it is not blocked."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self, interval: float) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(interval)


class LoopWatchdog:
    """Measures for how long a loop has not incremented its counter. Another thread calls `blocked_for` every `interval` seconds.

    A late call counts for `interval` at most, because a process that was stopped as a whole, or a suspended laptop, is not blocked.
    """

    def __init__(self, counter: LoopCounter, interval: float) -> None:
        self._counter = counter
        self._interval = interval
        self._count = -1
        self._checked = time.monotonic()
        self._seconds = 0.0

    def blocked_for(self) -> float:
        """Return for how many seconds the counter has not changed."""
        now = time.monotonic()
        passed, self._checked = min(now - self._checked, self._interval), now
        self._seconds = self._seconds + passed if self._counter.count == self._count else 0.0
        self._count = self._counter.count
        return self._seconds


class HeartbeatSource(Protocol):
    """The part of a job source that heartbeats use; see `stores.contract.JobSource`."""

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]: ...
    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]: ...
    async def close(self) -> None: ...


class Heartbeat:
    """Renews leases every third of a lease, and immediately when the store notifies that a job should stop.

    `leases` and `info` are called in this thread; `on_statuses` is called on the main loop, with leases that are lost or cancelled.
    If the main loop has been blocked for a lease, the process ends (`exit_when_stuck`), or its leases are not renewed any more.
    Other workers then take over its jobs (rule 4).
    """

    def __init__(
        self,
        open_source: Callable[[], Awaitable[HeartbeatSource]],
        *,
        lease: float,
        counter: LoopCounter,
        leases: Callable[[], Sequence[Lease]],
        info: Callable[[], WorkerInfo],
        on_statuses: Callable[[Sequence[tuple[Lease, LeaseStatus]]], None],
        exit_when_stuck: bool,
    ) -> None:
        self._open_source = open_source
        self._lease = lease
        self._interval = lease / HEARTBEATS_PER_LEASE
        self._watchdog = LoopWatchdog(counter, self._interval)
        self._leases = leases
        self._info = info
        self._on_statuses = on_statuses
        self._exit_when_stuck = exit_when_stuck
        self._main = asyncio.get_running_loop()
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
        while not self._stopping.is_set():
            try:
                source = await self._open_source()
            except StoreError as error:
                self._renewing.failed(error)
                await self._pause(self._interval)
                continue
            try:
                await self._renew_until_stopped(source)
            finally:
                await source.close()

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
        if self._check_main_loop():
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

    def _check_main_loop(self) -> bool:
        """Return whether the main loop has been blocked for a lease. End the process if `exit_when_stuck` is set."""
        seconds = self._watchdog.blocked_for()
        self.blocked = None
        if seconds < self._interval:
            return False
        self.blocked = f"the event loop has been stuck for {seconds:.1f} s: a task blocks it without await"
        logger.critical("%s", self.blocked)
        if seconds < self._lease * 0.9:  # timers are not exact
            return False
        if self._exit_when_stuck:
            logging.shutdown()
            os._exit(EXIT_STUCK)
        return True

    async def _wait_for_stop(self) -> None:
        if self._stop is not None:
            await self._stop.wait()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wait_for_stop(), seconds)
