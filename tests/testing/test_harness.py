"""Test harness: `drain` and `advance` with jobs that are blocked on limits."""

import traceback

import pytest

from sidelane import ConcurrencyLimit, JobFailed, Queue, RateLimit, ResultNotReady, Sidelane
from sidelane.testing import harness


async def test_drain_runs_all_jobs_of_a_concurrency_limit_in_turn(lane: Sidelane) -> None:
    running = most = 0

    @lane.task(limits=[ConcurrencyLimit(1, per="task", on_limit="wait")])
    async def alone() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        running -= 1

    async with harness(lane) as t:
        for _ in range(250):
            await alone.submit()
        assert await t.drain() == 250
        assert most == 1


async def test_drain_ends_when_only_blocked_jobs_are_left(lane: Sidelane) -> None:
    @lane.task(limits=[RateLimit("2/minute", per="task", on_limit="wait")])
    async def call_out() -> None: ...

    async with harness(lane) as t:
        jobs = [await call_out.submit() for _ in range(5)]
        assert await t.drain() == 2
        with pytest.raises(ResultNotReady):
            await jobs[-1].result(timeout=0)
        await t.advance(30)
        assert await t.drain() == 1
        await t.advance(60)
        assert await t.drain() == 2
        assert await t.drain() == 0


async def test_drain_looks_past_many_blocked_jobs() -> None:
    lane = Sidelane(store="sqlite://:memory:", queues=[Queue("chat")])

    @lane.task(queue="chat", limits=[RateLimit("1/minute", per="task", on_limit="wait")])
    async def slow() -> None: ...

    @lane.task(queue="chat")
    async def quick() -> str:
        return "done"

    async with harness(lane) as t:
        for _ in range(450):
            await slow.submit()
        job = await quick.submit()
        assert await t.drain() == 2
        assert await job.result(timeout=0) == "done"


async def test_a_failed_job_raises_with_the_error_and_traceback_of_its_task(lane: Sidelane) -> None:
    @lane.task
    async def divide(number: int) -> float:
        return 1 / number

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="ZeroDivisionError: division by zero") as raised:
            await t.run(divide.call(0))
        batch = await lane.submit_many([divide.call(0)])
        await t.drain()
        results = [*await batch.results(), *await lane.batch(batch.id).results()]
    assert [getattr(result, "error", "") for result in results] == ["ZeroDivisionError: division by zero"] * 2
    error = raised.value
    assert error.error == "ZeroDivisionError: division by zero"
    assert "return 1 / number" in error.traceback
    assert "return 1 / number" in "".join(traceback.format_exception(error))
    assert "ZeroDivisionError" not in str(error)
    assert "ZeroDivisionError" not in str(error.problem().document())
