"""What a type checker sees: the types of results and resources, for tasks of every kind. `make check` does the checking."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from pydantic import BaseModel

from sidelane import Call, Job, Resource, Result, Sidelane, Use


class Report(BaseModel):
    score: int


def test_a_call_knows_the_type_of_its_result(lane: Sidelane) -> None:
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


async def test_a_job_gives_its_result_in_that_type(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> Report:
        return Report(score=7)

    async with lane.testing() as t:
        job = await answer.submit()
        await t.drain()
        assert_type(job, Job[Report])
        assert_type(await job.result(), Report)
        assert_type(await t.run(answer.call()), Report)


def test_a_resource_knows_what_it_gives(lane: Sidelane) -> None:
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
