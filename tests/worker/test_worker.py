"""Worker: timeouts, cancellation, deadlines, slots, draining, resources that fail."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest

from sidelane import (
    Context,
    Cursor,
    Fixed,
    Job,
    JobCancelled,
    JobFailed,
    ResultNotReady,
    Retry,
    Sidelane,
    State,
    Use,
)
from sidelane.model.job import JobRecord
from sidelane.model.outcome import AttemptResult, EventAppend, Released, Succeeded
from sidelane.model.worker import Claimed, ClaimRequest, Claims
from sidelane.stores.contract import Store
from sidelane.worker.event_buffer import MAX_BUFFERED
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE
from sidelane.worker.task_channel import MAX_IN_FLIGHT

TIMEOUT = 10.0


async def until(job: Job[Any], condition: Callable[[JobRecord], bool]) -> JobRecord:
    """Wait until a condition on a job's record is true, and return the record."""
    async with asyncio.timeout(TIMEOUT):
        while not condition(record := await job.record()):
            await asyncio.sleep(0.01)
    return record


async def test_timeout_stops_the_task_and_fails_the_job(lane: Sidelane) -> None:
    cleaned = asyncio.Event()

    @lane.task(timeout=0.1)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    async with lane.open(workers=1):
        with pytest.raises(JobFailed, match=r"did not end within 0\.1 seconds") as failed:
            await (await slow.submit()).result(TIMEOUT)
        assert failed.value.problem().status == 504
        assert cleaned.is_set()


async def test_timeout_counts_as_a_failure_that_may_be_retried(lane: Sidelane) -> None:
    tries: list[float] = []

    @lane.task(timeout=0.1, retry=Retry(attempts=2, backoff=Fixed(0)))
    async def slow_once() -> str:
        tries.append(1)
        await asyncio.sleep(60 if len(tries) == 1 else 0)
        return "ok"

    async with lane.open(workers=1):
        job = await slow_once.submit()
        assert await job.result(TIMEOUT) == "ok"
        assert (await job.record()).failures == 1


async def test_deadline_spans_all_attempts(lane: Sidelane) -> None:
    @lane.task(deadline=0.5, retry=Retry(attempts=100, backoff=Fixed(0.05)))
    async def never() -> None:
        raise RuntimeError

    @lane.task(deadline=0.3)
    async def slow() -> None:
        await asyncio.sleep(60)

    async with lane.open(workers=1):
        for task in (never, slow):
            with pytest.raises(JobFailed) as failed:
                await (await task.submit()).result(TIMEOUT)
            assert failed.value.problem().status == 504


async def test_job_that_does_not_start_before_it_expires_fails(lane: Sidelane) -> None:
    @lane.task(expires=0.2)
    async def chat() -> None: ...

    async with lane.open():
        with pytest.raises(JobFailed) as failed:
            await (await chat.submit()).result(TIMEOUT)
        assert failed.value.problem().status in (503, 504)


