"""Outcomes of attempts: results, retries, failures, and their problems."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import HTTPException
from pydantic import BaseModel

from sidelane import (
    ArgumentsError,
    Exponential,
    Fixed,
    JobFailed,
    PermanentFailure,
    Problem,
    Result,
    Retry,
    RetryLater,
    Sidelane,
    State,
    StoreUnavailable,
)
from sidelane.model.outcome import Failed
from sidelane.testing import harness
from sidelane.worker.outcome import classify_error


class Report(BaseModel):
    score: int


class Step(BaseModel):
    name: str


class Upstream(Exception):
    pass


def test_traceback_of_an_internal_error_is_that_of_its_cause(lane: Sidelane) -> None:
    ours = PermanentFailure("It cannot be done.")
    try:
        raise Upstream("busy")
    except Upstream as error:
        ours.__cause__ = error
    outcome = classify_error(ours, failures=0, retry=Retry(), registry=lane.registry)
    assert isinstance(outcome, Failed)
    assert 'raise Upstream("busy")' in outcome.failure.traceback
    assert "PermanentFailure" not in outcome.failure.traceback


async def test_sync_function_runs_in_a_thread(lane: Sidelane) -> None:
    import threading

    @lane.task
    def where() -> str:
        return threading.current_thread().name

    async with harness(lane) as t:
        assert await t.run(where.call()) != threading.main_thread().name


async def test_yielded_text_becomes_tokens_and_the_result(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> AsyncIterator[str]:
        yield "Because "
        yield "of you"

    async with harness(lane) as t:
        assert await t.run(answer.call()) == "Because of you"
        (record,) = await t.records(answer)
        events = await t.events(answer.job(record.id))
        assert [event.name for event in events] == ["token", "token", "end"]
        assert [event.number for event in events] == [1, 2, 3]
        assert events[0].data == '{"text":"Because "}'


async def test_yielded_models_become_named_events_and_result_the_typed_result(lane: Sidelane) -> None:
    @lane.task
    def analyse() -> Iterator[str | Step | Result[Report]]:
        yield Step(name="read")
        yield "ok"
        yield Result(Report(score=7))

    async with harness(lane) as t:
        assert await t.run(analyse.call()) == Report(score=7)
        (record,) = await t.records(analyse)
        assert [event.name for event in await t.events(analyse.job(record.id))] == ["step", "token", "end"]


async def test_failed_job_keeps_yielded_text_as_partial_result(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> AsyncIterator[str]:
        yield "Half an "
        yield "ans"
        raise RuntimeError

    async with harness(lane) as t:
        with pytest.raises(JobFailed) as failed:
            await t.run(answer.call())
        assert failed.value.partial == "Half an ans"


async def test_retry_starts_over_with_an_attempt_event(lane: Sidelane) -> None:
    tries: list[int] = []

    @lane.task(retry=Retry(attempts=2, backoff=Fixed(10)))
    async def answer() -> AsyncIterator[str]:
        tries.append(1)
        yield f"try {len(tries)}"
        if len(tries) == 1:
            raise RuntimeError

    async with harness(lane) as t:
        job = await answer.submit()
        await t.drain()
        assert (await job.record()).state is State.QUEUED
        await t.advance(9)
        assert await t.drain() == 0
        await t.advance(1.1)
        assert await t.drain() == 1
        assert await job.result() == "try 2"
        names = [event.name for event in await t.events(job)]
        assert names == ["token", "attempt", "token", "end"]


async def test_job_that_fails_too_often_keeps_its_history(lane: Sidelane) -> None:
    @lane.task(retry=Retry(attempts=3, backoff=Fixed(0)))
    async def never() -> None:
        raise RuntimeError("secret words")

    async with harness(lane) as t:
        with pytest.raises(JobFailed) as failed:
            await t.run(never.call())
        (record,) = [await t.client.record(record.id) for record in await t.records(never)]
        assert (record.attempt, record.failures) == (3, 3)
        assert [failure.attempt for failure in record.history] == [1, 2, 3]
        assert {failure.at for failure in record.history} == {t.clock()}
        assert record.history[0].error == "RuntimeError: secret words"
        assert "secret words" in record.history[0].traceback
        assert "secret words" not in str(failed.value.problem().document())
        assert failed.value.problem().status == 500


async def test_only_listed_errors_are_retried(lane: Sidelane) -> None:
    @lane.task(retry=Retry(attempts=5, backoff=Fixed(0), only=(Upstream,)))
    async def picky() -> None:
        raise ValueError

    async with harness(lane) as t:
        with pytest.raises(JobFailed):
            await t.run(picky.call())
        assert (await t.records(picky))[0].attempt == 1


async def test_excluded_errors_are_not_retried(lane: Sidelane) -> None:
    @lane.task(retry=Retry(attempts=3, backoff=Fixed(0), only=(LookupError,), never=(KeyError,)))
    async def picky(error: str) -> None:
        raise KeyError if error == "key" else IndexError

    async with harness(lane) as t:
        for error, attempts in (("key", 1), ("index", 3)):
            job = await picky.submit(error)
            await t.drain()
            assert (await job.record()).attempt == attempts


async def test_permanent_failure_is_final_and_public(lane: Sidelane) -> None:
    @lane.task(retry=Retry(attempts=5))
    async def hopeless() -> None:
        raise PermanentFailure(Problem(status=409, title="Sold out", detail="There is none left."))

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="There is none left") as failed:
            await t.run(hopeless.call())
        document = failed.value.problem().document()
        assert (document["status"], document["title"], document["attempt"]) == (409, "Sold out", 1)


async def test_retry_later_counts_no_failure(lane: Sidelane) -> None:
    tries: list[int] = []

    @lane.task
    async def patient() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise RetryLater(30)
        return "now"

    async with harness(lane) as t:
        job = await patient.submit()
        for _ in range(4):
            await t.drain()
            await t.advance(30.1)
        assert await job.result() == "now"
        record = await job.record()
        assert (record.attempt, record.failures, record.worker_losses) == (4, 0, 0)


async def test_http_exception_becomes_its_problem(lane: Sidelane) -> None:
    @lane.task(retry=Retry(attempts=5))
    async def teapot() -> None:
        raise HTTPException(418, "I am a teapot.")

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="I am a teapot") as failed:
            await t.run(teapot.call())
        assert failed.value.problem().status == 418
        assert (await t.records(teapot))[0].attempt == 1


async def test_problem_rules_map_errors_to_problems(lane: Sidelane) -> None:
    lane.problem(Upstream, status=502, title="Model unavailable")

    @lane.problem(KeyError, status=404, final=True)
    def missing(error: KeyError) -> str:
        return f"There is no {error.args[0]}."

    @lane.task
    async def answer(fail: str) -> None:
        raise Upstream("busy") if fail == "upstream" else KeyError("stock")

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="busy") as failed:
            await t.run(answer.call("upstream"))
        assert (failed.value.problem().status, failed.value.problem().title) == (502, "Model unavailable")
        with pytest.raises(JobFailed, match="There is no stock") as failed:
            await t.run(answer.call("key"))
        assert failed.value.problem().status == 404


@pytest.mark.parametrize("value", ["text", object(), {"score": "many"}])
async def test_result_of_another_type_is_a_failure(lane: Sidelane, value: Any) -> None:
    @lane.task
    async def analyse() -> Report:
        return value  # type: ignore[no-any-return]

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="not of its declared type"):
            await t.run(analyse.call())


async def test_result_over_the_size_limit_is_a_final_failure(make_lane: Any) -> None:
    lane: Sidelane = make_lane(payload_limit=2000)

    @lane.task(retry=Retry(attempts=3))
    async def long() -> str:
        return "x" * 3000

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="The result of 'long' is 3,002 bytes") as failed:
            await t.run(long.call())
        assert failed.value.problem().status == 413


async def test_task_that_exits_fails_without_ending_its_worker(lane: Sidelane) -> None:
    @lane.task
    async def leave() -> None:
        raise SystemExit(3)

    async with harness(lane) as t:
        with pytest.raises(JobFailed):
            await t.run(leave.call())


async def test_yielding_an_unsupported_type_is_a_failure(lane: Sidelane) -> None:
    @lane.task
    async def odd() -> AsyncIterator[str]:
        yield 7  # type: ignore[misc]

    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="yielded int"):
            await t.run(odd.call())


def test_backoff_grows_and_stays_within_its_bounds() -> None:
    backoff = Exponential(first=2, max_delay=60, jitter=0.2)
    for failures in range(1, 2000, 7):
        exact = min(2 * 2.0 ** min(failures - 1, 64), 60)
        assert 0.9 * exact <= backoff.delay(failures) <= 1.1 * exact


def test_jitter_spreads_delays_over_its_whole_range() -> None:
    edges = iter((0.0, 0.5, 1.0))
    backoff = Exponential(first=10, jitter=0.2, random=lambda: next(edges))
    assert [backoff.delay(1) for _ in range(3)] == [9, 10, 11]
    assert len({Exponential().delay(1) for _ in range(50)}) > 40


async def test_messages_of_internal_errors_are_not_public(lane: Sidelane) -> None:
    @lane.task
    async def leaky() -> None:
        raise StoreUnavailable("The file /var/lib/secret.db was moved.")

    async with harness(lane) as t:
        with pytest.raises(JobFailed) as failed:
            await t.run(leaky.call())
        assert "secret" not in str(failed.value.problem().document())


async def test_values_that_json_cannot_hold_are_rejected_at_once(lane: Sidelane) -> None:
    @lane.task
    async def share(of: float) -> float:
        return float("nan")

    with pytest.raises(ArgumentsError):
        share.call(float("inf"))
    async with harness(lane) as t:
        with pytest.raises(JobFailed, match="not of its declared type"):
            await t.run(share.call(1.0))
