"""Heartbeats: a thread with its own loop and its own connection keeps a worker's leases while the main loop is busy."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sidelane.model.errors import StoreError
from sidelane.model.job import Lease
from sidelane.model.outcome import LeaseStatus
from sidelane.model.worker import WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import Subscription, worker_topic
from sidelane.worker.watchdog import HEARTBEATS_PER_LEASE, LoopCounter, LoopWatchdog

EXIT_STUCK = 70
"""Exit status of a process whose loop was stuck for a lease (EX_SOFTWARE of sysexits.h)."""

logger = logging.getLogger(__name__)


class HeartbeatSource(Protocol):
    """What heartbeats ask of a source of jobs; see `Source`."""

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]: ...
    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]: ...
    async def close(self) -> None: ...


class Heartbeat:
    """Renews leases a third of a lease apart, and at once when the store hints that a job should stop.

    `leases` and `info` are called in this thread; `on_verdicts` is called on the main loop. A process whose main loop has been
    stuck for a lease is ended (`exit_when_stuck`), or else its leases are let go: others take its jobs over (rules 4).
    """

    def __init__(
        self,
        open_source: Callable[[], Awaitable[HeartbeatSource]],
        *,
        lease: float,
        pulse: LoopCounter,
        leases: Callable[[], Sequence[Lease]],
        info: Callable[[], WorkerInfo],
        on_verdicts: Callable[[Sequence[tuple[Lease, LeaseStatus]]], None],
        exit_when_stuck: bool,
    ) -> None:
        self._open_source = open_source
        self._lease = lease
        self._stillness = LoopWatchdog(pulse, lease / HEARTBEATS_PER_LEASE)
        self._leases = leases
        self._info = info
        self._on_verdicts = on_verdicts
        self._exit_when_stuck = exit_when_stuck
        self._main = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="sidelane-heartbeat", daemon=True)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waker: asyncio.Event | None = None
        self._trying = RetryUntilAvailable("renew its leases")
        self.stuck: str | None = None  # how long the main loop has given no sign of life, while it gives none

    @property
    def error(self) -> str | None:
        """Why no heartbeat reaches the store, while none does."""
        return self._trying.error

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after one last beat, in which the worker says goodbye. Blocks for that long."""
        self._stopping.set()
        if self._loop is not None and self._waker is not None:
            self._loop.call_soon_threadsafe(self._waker.set)
        self._thread.join(self._lease)

    def _run(self) -> None:
        asyncio.run(self._beat_on())

    async def _beat_on(self) -> None:
        self._loop, self._waker = asyncio.get_running_loop(), asyncio.Event()
        while not self._stopping.is_set():
            try:
                source = await self._open_source()
            except StoreError as error:
                self._trying.failed(error)
                await self._pause(self._lease / HEARTBEATS_PER_LEASE)
                continue
            try:
                await self._beat_with(source)
            finally:
                await source.close()

    async def _beat_with(self, source: HeartbeatSource) -> None:
        async with source.watch(worker_topic(self._info().id)) as wakeups:
            while True:
                stopping = self._stopping.is_set()
                await self._beat(source)
                if stopping:
                    return
                hint = asyncio.ensure_future(wakeups.wait(self._lease / HEARTBEATS_PER_LEASE))
                stop = asyncio.ensure_future(self._must_wake())
                await asyncio.wait([hint, stop], return_when=asyncio.FIRST_COMPLETED)
                for task in (hint, stop):
                    task.cancel()

    async def _beat(self, source: HeartbeatSource) -> None:
        if self._stuck():
            return
        leases = self._leases()
        try:
            verdicts = await source.heartbeat(self._info(), leases, lease=self._lease)
        except StoreError as error:
            self._trying.failed(error)
            return
        self._trying.recovered()
        news = [pair for pair in zip(leases, verdicts, strict=True) if pair[1] is not LeaseStatus.HELD]
        if news and not self._main.is_closed():
            self._main.call_soon_threadsafe(self._on_verdicts, news)

    def _stuck(self) -> bool:
        still = self._stillness.look()
        self.stuck = None
        if still < self._lease / HEARTBEATS_PER_LEASE:
            return False
        self.stuck = f"the event loop has been stuck for {still:.1f} s: a task blocks it without await"
        logger.critical("%s", self.stuck)
        if still < self._lease * 0.9:  # timers are not exact
            return False
        if self._exit_when_stuck:
            logging.shutdown()
            os._exit(EXIT_STUCK)
        return True

    async def _must_wake(self) -> None:
        if self._waker is not None:
            await self._waker.wait()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._must_wake(), seconds)
