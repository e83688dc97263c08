"""API process: what a process that serves an application reports about itself, as workers do in their heartbeats."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sidelane.client.load_recorder import LoadRecorder
from sidelane.model.errors import StoreError
from sidelane.model.ids import new_nonce
from sidelane.model.settings import Settings
from sidelane.model.worker import API, MAX_LISTENED, OK, STOPPED, WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.processes.own_usage import CpuMeter, own_memory
from sidelane.stores.contract import Store
from sidelane.telemetry.loop import LoopMeter
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.streams import Streams

HEARTBEATS_PER_LEASE = 3


class ApiProcess:
    """This process as one that serves an application. `streams` are the event streams that it serves."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.streams = Streams(telemetry)
        self._settings = settings
        self._interval = settings.lease_duration / HEARTBEATS_PER_LEASE
        self._cpu, self._loop_meter = CpuMeter(), LoopMeter(telemetry)
        self._reporting = RetryUntilAvailable("report itself", who="API process")
        self._id = ""
        self._started = 0.0
        self._blocks = 0  # of `heartbeats` that are open

    @asynccontextmanager
    async def heartbeats(self, store: Store) -> AsyncIterator[None]:
        """Send heartbeats within the block. A block within another does nothing."""
        self._blocks += 1
        outermost = self._blocks == 1
        tasks = self._start(store) if outermost else []
        try:
            yield
        finally:
            self._blocks -= 1
            for task in tasks:
                task.cancel()
            if outermost:
                await asyncio.wait(tasks)
                await self._send_last_heartbeat(store)

    def info(self, health: str = OK) -> WorkerInfo:
        """Return the description of this process that its heartbeats send."""
        return WorkerInfo(
            id=self._id, name="api", host=socket.gethostname(), pid=os.getpid(), kind=API, started=self._started,
            health=health, memory=own_memory(), cpu=self._cpu.fraction(), release=self._settings.release,
            loop_lag=self._loop_meter.lag, streams=self.streams.open,
            listeners=self.streams.listeners(MAX_LISTENED),
        )  # fmt: skip

    def _start(self, store: Store) -> list[asyncio.Task[None]]:
        self._id = f"api:{socket.gethostname()}:{os.getpid()}:{new_nonce()[:6]}"
        self._started = time.time()
        loops = (
            self._loop_meter.run(),
            self._send_heartbeats(store),
            LoadRecorder(store, lambda: (self.info(), 0)).run(),
        )
        return [asyncio.create_task(loop) for loop in loops]

    async def _send_heartbeats(self, store: Store) -> None:
        while True:
            try:
                await store.heartbeat(self.info(), [], lease=self._settings.lease_duration)
            except StoreError as error:
                self._reporting.failed(error)
            else:
                self._reporting.recovered()
            await asyncio.sleep(self._interval)

    async def _send_last_heartbeat(self, store: Store) -> None:
        """Let the store forget this process. If the store does not answer, it does so after a lease."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._interval):
                await store.heartbeat(self.info(STOPPED), [], lease=self._settings.lease_duration)
