"""LoadRecorder: notes in the store what this process uses, as a line of the journal of process loads every ten minutes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sidelane.model.errors import StoreError
from sidelane.model.ids import new_nonce
from sidelane.model.process_load import MAX_PROCESS_LOADS, PROCESS_LOADS, ProcessLoad
from sidelane.model.shared_state import JournalAppend
from sidelane.model.worker import WorkerInfo
from sidelane.processes.own_usage import children_usage, own_memory
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import without_internal
from sidelane.telemetry.figures import PROCESS_FIGURES

INTERVAL = 600.0
FIRST_INTERVAL = 60.0
"""Seconds between two lines, and until the first, so that a new service has figures soon."""

SAMPLE_INTERVAL = 5.0
"""Seconds between two measurements. A process that ends sooner writes no line."""

LAST_LINE_TIMEOUT = 1.0
"""Seconds that a process which stops waits for the store."""

UNAVAILABLE = 503


class LoadRecorder:
    """Writes the lines of one process. `describe` returns its description, and how many attempts it has ended.

    A store that does not answer loses nothing: the next line covers these seconds too.
    """

    error: str | None = None  # it is no reason for a worker to be unhealthy

    def __init__(self, store: Store, describe: Callable[[], tuple[WorkerInfo, int]]) -> None:
        self._store = store
        self._describe = describe

    async def run(self) -> None:
        """Measure and write until cancelled, and then write what is left."""
        interval, window = FIRST_INTERVAL, _Window(_read_counters(self._describe()[1]))
        try:
            while True:
                await asyncio.sleep(SAMPLE_INTERVAL)
                info, finished = self._describe()
                window.add(info, _read_counters(finished))
                if window.seconds >= interval:
                    with suppress(StoreError):
                        await self._append(window, info)
                        interval, window = INTERVAL, _Window(window.last)
        finally:
            if window.samples:
                with suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(LAST_LINE_TIMEOUT):
                        await self._append(window, self._describe()[0])

    async def _append(self, window: "_Window", info: WorkerInfo) -> None:
        line = window.load(info).text()
        await self._store.append_entries(
            JournalAppend(journal=PROCESS_LOADS, texts=[line], cap=MAX_PROCESS_LOADS, request=window.request)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    """What only grows, at one time."""

    at: float
    cpu: float
    children_cpu: float
    children_memory: int
    jobs: int
    requests: int
    unavailable: int


def _read_counters(finished: int) -> _Counters:
    children_cpu, children_memory = children_usage()
    requests = PROCESS_FIGURES.requests
    return _Counters(
        at=time.monotonic(), cpu=time.process_time(), children_cpu=children_cpu, children_memory=children_memory,
        jobs=finished, requests=requests.total(),
        unavailable=sum(count for (_, _, status), count in requests.items() if status == UNAVAILABLE),
    )  # fmt: skip


class _Window:
    """The measurements since the last line."""

    def __init__(self, first: _Counters) -> None:
        self.request = new_nonce()  # of the append, which may be repeated
        self.samples = 0
        self.last = self._first = first
        self._running = self._streams = 0
        self._memory = 0
        self._max_cpu = self._loop_lag = 0.0

    @property
    def seconds(self) -> float:
        return self.last.at - self._first.at

    def add(self, info: WorkerInfo, now: _Counters) -> None:
        """Add a measurement."""
        self._max_cpu = max(self._max_cpu, (now.cpu - self.last.cpu) / (now.at - self.last.at))
        self._memory = max(self._memory, own_memory() + now.children_memory)
        self._loop_lag = max(self._loop_lag, info.loop_lag)
        self._running += info.running
        self._streams += info.streams
        self.samples += 1
        self.last = now

    def load(self, info: WorkerInfo) -> ProcessLoad:
        """Return the line."""
        first, last, seconds = self._first, self.last, self.seconds
        return ProcessLoad(
            process=info.id, name=info.name, host=info.host, pid=info.pid, kind=info.kind, seconds=round(seconds, 1),
            cpu=round((last.cpu - first.cpu) / seconds, 4),
            children_cpu=round(max(0.0, last.children_cpu - first.children_cpu) / seconds, 4),
            max_cpu=round(self._max_cpu, 4), memory=self._memory, loop_lag=round(self._loop_lag, 3),
            queues=tuple(without_internal(info.queues)), slots=info.slots,
            running=round(self._running / self.samples, 3), jobs=last.jobs - first.jobs,
            streams=round(self._streams / self.samples, 3), requests=last.requests - first.requests,
            unavailable=last.unavailable - first.unavailable,
        )  # fmt: skip