async def test_cancelled_coroutine_may_still_emit_events(make_lane: Any) -> None:
    lane: Sidelane = make_lane(lease_duration=60.0)

    @lane.task
    async def slow(ctx: Context = Use(Context)) -> None:
        await ctx.progress(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await ctx.emit("goodbye", 1)
            raise

    async with lane.open(workers=1):
        job = await slow.submit()
        await until(job, lambda record: record.progress is not None)
        began = time.monotonic()
        assert (await job.cancel()).cancel_requested
        with pytest.raises(JobCancelled):
            await job.result(TIMEOUT)
        assert time.monotonic() - began < 15.0  # below a third of a lease: a notification brought it
        assert [event.name async for event in job.events()] == ["progress", "goodbye", "end"]


async def test_cancel_closes_a_generator_and_keeps_its_partial(lane: Sidelane) -> None:
    closed = asyncio.Event()

    @lane.task
    async def answer() -> AsyncIterator[str]:
        try:
            yield "Half"
            await asyncio.sleep(60)
        finally:
            closed.set()

    async with lane.open(workers=1):
        job = await answer.submit()
        await until(job, lambda record: record.last > 0)
        await job.cancel()
        with pytest.raises(JobCancelled) as cancelled:
            await job.result(TIMEOUT)
        assert cancelled.value.partial == "Half"
        assert closed.is_set()


async def test_thread_stops_at_its_next_check(lane: Sidelane) -> None:
    @lane.task
    def loop(ctx: Context = Use(Context)) -> None:
        ctx.progress(1)
        while True:
            ctx.check()
            time.sleep(0.005)

    async with lane.open(workers=1):
        job = await loop.submit()
        await until(job, lambda record: record.progress is not None)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(TIMEOUT)


async def test_thread_that_outlives_its_grace_is_reported_and_keeps_its_slot(make_lane: Any) -> None:
    lane: Sidelane = make_lane(concurrency=1)
    release = threading.Event()

    @lane.task(timeout=0.1, cancel_grace=0.1)
    def stubborn() -> None:
        release.wait(TIMEOUT)

    @lane.task
    async def quick() -> str:
        return "ran"

    async with lane.open(workers=1):
        with pytest.raises(JobFailed, match="did not end within"):
            await (await stubborn.submit()).result(TIMEOUT)
        job = await quick.submit()
        with pytest.raises(ResultNotReady):
            await job.result(0.3)
        release.set()
        assert await job.result(TIMEOUT) == "ran"


async def test_coroutine_that_suppresses_its_cancellation_is_reported_after_its_grace(lane: Sidelane) -> None:
    release = asyncio.Event()

    @lane.task(cancel_grace=0.1)
    async def stubborn(ctx: Context = Use(Context)) -> None:
        await ctx.progress(1)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with lane.open(workers=1):
        job = await stubborn.submit()
        await until(job, lambda record: record.progress is not None)
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(TIMEOUT)
        release.set()


async def test_success_wins_over_a_cancel_request(lane: Sidelane) -> None:
    @lane.task
    async def finishing(ctx: Context = Use(Context)) -> str:
        await ctx.progress(99)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done anyway"
        return "never"

    async with lane.open(workers=1):
        job = await finishing.submit()
        await until(job, lambda record: record.progress is not None)
        await job.cancel()
        assert await job.result(TIMEOUT) == "done anyway"


async def test_queue_runs_no_more_jobs_at_once_than_its_limit(lane: Sidelane) -> None:
    running = most = 0

    @lane.task(queue="gpu")
    async def heavy() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    async with lane.open(workers=1):
        jobs = [await heavy.submit() for _ in range(8)]
        for job in jobs:
            await job.result(TIMEOUT)
    assert most == 1


async def test_hundreds_of_jobs_run_at_once_in_one_process(make_lane: Any) -> None:
    lane: Sidelane = make_lane(concurrency=300)
    met = asyncio.Barrier(300)

    @lane.task
    async def meet() -> None:
        await met.wait()

    async with lane.open(workers=1):
        for job in await asyncio.gather(*(meet.submit() for _ in range(300))):
            await job.result(TIMEOUT)


async def test_drain_lets_jobs_finish_and_releases_the_rest_at_no_cost(make_lane: Any) -> None:
    lane: Sidelane = make_lane(shutdown_timeout=0.5, cancel_grace=0.2)

    @lane.task
    async def wait(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "finished"

    async with lane.open():
        worker = lane.worker()
        running = asyncio.create_task(worker.run())
        short, long = await wait.submit(0.3), await wait.submit(60)
        await until(long, lambda record: record.state is State.RUNNING)
        await until(short, lambda record: record.state is State.RUNNING)
        worker.drain()
        await running
        assert await short.result(0) == "finished"
        record = await long.record()
        assert (record.state, record.attempt, record.failures, record.worker_losses) == (State.QUEUED, 1, 0, 0)
        assert await lane.client.store.workers() == []


async def test_stop_now_releases_running_jobs_at_once(make_lane: Any) -> None:
    lane: Sidelane = make_lane(shutdown_timeout=60)

    @lane.task
    async def wait() -> None:
        await asyncio.sleep(60)

    async with lane.open():
        worker = lane.worker()
        running = asyncio.create_task(worker.run())
        job = await wait.submit()
        await until(job, lambda record: record.state is State.RUNNING)
        began = time.monotonic()
        worker.drain()
        worker.stop_now()
        await running
        assert time.monotonic() - began < 5
        record = await job.record()
        assert (record.state, record.worker_losses) == (State.QUEUED, 0)


async def test_jobs_whose_resource_fails_to_open_wait_until_it_opens(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidelane.worker.worker.RESOURCE_RETRY_INTERVAL", 0.1)
    broken = True

    @lane.resource
    async def model() -> AsyncIterator[str]:
        if broken:
            raise ConnectionError("no model yet")
        yield "model"

    @lane.task
    async def use(model: str = Use(model)) -> str:
        return model

    @lane.task
    async def light() -> str:
        return "light"

    async with lane.open():
        worker = lane.worker()
        running = asyncio.create_task(worker.run())
        waiting = await use.submit()
        assert await (await light.submit()).result(TIMEOUT) == "light"
        assert "resource 'model' failed to open: ConnectionError: no model yet" in worker.health
        assert (await waiting.record()).attempt == 0
        broken = False
        assert await waiting.result(TIMEOUT) == "model"
        assert worker.health == "ok"
        worker.drain()
        await running


async def test_worker_claims_only_tasks_and_versions_it_knows(lane: Sidelane) -> None:
    @lane.task
    async def known() -> str:
        return "ok"

    async with lane.open(workers=1):
        job = await known.submit()
        await job.result(TIMEOUT)
        spec = (await job.record()).spec
        for other in (type(spec)(id="other", task="unknown"), type(spec)(id="newer", task="known", version=2)):
            await lane.client.store.submit([other])
            assert not await lane.client.workers.has_worker(other)
        assert await (await known.submit()).result(TIMEOUT) == "ok"
        for name in ("other", "newer"):
            assert (await lane.client.record(name)).attempt == 0


async def test_events_are_streamed_live_and_resumed_from_any_position(lane: Sidelane) -> None:
    go = asyncio.Semaphore(0)

    @lane.task
    async def answer() -> AsyncIterator[str]:
        for number in range(20):
            await go.acquire()
            yield str(number)

    async with lane.open(workers=1):
        job = await answer.submit()
        seen = []
        after = None
        for number in range(20):
            go.release()
            async with aclosing(job.events(after)) as events:
                event = await anext(events)
            after = Cursor(event.epoch, event.number)
            seen.append(json.loads(event.data)["text"])
            assert seen[-1] == str(number)
        assert [event.name async for event in job.events(after)] == ["end"]


def test_script_without_an_event_loop_submits_and_waits(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> AsyncIterator[str]:
        yield "yes"

    def work() -> None:
        async def run() -> None:
            other = Sidelane(
                store=lane.settings.store, queues=list(lane.queues.values()), settings={"lease_duration": 2.0}
            )
            other.task(name="answer")(answer.function)
            async with other.open(workers=1):
                await asyncio.to_thread(done.wait, TIMEOUT)

        asyncio.run(run())

    done = threading.Event()
    thread = threading.Thread(target=work)
    with lane.sync_client() as b:
        thread.start()
        job = b.submit(answer.call())
        assert b.result(job, timeout=TIMEOUT) == "yes"
        assert [event.name for event in b.events(job)] == ["token", "end"]
        done.set()
        thread.join()


async def test_freed_slot_of_a_full_queue_is_used_at_once(lane: Sidelane) -> None:
    @lane.task(queue="gpu")
    async def heavy() -> None:
        await asyncio.sleep(0.05)

    async with lane.open(workers=1):
        began = time.monotonic()
        for job in await asyncio.gather(*(heavy.submit() for _ in range(6))):
            await job.result(TIMEOUT)
        assert time.monotonic() - began < 8.0  # below the poll interval of an idle worker


async def test_lease_is_not_renewed_when_a_timed_out_attempt_cannot_be_reported(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidelane.worker.attempt.REPORT_TIMEOUT", 0.1)
    started, store_open = asyncio.Event(), asyncio.Event()

    @lane.task(timeout=0.2, cancel_grace=0.1)
    async def slow() -> None:
        started.set()
        await asyncio.sleep(60)

    async with lane.open():
        finish = lane.client.store.finish

        async def blocked_finish(reports: Sequence[AttemptResult]) -> list[bool]:
            await store_open.wait()
            return await finish(reports)

        monkeypatch.setattr(lane.client.store, "finish", blocked_finish)
        worker = lane.worker()
        running = asyncio.create_task(worker.run())
        job = await slow.submit()
        await started.wait()
        assert [lease.job_id for lease in worker._leases()] == [job.id]
        async with asyncio.timeout(TIMEOUT):
            while worker._leases():
                await asyncio.sleep(0.01)
        assert (await job.record()).state is State.RUNNING  # but its lease is renewed no more
        store_open.set()
        worker.drain()
        await running


async def test_worker_closes_resources_in_reverse_order(lane: Sidelane) -> None:
    log: list[str] = []

    @lane.resource
    async def engine() -> AsyncIterator[str]:
        yield "engine"
        log.append("close engine")

    @lane.resource
    def model(engine: str = Use(engine)) -> Iterator[str]:
        yield f"model on {engine}"
        log.append("close model")

    @lane.task
    async def use(model: str = Use(model)) -> str:
        return model

    async with lane.open(workers=1):
        assert await (await use.submit()).result(TIMEOUT) == "model on engine"
        assert log == []
    assert log == ["close model", "close engine"]


@pytest.mark.parametrize("kind", ["coroutine", "async generator", "function", "generator"])
async def test_task_that_emits_faster_than_the_store_writes_has_to_wait(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    count_emitted, max_emitted = 5000, MAX_BUFFERED + MAX_IN_FLIGHT + 1
    emitted = 0
    over = threading.Event()

    async def coroutine(ctx: Context = Use(Context)) -> None:
        for number in range(count_emitted):
            count()
            await ctx.emit("word", number)
        over.set()

    async def async_generator() -> AsyncIterator[str]:
        for number in range(count_emitted):
            count()
            yield str(number)
        over.set()

    def function(ctx: Context = Use(Context)) -> None:
        for number in range(count_emitted):
            count()
            ctx.emit("word", number)
        over.set()

    def generator() -> Iterator[str]:
        for number in range(count_emitted):
            count()
            yield str(number)
        over.set()

    def count() -> None:
        nonlocal emitted
        emitted += 1

    tasks: dict[str, Callable[..., Any]] = {
        "coroutine": coroutine,
        "async generator": async_generator,
        "function": function,
        "generator": generator,
    }
    task: Any = lane.task(tasks[kind])
    async with lane.open(workers=1):
        append, open_again = lane.client.store.append, asyncio.Event()

        async def slowly(appends: Sequence[EventAppend]) -> list[bool]:
            await open_again.wait()
            return await append(appends)

        monkeypatch.setattr(lane.client.store, "append", slowly)
        job = await task.submit()
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(TIMEOUT):
                while emitted <= MAX_BUFFERED:
                    await asyncio.sleep(0.01)
            assert not await asyncio.to_thread(over.wait, 0.5)
            assert emitted <= max_emitted
        finally:
            open_again.set()
        await job.result(TIMEOUT)
        assert emitted == count_emitted
        assert len([event async for event in job.events()]) == count_emitted + 1


async def test_attempt_resource_that_fails_once_costs_one_attempt(lane: Sidelane) -> None:
    opened = 0

    @lane.resource(scope="attempt")
    async def session() -> AsyncIterator[str]:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise ConnectionError("a blip at postgres://secret")
        yield "session"

    @lane.task(retry=Retry(attempts=2, backoff=Fixed(0)))
    async def use(session: str = Use(session)) -> str:
        return session

    async with lane.open(workers=1):
        assert await (await use.submit()).result(TIMEOUT) == "session"


async def test_any_exception_of_a_task_is_its_failure(lane: Sidelane) -> None:
    class Panic(BaseException):
        """As raised by native code; not an Exception."""

    @lane.task
    async def panics() -> None:
        raise Panic("deep inside")

    @lane.task
    def interrupts() -> None:
        raise KeyboardInterrupt

    async with lane.open(workers=1):
        for task in (panics, interrupts):
            job = await task.submit()
            with pytest.raises(JobFailed):
                await job.result(TIMEOUT)
            record = await job.record()
            assert (record.attempt, record.worker_losses) == (1, 0)


async def test_job_that_no_worker_can_run_is_logged_once(lane: Sidelane, caplog: pytest.LogCaptureFixture) -> None:
    @lane.task(queue="gpu")
    async def heavy() -> None: ...

    async with lane.open():
        job = await heavy.submit()
        for _ in range(2):
            assert not await lane.client.workers.has_worker((await job.record()).spec)
    assert [record.getMessage() for record in caplog.records if "no live worker" in record.getMessage()] == [
        "no live worker runs task 'heavy' (version 1) of queue 'gpu': its jobs wait until one does"
    ]


class LateAnswers:
    """A store whose answers to claims come late, as for a worker that was frozen meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.claimed: asyncio.Queue[Claimed] = asyncio.Queue()
        self.answer = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, request: ClaimRequest) -> Claims:
        claims = await self._store.claim(request)
        for claimed in claims.jobs:
            self.claimed.put_nowait(claimed)
            await self.answer.wait()
        return claims


@pytest.mark.parametrize("taken", [True, False])
async def test_job_whose_lease_was_lost_before_its_start_does_not_start(lane: Sidelane, taken: bool) -> None:
    started = []

    @lane.task
    async def note(ctx: Context = Use(Context)) -> None:
        started.append(ctx.attempt)

    async with lane.open():
        store = lane.client.store
        late = LateAnswers(store)
        lane.client.store = cast(Store, late)
        worker = lane.worker()
        job = await note.submit()
        running = asyncio.create_task(worker.run())
        claimed = await late.claimed.get()
        if taken:  # it runs and finishes elsewhere meanwhile
            await store.finish([AttemptResult(lease=claimed.lease, outcome=Released())])
            claims = await store.claim(ClaimRequest(request="r", worker="another", ids=(job.id,)))
            await store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=Succeeded("null"))])
        await asyncio.sleep(lane.settings.lease_duration / HEARTBEATS_PER_LEASE + 0.1)  # more than a heartbeat passes
        late.answer.set()
        worker.drain()
        await running
    assert started == ([] if taken else [1])
