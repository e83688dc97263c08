"""Placeholders: arguments that are filled in when a job starts, and jobs whose arguments are gone."""

from collections.abc import AsyncIterator, Sequence

import pytest

from sidelane import (
    PREVIOUS_FAILURE,
    PREVIOUS_RESULT,
    FinishedBatch,
    PermanentFailure,
    Result,
    Retry,
    State,
    StoreUnavailable,
)
from sidelane.model.job import JobRecord, Tombstone
from sidelane.tasks.placeholders import resolve_arguments
from sidelane.testing import harness
from tests.tasks.shop import Report, Shop, the_one


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_a_result_that_does_not_fit_fails_for_good_and_names_both_tasks(shop: Shop) -> None:
    @shop.lane.task(retry=Retry(attempts=9))
    async def misfit(number: int) -> int:
        return number

    async with harness(shop.lane) as t:
        job = await shop.write.options(then=misfit.call(PREVIOUS_RESULT)).submit(1)
        await t.drain()
        child = await the_one(t, misfit)
        assert (child.state, child.attempt) == (State.FAILED, 1)
        assert child.problem is not None
        assert child.problem.status == 422
        assert "misfit: the stored arguments do not fit: number: " in child.problem.detail
        assert f"(number is the result of task 'write', job {job.id})" in child.problem.detail


async def test_requeueing_a_succeeded_parent_fails_its_older_follow_up(shop: Shop) -> None:
    later = shop.publish.options(delay=60).call(PREVIOUS_RESULT)
    async with harness(shop.lane) as t:
        job = await shop.write.options(then=later).submit(1)
        await t.drain()
        await t.client.store.pause("default")
        await job.requeue()
        await t.advance(61)
        await job.cancel()
        await t.client.store.pause("default", False)
        await t.drain()
        child = await the_one(t, shop.publish)
        assert child.state is State.FAILED
        assert "is cancelled by now" in str(child.problem)
        assert shop.published == []


async def test_requeueing_a_failed_parent_fails_its_older_follow_up(shop: Shop) -> None:
    mended = False

    @shop.lane.task
    async def fickle() -> None:
        if not mended:
            raise ValueError("broken")

    async with harness(shop.lane) as t:
        job = await fickle.options(on_failure=shop.tell.options(delay=60).call(PREVIOUS_FAILURE)).submit()
        await t.drain()
        mended = True
        await job.requeue()
        await t.drain()
        await t.advance(61)
        await t.drain()
        child = await the_one(t, shop.tell)
        assert "is succeeded by now" in str(child.problem)
        assert shop.told == []


async def test_reopening_a_batch_fails_its_older_follow_up(shop: Shop) -> None:
    @shop.lane.task
    async def report(end: FinishedBatch) -> None: ...

    async with harness(shop.lane) as t:
        batch = await shop.lane.submit_many([shop.write.call(1)], then=report.options(delay=60).call(PREVIOUS_RESULT))
        await t.drain()
        await t.client.store.pause("default")
        (job,) = batch.jobs
        assert job is not None
        await job.requeue()
        await t.advance(61)
        (late,) = await t.records(report)
        with pytest.raises(PermanentFailure, match="follows was removed, or reopened by a requeue"):
            await resolve_arguments(late.spec, t.client.store, lambda text: None)


async def test_an_argument_set_by_an_operator_replaces_the_placeholder(shop: Shop) -> None:
    async with harness(shop.lane) as t:
        await shop.write.options(then=shop.publish.call(PREVIOUS_RESULT)).submit(1)
        await t.drain()
        (child,) = await t.records(shop.publish)
        await t.client.store.requeue([child.id], arguments='{"report": {"score": 9}}')
        await t.drain()
        assert shop.published == [(Report(score=1), "news"), (Report(score=9), "news")]


async def test_a_follow_up_is_run_again_if_the_store_was_unavailable_for_its_arguments(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness(shop.lane) as t:
        job = await shop.write.options(then=shop.publish.options(delay=60).call(PREVIOUS_RESULT)).submit(1)
        await t.drain()
        await t.advance(61)
        store, get = t.client.store, t.client.store.get

        async def away(ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
            monkeypatch.setattr(store, "get", get)
            raise StoreUnavailable

        monkeypatch.setattr(store, "get", away)
        await t.drain()
        assert (await the_one(t, shop.publish)).state is State.QUEUED
        await t.advance(2)
        await t.drain()
        child = await the_one(t, shop.publish)
        assert (child.state, child.failures, child.spec.parent) == (State.SUCCEEDED, 0, job.id)


async def test_the_text_and_the_result_of_a_generator_are_passed_on(shop: Shop) -> None:
    seen: list[object] = []

    @shop.lane.task
    async def speak() -> AsyncIterator[str]:
        yield "Good "
        yield "day"

    @shop.lane.task
    async def rate() -> AsyncIterator[str | Result[Report]]:
        yield "thinking"
        yield Result(Report(score=9))

    @shop.lane.task
    async def hear(what: str | Report) -> None:
        seen.append(what)

    async with harness(shop.lane) as t:
        await speak.options(then=hear.call(PREVIOUS_RESULT)).submit()
        await t.drain()
        await rate.options(then=hear.call(PREVIOUS_RESULT)).submit()
        await t.drain()
    assert seen == ["Good day", Report(score=9)]
