"""Types as a type checker sees them: results and resources of tasks of every kind, and type errors.

`make check` does the checking: it fails where a type does not hold, and where an error that is ignored here is none.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import pytest
from pydantic import BaseModel

from sidelane import (
    PREVIOUS_RESULT,
    ArgumentsError,
    Batch,
    Call,
    ConcurrencyLimit,
    ConfigurationError,
    Context,
    Job,
    JobConflict,
    JobError,
    Queue,
    RateLimit,
    Resource,
    Result,
    Sidelane,
    Sqs,
    Task,
    Use,
)
from sidelane.model.errors import TaskDeclarationError
from sidelane.model.limit import LimitPolicy
from sidelane.testing import harness


class Report(BaseModel):
    score: int


def test_a_call_has_the_type_of_its_result(lane: Sidelane) -> None:
    @lane.task
    async def coroutine(number: int) -> Report:
        return Report(score=number)

    @lane.task(timeout=5)
    def function(number: int) -> list[int]:
        return [number]

    @lane.task
    async def text() -> AsyncIterator[str]:
        yield "a"

    @lane.task(queue="chat")
    async def typed() -> AsyncIterator[str | Report | Result[int]]:
        yield Result(7)

    @lane.task
    def yielding() -> Iterator[str | Result[Report]]:
        yield Result(Report(score=7))

    assert_type(coroutine.call(1), Call[Report])
    assert_type(function.call(1), Call[list[int]])
    assert_type(text.call(), Call[str])
    assert_type(typed.call(), Call[int])
    assert_type(yielding.options(priority=7).call(), Call[Report])
    assert [task.signature.result_type for task in (coroutine, function, text, typed, yielding)] == [
        Report, list[int], str, int, Report,
    ]  # fmt: skip


async def test_a_job_returns_its_result_in_that_type(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> Report:
        return Report(score=7)

    async with harness(lane) as t:
        job = await answer.submit()
        await t.drain()
        assert_type(job, Job[Report])
        assert_type(await job.result(), Report)
        assert_type(await t.run(answer.call()), Report)


async def test_an_external_task_has_the_types_of_its_input_and_result(lane: Sidelane) -> None:
    analyse = lane.external_task(
        "analyse",
        input=Report,
        result=list[int],
        send_to=Sqs("offers"),
        replies_from=Sqs("results"),
        max_worker_losses=1,
    )
    plain: Task[[Report], Any, list[int]] = analyse
    assert_type(analyse.call(Report(score=7)), Call[list[int]])
    assert_type(analyse.options(priority=7).call(Report(score=7)), Call[list[int]])
    assert plain.signature.result_type == list[int]
    with pytest.raises(ArgumentsError):
        analyse.call(7)  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError):
        analyse.call()  # type: ignore[call-arg]
    async with harness(lane) as t:
        job = await analyse.submit(Report(score=7))
        assert_type(job, Job[list[int]])
        await t.drain()
        await t.complete(job, [7])
        with pytest.raises(JobConflict):
            await t.complete(job, "seven")  # type: ignore[misc]
        assert not await analyse.complete(job.id, ["seven"])  # type: ignore[list-item]


def test_a_resource_has_the_type_of_its_value(lane: Sidelane) -> None:
    @lane.resource
    async def client() -> AsyncIterator[bytes]:
        yield b""

    @lane.resource(scope="attempt")
    def session(client: bytes = Use(client)) -> Iterator[str]:
        yield ""

    @lane.resource
    async def number() -> int:
        return 7

    @lane.resource
    def plain() -> Report:
        return Report(score=7)

    assert_type(client, Resource[bytes])
    assert_type(session, Resource[str])
    assert_type(number, Resource[int])
    assert_type(plain, Resource[Report])


async def test_a_batch_returns_the_results_of_its_calls_in_their_type(lane: Sidelane) -> None:
    @lane.task
    async def answer(number: int) -> Report:
        return Report(score=number)

    async with harness(lane) as t:
        batch = await lane.submit_many([answer.call(7)])
        await t.drain()
        assert_type(batch, Batch[Report])
        assert_type(await batch.results(), list[Report | JobError])
        assert await batch.results() == [Report(score=7)]


async def test_a_batch_of_calls_of_several_tasks_has_the_types_of_their_results(lane: Sidelane) -> None:
    @lane.task
    async def answer(number: int) -> Report:
        return Report(score=number)

    @lane.task
    async def echo(text: str) -> str:
        return text

    async with harness(lane) as t:
        batch: Batch[Report | str] = await lane.submit_many([answer.call(7), echo.call("x")])
        await lane.submit_many([answer.call(8), echo.call("y")], then=echo.call("z"))
        await t.drain()
        assert_type(await batch.results(), list[Report | str | JobError])
        assert await batch.results() == [Report(score=7), "x"]
        wider: Call[Report | str] = echo.call("x")
        narrower: Call[str] = wider  # type: ignore[assignment]
        assert wider == narrower
        with pytest.raises(ArgumentsError):
            await lane.submit_many([answer.call(7), "x"])  # type: ignore[arg-type]


def test_an_invalid_limit_is_a_type_error() -> None:
    def none(number: int) -> str | None:
        return None

    async def later(number: int) -> str:
        return ""

    with pytest.raises(TypeError):
        ConcurrencyLimit(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ConcurrencyLimit(1, "user")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        RateLimit("5/s")  # type: ignore[call-arg]
    wrong: list[LimitPolicy] = [
        ConcurrencyLimit("1", per="user"),  # type: ignore[arg-type]
        ConcurrencyLimit(1, per="users"),  # type: ignore[arg-type]
        ConcurrencyLimit(1, per="user", on_limit="queue"),  # type: ignore[arg-type]
        RateLimit(10, per="user"),
        RateLimit(10, per="user", window="1 minute"),  # type: ignore[arg-type]
        RateLimit("5/s", per=5),  # type: ignore[arg-type]
        RateLimit("5/s", per="user", on_limit="replace"),  # type: ignore[arg-type]
        RateLimit("5/s", per="user", burst=1.5),  # type: ignore[arg-type]
        RateLimit("5/s", per="user", message=5),  # type: ignore[arg-type]
        ConcurrencyLimit(1, per="user", message="\ud800"),
        ConcurrencyLimit(1, per="user", message="x" * 501),
    ]
    assert all(each.invalid_reason() for each in wrong)
    ConcurrencyLimit(1, per=none)  # type: ignore[arg-type]
    ConcurrencyLimit(1, per=later)  # type: ignore[arg-type]
    ConcurrencyLimit(1, per=lambda number: number)
    with pytest.raises(ConfigurationError):
        Sidelane(queues=[Queue("chat", limits=["one"])])  # type: ignore[list-item]


def test_limits_of_another_type_are_a_type_error(lane: Sidelane) -> None:
    async def note(number: int) -> None: ...

    with pytest.raises(TaskDeclarationError):
        lane.task(limits=["one"])(note)  # type: ignore[list-item]
    with pytest.raises(TaskDeclarationError):
        lane.task(limits=ConcurrencyLimit(1, per="user"))(note)  # type: ignore[call-overload]


def test_an_invalid_schedule_is_a_type_error(lane: Sidelane) -> None:
    @lane.task
    async def note(number: int) -> None: ...

    with pytest.raises(ConfigurationError):
        lane.schedule("notes", note.call(1), every=1, catch_up="never")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        lane.schedule("notes", note.call(1), every="1")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        lane.schedule("notes", note.call(1), cron=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        lane.schedule("notes", note.call(1), evry=5)  # type: ignore[call-arg]
    with pytest.raises(
        ConfigurationError, match=r"Schedule 'notes': <task note> is not a call: `task.call\(…\)` returns one"
    ):
        lane.schedule("notes", note, every=1)  # type: ignore[arg-type]


def test_a_chain_of_other_than_calls_is_a_type_error(lane: Sidelane) -> None:
    @lane.task
    async def note(number: int) -> None: ...

    with pytest.raises(ArgumentsError):
        note.options(then="x")  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError):
        note.options(then=note)  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError):
        note.options(on_failure=[note.call(1), "x"])  # type: ignore[list-item]
    note.options(then=[note.call(PREVIOUS_RESULT)], on_failure=note.call(2))


async def test_a_task_in_place_of_its_call_is_a_type_error_and_raises(lane: Sidelane) -> None:
    @lane.task
    async def note() -> None: ...

    @lane.task
    async def parent(ctx: Context = Use(Context)) -> str:
        with pytest.raises(ArgumentsError) as refused:
            await ctx.submit(note)  # type: ignore[arg-type]
        with pytest.raises(ArgumentsError, match="'leave' or 'cascade'"):
            await ctx.submit(note.call(), cancel="all")  # type: ignore[arg-type]
        return str(refused.value)

    no_call = "<task note> is not a call: `task.call(…)` returns one."
    async with harness(lane) as t:
        with pytest.raises(ArgumentsError) as refused:
            await lane.submit(note)  # type: ignore[arg-type]
        assert str(refused.value) == no_call
        with pytest.raises(ArgumentsError) as refused:
            await lane.submit_many([note])  # type: ignore[arg-type]
        assert str(refused.value) == no_call
        assert await t.run(parent.call()) == no_call
