"""What telemetry reports about jobs equals their records."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sidelane import (
    CancelAfter,
    ConcurrencyLimit,
    Context,
    ExternalTask,
    Fixed,
    LimitReached,
    PermanentFailure,
    Problem,
    Queue,
    QueueFull,
    Retry,
    RetryLater,
    Sidelane,
    Sqs,
    State,
    Use,
)
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, Query
from sidelane.model.outcome import AttemptResult, Lost, Outcome, Released, Retried
from sidelane.model.worker import Claimed, ClaimRequest
from sidelane.telemetry import (
    AttemptEnded,
    AttemptOutcome,
    AttemptStarted,
    Cause,
    EventsWritten,
    FirstEvent,
    JobEnded,
    JobRefused,
    JobSubmitted,
    RefusedBy,
    StoreCalled,
    Telemetry,
    TelemetryEvent,
    WorkersLost,
)
from sidelane.testing import harness
from tests.system.waiting import until


class Recorder:
    """Keeps what is reported."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.events: list[TelemetryEvent] = []
        self.unsubscribe = telemetry.subscribe(self.events.append)

    def of(self, job: str) -> list[JobEnded]:
        return [each for each in self.events if isinstance(each, JobEnded) and each.job == job]

    @property
    def ends(self) -> Counter[tuple[str, State]]:
        return Counter((each.job, each.state) for each in self.events if isinstance(each, JobEnded))


@pytest.fixture
def lane(tmp_path: Path) -> Sidelane:
    lane = Sidelane(
        queues=[Queue("full", max_queued=1)],
        store=f"sqlite:///{tmp_path / 'jobs.db'}",
        settings={"lease_duration": 2.0, "jobs_url": "https://api.example.com/jobs", "release": "r1"},
    )

    @lane.task
    async def double(number: int) -> int:
        return 2 * number

    @lane.task(retry=Retry(attempts=3, backoff=Fixed(1)))
    async def flaky(succeeds_at: int, *, ctx: Context = Use(Context)) -> int:
        await ctx.emit("try", ctx.attempt)
        if ctx.attempt < succeeds_at:
            raise ConnectionError
        return ctx.attempt

    @lane.task
    async def later(*, ctx: Context = Use(Context)) -> None:
        if ctx.attempt == 1:
            raise RetryLater(1)

    @lane.task
    async def wrong() -> None:
        raise PermanentFailure(Problem(status=409))

    @lane.task(limits=[ConcurrencyLimit(1, per="task", on_limit="replace")])
    async def newest() -> None: ...

    @lane.task(limits=[ConcurrencyLimit(1, per="user", on_limit="reject")])
    async def single() -> None: ...

    @lane.task(queue="full")
    async def crowded() -> None: ...

    lane.external_task("outside", input=int, result=int, send_to=Sqs("work"), timeout=60)
    return lane


async def records_of(lane: Sidelane) -> Counter[tuple[str, State]]:
    """Return the ends of all jobs, as their records show them."""
    found = await lane.client.find(Query(limit=10_000))
    return Counter({(record.id, record.state): 1 for record in found if record.state.finished})


async def claimed(lane: Sidelane, job: str) -> Claimed:
    """Claim a job for a worker that never runs it."""
    request = ClaimRequest(request=new_nonce(), worker="elsewhere", ids=(job,), lease=5)
    return (await lane.client.store.claim(request)).jobs[0]


