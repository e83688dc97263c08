"""Long logs: what they cost a reader does not depend on their length."""

import tracemalloc
from collections.abc import AsyncIterator

import pytest

from sidelane import Context, Fixed, JobFailed, PermanentFailure, Result, Retry, Use
from sidelane.admin.jobs import job_detail
from sidelane.testing import harness
from tests.worker.conftest import MakeLane

LIMIT = 1024
TOKENS = 20_000
MAX_MEMORY = 2**20
"""Bytes, a fraction of what the events of this log need."""


async def test_result_of_a_job_with_a_long_log_has_the_end_of_its_text_in_little_memory(make_lane: MakeLane) -> None:
    lane = make_lane(payload_limit=LIMIT)

    @lane.task
    async def talk() -> AsyncIterator[str]:
        for number in range(TOKENS):
            yield f"{number} "
        raise PermanentFailure("enough")

    async with harness(lane) as t:
        job = await t.client.submit(talk.call())
        await t.drain()
        tracemalloc.start()
        try:
            with pytest.raises(JobFailed) as failed:
                await job.result()
            detail = await job_detail(t.client, job.id)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < MAX_MEMORY
    assert failed.value.partial.endswith(f" {TOKENS - 1} ")
    assert LIMIT // 4 < len(failed.value.partial) <= LIMIT
    assert detail.partial == failed.value.partial


@pytest.mark.parametrize("with_result", [True, False])
async def test_text_that_is_too_long_to_be_the_result_does_not_stay_in_memory(
    make_lane: MakeLane, with_result: bool
) -> None:
    lane = make_lane(payload_limit=LIMIT)
    peak = 0

    @lane.task
    async def talk() -> AsyncIterator[str | Result[int]]:
        nonlocal peak
        for _ in range(100):
            yield "x" * (LIMIT // 2)
        tracemalloc.start()
        for number in range(TOKENS):
            yield f"{number} ".ljust(100)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        if with_result:
            yield Result(TOKENS)

    async with harness(lane) as t:
        job = await t.client.submit(talk.call())
        await t.drain()
        if with_result:
            assert await job.result() == TOKENS
        else:
            with pytest.raises(JobFailed, match="yield a Result too"):
                await job.result()
    assert peak < MAX_MEMORY


async def test_partial_text_is_complete_and_begins_with_the_last_attempt(make_lane: MakeLane) -> None:
    lane = make_lane()
    attempts: list[int] = []

    @lane.task(retry=Retry(attempts=2, backoff=Fixed(10)))
    async def talk() -> AsyncIterator[str]:
        attempts.append(1)
        for number in range(1200):
            yield f"{len(attempts)}.{number} "
        raise RuntimeError

    async with harness(lane) as t:
        job = await t.client.submit(talk.call())
        await t.drain()
        await t.advance(3600)
        await t.drain()
        with pytest.raises(JobFailed) as failed:
            await job.result()
    assert failed.value.partial == "".join(f"2.{number} " for number in range(1200))


async def test_events_between_tokens_do_not_prolong_the_search_for_text_without_end(
    make_lane: MakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidelane.client.event_stream.MAX_PARTIAL_PAGES", 2)
    monkeypatch.setattr("sidelane.client.event_stream.PAGE_SIZE", 10)
    lane = make_lane()

    @lane.task
    async def talk(words: int, events: int, *, ctx: Context = Use(Context)) -> AsyncIterator[str]:
        for word in range(words):
            yield f"{word} "
        for _ in range(events):
            await ctx.emit("tick", 1)
        yield "done"
        raise PermanentFailure("enough")

    async with harness(lane) as t:
        found = []
        for events in (10, 18):
            job = await t.client.submit(talk.call(5, events))
            await t.drain()
            with pytest.raises(JobFailed) as failed:
                await job.result()
            found.append(failed.value.partial)
    assert found == ["0 1 2 3 4 done", "done"]
