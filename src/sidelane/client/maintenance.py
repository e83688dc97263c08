"""Maintenance. Any process with the store open sweeps the store and submits the jobs of schedules that are due (rules 6 and 13)."""

import asyncio
import logging
import math
import time
from contextlib import suppress
from dataclasses import replace

from sidelane.client.pauses import end_pauses
from sidelane.client.worker_requests import RequestCleanup
from sidelane.model.errors import ConfigurationError, StoreError
from sidelane.model.job import Query, State, with_trace
from sidelane.model.json_text import dump_json
from sidelane.model.schedule import Schedule, ScheduleRecord, ScheduleTick
from sidelane.model.shared_state import JournalAppend
from sidelane.model.worker import MAX_EXIT_JOBS, MAX_WORKER_EXITS, WORKER_EXITS, SweepResult, WorkerInfo
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.chunking import MAX_BYTES, MAX_ITEMS
from sidelane.stores.contract import Store
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.spans import job_attributes
from sidelane.telemetry.tracer import NEW_TRACE, NO_SPAN, Span, SpanKind

MAX_INTERVAL = 2.0
MIN_INTERVAL = 0.05
IMMEDIATELY = 0.01
"""Seconds between two sweeps: by default, when a lease is about to expire, and when the last sweep left work behind."""

SCHEDULES_INTERVAL = 60.0
"""Seconds after which schedules are read although none is due, because the clock may have stepped back meanwhile."""

PAUSES_INTERVAL = 1.0
"""Seconds between two looks at whether the time of a pause is over."""

REQUESTS_INTERVAL = 60.0
"""Seconds between two looks at whether the worker of a request is gone."""

MAX_RUNNING = 1000
"""Running jobs among which those of a dead worker are searched, the newest."""

logger = logging.getLogger(__name__)


class Maintenance:
    """Sweeps the store at least four times per lease, so that no sweep treats the pause as a restart (rule 5).

    The answer to each sweep contains when the next schedule is due. Without schedules, nothing else is read.
    """

    def __init__(self, store: Store, *, lease: float, telemetry: Telemetry) -> None:
        self._store = store
        self._enqueuer = PeriodicEnqueuer(store, telemetry)
        self._requests = RequestCleanup(store)
        self._max_interval = min(MAX_INTERVAL, lease / 4)
        self._lease = lease
        self._sweep_at = -math.inf  # all five times are those of the monotonic clock
        self._pauses_at = -math.inf
        self._requests_at = -math.inf
        self._enqueue_at = math.inf
        self._enqueued_at = -math.inf
        self._sweep_retry = RetryUntilAvailable("sweep the store", who="process")
        self._enqueue_retry = RetryUntilAvailable("submit the jobs of schedules", who="process")

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            if time.monotonic() >= self._enqueue_at:
                await self._enqueue()
            if time.monotonic() >= self._sweep_at:
                await self._sweep()
            if time.monotonic() >= self._pauses_at:
                await self._end_pauses()
            if time.monotonic() >= self._requests_at:
                await self._remove_requests()
            next_at = min(self._enqueue_at, self._sweep_at, self._pauses_at, self._requests_at)
            await asyncio.sleep(next_at - time.monotonic())

    async def _sweep(self) -> None:
        try:
            swept = await self._store.sweep(lease=self._lease)
        except StoreError as error:
            self._sweep_retry.failed(error)
            self._sweep_at = time.monotonic() + self._max_interval
            return
        self._sweep_retry.recovered()
        if swept.lost:
            logger.warning(
                "%d leases expired: their workers are silent, or external workers did not answer", swept.lost
            )
        now = time.monotonic()
        self._sweep_at = now + self._interval(swept)
        if swept.next_firing is None:
            self._enqueue_at = math.inf
        else:
            self._enqueue_at = min(now + swept.next_firing, max(now, self._enqueued_at + SCHEDULES_INTERVAL))

    async def _end_pauses(self) -> None:
        with suppress(StoreError):  # the sweeps report it
            await end_pauses(self._store)
        self._pauses_at = time.monotonic() + PAUSES_INTERVAL

    async def _remove_requests(self) -> None:
        with suppress(StoreError):
            await self._requests.run_once()
        self._requests_at = time.monotonic() + REQUESTS_INTERVAL

    async def _enqueue(self) -> None:
        try:
            wait = await self._enqueuer.fire()
        except StoreError as error:
            self._enqueue_retry.failed(error)
            wait = self._max_interval
        else:
            self._enqueue_retry.recovered()
        self._enqueued_at = time.monotonic()
        self._enqueue_at = math.inf if wait is None else self._enqueued_at + max(IMMEDIATELY, wait)

    def _interval(self, swept: SweepResult) -> float:
        if swept.more:
            return IMMEDIATELY
        if swept.next_loss is None:
            return self._max_interval
        return min(self._max_interval, max(MIN_INTERVAL, swept.next_loss))