async def test_ends_that_are_reported_equal_the_records(lane: Sidelane) -> None:
    tasks = lane.registry.tasks
    outside = tasks["outside"]
    assert isinstance(outside, ExternalTask)
    async with harness(lane) as t:
        recorder = Recorder(lane.telemetry)
        store = lane.client.store
        calls = {"double": (1,), "flaky": (9,), "later": (), "wrong": ()}
        submitted = {name: await lane.submit(tasks[name].call(*arguments)) for name, arguments in calls.items()}
        await lane.submit(tasks["flaky"].call(2))
        cancelled = await lane.submit(tasks["double"].options(delay=60).call(3))
        await cancelled.cancel()
        await cancelled.cancel()
        parent = await lane.submit(tasks["double"].options(delay=60).call(4))
        child = replace(tasks["double"].options(delay=60).call(5).spec(parent=parent.id), cascade=True)
        grandchild = replace(tasks["double"].options(delay=60).call(6).spec(parent=child.id), cascade=True)
        await store.submit([child, grandchild])
        await asyncio.gather(*(lane.client.cancel(job) for job in (parent.id, child.id)))
        replaced = [await lane.submit(tasks["newest"].options(delay=1).call()) for _ in range(3)]
        await lane.submit_many(tasks["double"].call(number) for number in range(50))
        expired = await lane.submit(tasks["double"].options(delay=30, expires=5).call(7))
        dead = await lane.submit(tasks["double"].options(delay=30, deadline=5).call(8))
        external = [await lane.submit(outside.call(number)) for number in range(5)]
        await t.drain()
        await t.complete(external[0], 1)
        await t.fail(external[1], Problem(status=500), retry=False)
        await external[2].cancel()
        abandoned = await lane.submit(tasks["double"].options(delay=600, on_disconnect=CancelAfter(5)).call(9))
        await store.touch_listeners([abandoned.id])
        await t.advance(20)
        await t.drain()
        await t.advance(3600)  # the other external workers never answer
        await t.drain()
        await t.advance(10)
        await t.drain()
        assert recorder.ends == await records_of(lane)
        jobs = [*submitted.values(), cancelled, replaced[0], expired, dead, *external[:3], abandoned]
        assert [recorder.of(job.id)[0].cause for job in jobs] == [
            *[Cause.WORKER] * 4, Cause.CANCEL, Cause.CANCEL, Cause.EXPIRY, Cause.EXPIRY,
            Cause.EXTERNAL, Cause.EXTERNAL, Cause.CANCEL, Cause.SWEEP,
        ]  # fmt: skip
        assert [each.cause for each in recorder.of(grandchild.id)] == [Cause.CANCEL]
        recorder.unsubscribe()
        await lane.submit(tasks["double"].call(1))
        assert recorder.ends == await records_of(lane)


async def test_ends_that_the_store_decides_with_an_attempt_are_reported_once(lane: Sidelane) -> None:
    double = lane.registry.tasks["double"]
    async with harness(lane):
        recorder = Recorder(lane.telemetry)
        store = lane.client.store
        failure = Failure(problem=Problem(status=500))
        jobs = [await lane.submit(double.call(number)) for number in range(4)]
        leases = [(await claimed(lane, job.id)).lease for job in jobs]
        for job in jobs[:2]:
            await job.cancel()
            await job.cancel()
        outcomes: list[Outcome] = [Retried(failure), Released(), Lost(failure), Retried(failure)]
        reports = [AttemptResult(lease=lease, outcome=outcome) for lease, outcome in zip(leases, outcomes, strict=True)]
        assert await store.finish(reports) == [True] * 4
        assert await store.finish(reports) == [True] * 4
        for _ in range(3):  # the third job loses more workers than it may
            lost = await claimed(lane, jobs[2].id)
            await store.finish([AttemptResult(lease=lost.lease, outcome=Lost(failure))])
        assert recorder.ends == {
            (jobs[0].id, State.CANCELLED): 1, (jobs[1].id, State.CANCELLED): 1, (jobs[2].id, State.FAILED): 1,
        }  # fmt: skip
        assert recorder.ends == await records_of(lane)


async def test_expired_leases_are_reported_as_lost_workers(lane: Sidelane) -> None:
    async with harness(lane) as t:
        recorder = Recorder(lane.telemetry)
        job = await lane.submit(lane.registry.tasks["double"].call(1))
        await claimed(lane, job.id)
        await t.advance(20)
        assert sum(each.count for each in recorder.events if isinstance(each, WorkersLost)) == 1
        await t.drain()
        assert recorder.ends == await records_of(lane)


