"""Calls: arguments are checked when the call is made, stored by name, and upgraded if the task has changed."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from sidelane import ArgumentsError, CancelAfter, Context, JobConflict, JobFailed, PayloadTooLarge, Sidelane, State, Use
from sidelane.testing import harness


class Question(BaseModel):
    text: str
    asked: datetime | None = None


async def test_arguments_and_results_keep_their_types(lane: Sidelane) -> None:
    @lane.task
    async def echo(question: Question, times: int = 2) -> list[Question]:
        assert isinstance(question, Question)
        return [question] * times

    question = Question(text="Why?", asked=datetime(2026, 1, 2))  # noqa: DTZ001 - it only has to come back
    async with harness(lane) as t:
        assert await t.run(echo.call(question)) == [question, question]
        assert await t.run(echo.call(question, times=1)) == [question]


def test_invalid_arguments_raise_when_the_call_is_made(lane: Sidelane) -> None:
    @lane.task
    async def answer(question: Question, ctx: Context = Use(Context)) -> None: ...

    with pytest.raises(ArgumentsError, match=r"answer: question.text: Field required"):
        answer.call({})  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError, match="answer: question: Field required"):
        answer.call()  # type: ignore[call-arg]
    with pytest.raises(ArgumentsError, match="unexpected keyword argument 'mood'"):
        answer.call(Question(text="?"), mood="good")  # type: ignore[call-arg]
    with pytest.raises(ArgumentsError, match="'ctx' is filled in by the worker"):
        answer.call(Question(text="?"), ctx=None)  # type: ignore[arg-type]


def test_an_argument_without_a_json_form_raises(lane: Sidelane) -> None:
    @lane.task
    async def keep(anything: Any) -> None: ...

    with pytest.raises(ArgumentsError, match="keep: Unable to serialize"):
        keep.call(object())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": -1.0}, "not below 0"),
        ({"delay": float("nan")}, "a number of seconds from now"),
        ({"id": "with space"}, "an id is 1 to 128"),
        ({"id": "a:b"}, "an id is 1 to 128"),
        ({"user": ""}, "a string of 1 to 512"),
        ({"key": "k" * 513}, "a string of 1 to 512"),
        ({"priority": 1001}, "priorities go from"),
        ({"expires": 0.0}, "above 0"),
        ({"expires": float("inf")}, "above 0"),
        ({"deadline": -1.0}, "above 0"),
        ({"delay": 1.0, "run_at": 5.0}, "either delay or run_at"),
        ({"run_at": "tomorrow"}, "run_at='tomorrow': this is a number"),
        ({"run_at": datetime(2026, 1, 2)}, "this datetime has no time zone"),  # noqa: DTZ001 - that is the point
        ({"run_at": float("nan")}, "this is a time, in seconds since 1970"),
        ({"run_at": float("inf")}, "this is a time, in seconds since 1970"),
        ({"delay": float("inf")}, "a number of seconds from now"),
        ({"delay": "1"}, "this is a number"),
        ({"unique": ""}, "a string of 1 to 512"),
        ({"unique": 7}, "a string of 1 to 512"),
        ({"id": "current"}, "this id is reserved"),
        ({"labels": {"a": 1}}, "strings by name"),
    ],
)
def test_invalid_options_raise(lane: Sidelane, options: dict[str, Any], words: str) -> None:
    @lane.task
    async def task() -> None: ...

    with pytest.raises(ArgumentsError, match=words):
        task.options(**options)


async def test_options_reach_the_store(lane: Sidelane) -> None:
    @lane.task
    async def task() -> None: ...

    options = task.options(
        user="u1",
        key="k",
        priority=7,
        expires=5.0,
        deadline=60.0,
        labels={"a": "b"},
        on_disconnect=CancelAfter(after=3),
    )
    async with harness(lane) as t:
        job = await lane.submit(options.call())
        spec = (await job.record()).spec
        assert (spec.user, spec.key, spec.priority, spec.labels) == ("u1", "k", 7, {"a": "b"})
        assert (spec.expires, spec.deadline, spec.abandon_after) == (5.0, 60.0, 3)
        assert [record.id for record in await t.records(task)] == [job.id]


async def test_submits_with_the_same_id_return_one_job(lane: Sidelane) -> None:
    @lane.task
    async def task() -> None: ...

    async with harness(lane) as t:
        first = await lane.submit(task.options(id="order-7").call())
        again = await lane.submit(task.options(id="order-7").call())
        assert (first.created, again.created) == (True, False)
        assert len(await t.records(task)) == 1


async def test_one_unfinished_job_per_unique_key(lane: Sidelane) -> None:
    @lane.task
    async def report(day: int) -> int:
        return day

    daily = report.options(unique="daily")
    async with harness(lane) as t:
        first = await lane.submit(daily.call(1))
        again = await lane.submit(daily.call(2))
        assert (again.created, again.id) == (False, first.id)
        other = await lane.submit(daily.options(user="u1").call(3))  # unique per user
        assert other.created
        await t.drain()
        assert (await first.result(), await other.result()) == (1, 3)
        assert (await lane.submit(daily.call(4))).created


async def test_a_run_time_in_the_past_means_now(lane: Sidelane) -> None:
    @lane.task
    async def task() -> str:
        return "ran"

    async with harness(lane) as t:
        assert await t.run(task.options(run_at=0.0).call()) == "ran"
        job = await lane.submit(task.options(run_at=t.clock() + 30).call())
        assert await t.drain() == 0
        await t.advance(31)
        assert await t.drain() == 1
        assert await job.result() == "ran"


async def test_the_id_of_another_users_job_is_a_conflict(lane: Sidelane) -> None:
    @lane.task
    async def task() -> None: ...

    async with harness(lane):
        await lane.submit(task.options(id="order-7", user="u1").call())
        with pytest.raises(JobConflict):
            await lane.submit(task.options(id="order-7", user="u2").call())


async def test_arguments_over_the_size_limit_raise_and_store_nothing(make_lane: Any) -> None:
    lane: Sidelane = make_lane(payload_limit=2000)

    @lane.task
    async def task(text: str) -> None: ...

    async with harness(lane) as t:
        with pytest.raises(PayloadTooLarge, match=r"2,\d\d\d bytes of JSON; the limit is 2,000"):
            await task.submit("x" * 2000)
        with pytest.raises(PayloadTooLarge):
            await task.submit("ä" * 1000)  # counted in bytes, not characters
        assert await t.records(task) == []


async def test_arguments_of_an_older_version_are_upgraded(lane: Sidelane) -> None:
    def upgrade(arguments: dict[str, Any], version: int) -> dict[str, Any]:
        return {"question": {"text": arguments["text"]}, "version": version}

    @lane.task(version=2, upgrade=upgrade)
    async def answer(question: Question, version: int) -> str:
        return f"{question.text} from {version}"

    async with harness(lane) as t:
        job = await answer.submit(Question(text="unused"), 0)
        spec = (await job.record()).spec
        old = type(spec)(id="old", task="answer", version=1, arguments='{"text": "Why?"}')
        await t.client.store.submit([old])
        await t.drain()
        assert await answer.job("old").result() == "Why? from 1"


async def test_arguments_that_no_longer_fit_fail_for_good_and_can_be_requeued(lane: Sidelane) -> None:
    @lane.task
    async def answer(question: Question) -> str:
        return question.text

    async with harness(lane) as t:
        job = await answer.submit(Question(text="Why?"))
        spec = (await job.record()).spec
        await t.client.store.submit([type(spec)(id="old", task="answer", arguments='{"frage": "Warum?"}')])
        await t.drain()
        with pytest.raises(JobFailed, match="the stored arguments do not fit") as failed:
            await answer.job("old").result()
        assert failed.value.problem().status == 422
        assert (await answer.job("old").requeue()).state is State.QUEUED