class PeriodicEnqueuer:
    """Submits the jobs of schedules that are due, by their stored definitions and the store's own clock."""

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._readable: dict[str, tuple[Schedule, bool]] = {}

    async def fire(self) -> float | None:
        """Take one step of every schedule that is due. Return the seconds until the next step, or None without schedules.

        The seconds are 0 or less while there are more missed runs. Raises `StoreUnavailable`.
        """
        schedules = await self._store.list_schedules()
        read_at = time.monotonic()
        records = [record for record in schedules.records if record.enabled and self._can_read(record.schedule)]
        ticks = [record.step(schedules.now, _max_jobs(record)) for record in records]
        await asyncio.gather(*(self._fire(tick) for tick in ticks if tick is not None))
        next_times = [record.next if tick is None else tick.next for record, tick in zip(records, ticks, strict=True)]
        soonest = min((at for at in next_times if at is not None), default=None)
        return None if soonest is None else soonest - schedules.now - (time.monotonic() - read_at)

    async def _fire(self, tick: ScheduleTick) -> None:
        span = NO_SPAN
        if tick.specs and self._telemetry.tracer.active:
            span, tick = self._start_trace(tick)
        if await self._store.fire(tick) and tick.specs:
            span.end()  # the span of a process that came too late is never sent
            logger.info("schedule %s ran; jobs submitted: %d", tick.name, len(tick.specs))

    def _start_trace(self, tick: ScheduleTick) -> tuple[Span, ScheduleTick]:
        """Return the span of a submit that begins a trace, and the step with jobs of this trace."""
        spec = tick.specs[0]
        attributes = {
            **job_attributes("send", spec),
            "messaging.batch.message_count": len(tick.specs),
            "sidelane.schedule": tick.name,
        }
        span = self._telemetry.tracer.start(
            f"send {spec.queue}", kind=SpanKind.PRODUCER, parent=NEW_TRACE, attributes=attributes
        )
        return span, replace(tick, specs=tuple(with_trace(each, span.traceparent) for each in tick.specs))

    def _can_read(self, schedule: Schedule) -> bool:
        """Return whether this process can compute the times of a schedule. Log once if it cannot."""
        known, readable = self._readable.get(schedule.name, (None, False))
        if known != schedule:
            try:
                schedule.check()
                readable = True
            except ConfigurationError as error:
                logger.warning("%s Other processes have to run it.", error)
                readable = False
            self._readable[schedule.name] = schedule, readable
        return readable


def _max_jobs(record: ScheduleRecord) -> int:
    """Return how many of a schedule's jobs fit in one call of the store (rule 16)."""
    return max(1, min(MAX_ITEMS, MAX_BYTES // max(1, len(record.schedule.spec.arguments))))


async def report_worker_exit(store: Store, worker: str, reason: str, *, lease: float) -> None:
    """Let the jobs of a worker whose process died run again now. `reason` is how it died, for their history.

    Another process knows that it died, so that nothing waits for the leases to expire. The exit is also noted in the journal
    `WORKER_EXITS`, with the jobs that the worker was running.
    """
    info = next((each for each in await store.workers() if each.id == worker), WorkerInfo(id=worker, name=worker))
    running = await store.search_jobs(Query(states=frozenset({State.RUNNING}), limit=MAX_RUNNING), scan=MAX_RUNNING)
    jobs = [each.id for each in running.records if each.worker == worker][:MAX_EXIT_JOBS]
    await store.heartbeat(replace(info, exit=reason), [], lease=lease)
    entry = {
        "worker": worker, "host": info.host, "release": info.release, "reason": reason, "memory": info.memory, "jobs": jobs,
    }  # fmt: skip
    await store.append_entries(JournalAppend(journal=WORKER_EXITS, texts=[dump_json(entry)], cap=MAX_WORKER_EXITS))
    while (await store.sweep(lease=lease)).more:
        pass