async def test_submits_and_refusals_are_reported(lane: Sidelane) -> None:
    tasks = lane.registry.tasks
    async with harness(lane):
        recorder = Recorder(lane.telemetry)
        first = await lane.submit(tasks["single"].options(user="ada").call())
        await lane.submit(tasks["single"].options(user="ada", id=first.id).call())
        with pytest.raises(LimitReached):
            await lane.submit(tasks["single"].options(user="ada").call())
        await lane.submit(tasks["crowded"].call())
        with pytest.raises(QueueFull):
            await lane.submit(tasks["crowded"].call())
        submitted = [each for each in recorder.events if isinstance(each, JobSubmitted)]
        refused = [each for each in recorder.events if isinstance(each, JobRefused)]
        assert [(each.task, each.queue, each.user) for each in submitted] == [
            ("single", "default", "ada"), ("crowded", "full", None),
        ]  # fmt: skip
        assert [(each.task, each.by) for each in refused] == [
            ("single", RefusedBy.LIMIT), ("crowded", RefusedBy.QUEUE_FULL),
        ]  # fmt: skip


async def test_attempts_are_reported_with_their_waits_and_events(lane: Sidelane) -> None:
    flaky = lane.registry.tasks["flaky"]
    async with harness(lane) as t:
        recorder = Recorder(lane.telemetry)
        job = await lane.submit(flaky.options(delay=10, user="ada").call(2))
        await t.advance(15)
        await t.drain()
        await t.advance(4)
        await t.drain()
        assert await job.result(timeout=0) == 2
        started = [each for each in recorder.events if isinstance(each, AttemptStarted)]
        assert [(each.job, each.user, each.attempt) for each in started] == [(job.id, "ada", 1), (job.id, "ada", 2)]
        waits = [(round(each.wait.slot), round(each.wait.time)) for each in started if each.wait is not None]
        assert waits == [(5, 10), (3, 1)]
        ended = [each for each in recorder.events if isinstance(each, AttemptEnded)]
        assert [(each.outcome, each.cause, each.delay) for each in ended] == [
            (AttemptOutcome.RETRIED, Cause.WORKER, 1.0), (AttemptOutcome.SUCCEEDED, Cause.WORKER, 0.0),
        ]  # fmt: skip
        assert all(each.seconds is not None and 0 <= each.seconds < 5 for each in ended)
        assert [each.attempt for each in recorder.events if isinstance(each, FirstEvent)] == [1, 2]
        written = [(each.count, each.bytes) for each in recorder.events if isinstance(each, EventsWritten)]
        assert written == [(1, 1), (1, 1)]


async def test_wait_for_a_limit_and_for_a_paused_queue_are_told_apart(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per="task", on_limit="wait")])
    async def limited() -> None: ...

    async with harness(lane) as t:
        store = lane.client.store
        jobs = [await lane.submit(limited.call()) for _ in range(2)]
        lease = (await claimed(lane, jobs[0].id)).lease
        await store.claim(ClaimRequest(request=new_nonce(), worker="w", queues={"default": 5}))  # blocks the second
        t.clock.advance(7)
        await store.finish([AttemptResult(lease=lease, outcome=Released(delay=60))])
        await store.pause("default")
        t.clock.advance(3)
        await store.pause("default", paused=False)
        t.clock.advance(2)
        recorder = Recorder(lane.telemetry)
        await t.drain()
        (started,) = [each for each in recorder.events if isinstance(each, AttemptStarted)]
        assert started.job == jobs[1].id
        assert started.wait is not None
        wait = started.wait
        assert [round(each) for each in (wait.slot, wait.limit, wait.time, wait.pause)] == [2, 7, 0, 3]


async def test_worker_reports_a_running_job_that_is_cancelled(lane: Sidelane) -> None:
    @lane.task
    async def endless() -> None:
        await asyncio.Event().wait()

    async with lane.open(workers=1):
        recorder = Recorder(lane.telemetry)
        job = await lane.submit(endless.call())
        await until(lambda: any(isinstance(each, AttemptStarted) for each in recorder.events), "it starts")
        await job.cancel()
        await until(lambda: recorder.of(job.id), "its end is reported")
        assert [(each.state, each.cause) for each in recorder.of(job.id)] == [(State.CANCELLED, Cause.CANCEL)]
        verbs = {each.verb for each in recorder.events if isinstance(each, StoreCalled)}
        assert {"submit", "claim", "cancel", "finish"} <= verbs
