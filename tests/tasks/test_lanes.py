"""Calls of another lane: they are refused where they would be submitted, because no worker of this lane knows their tasks."""

from collections.abc import Callable
from typing import Any

import pytest

from sidelane import Call, ConfigurationError, Context, JobFailed, Message, Sidelane, Sqs, Use
from sidelane.testing import harness

ELSEWHERE = (
    "^Task 'note' is declared on another lane: submit its calls there, because no worker of this lane knows it.$"
)


@pytest.fixture
def foreign(make_lane: Any) -> Call[str]:
    """A call of a task of another lane."""
    other: Sidelane = make_lane()

    @other.task
    async def note(text: str) -> str:
        return text

    return note.call("x")


async def test_a_call_of_another_lane_is_refused(lane: Sidelane, foreign: Call[str]) -> None:
    @lane.task
    async def first() -> None: ...

    async with harness(lane) as t:
        for submit in (
            lambda: lane.submit(foreign),
            lambda: lane.submit(first.options(then=foreign).call()),
            lambda: lane.submit_many([first.call(), foreign]),
            lambda: lane.submit_many([first.call()], then=foreign),
            lambda: t.run(foreign),
        ):
            with pytest.raises(ConfigurationError, match=ELSEWHERE):
                await submit()
        assert await t.submitted(first) == []


async def test_a_running_task_cannot_submit_a_call_of_another_lane(lane: Sidelane, foreign: Call[str]) -> None:
    @lane.task
    async def loop(ctx: Context = Use(Context)) -> None:
        await ctx.submit(foreign)

    @lane.task
    def thread(ctx: Context = Use(Context)) -> None:
        ctx.submit(foreign).wait(5)

    async with harness(lane) as t:
        for task in (loop, thread):
            job = await task.submit()
            await t.drain()
            with pytest.raises(JobFailed):
                await job.result()
            assert "is declared on another lane" in (await t.client.record(job.id)).history[-1].error


def test_a_schedule_of_a_call_of_another_lane_is_refused(lane: Sidelane, foreign: Call[str]) -> None:
    with pytest.raises(ConfigurationError, match="Schedule 'notes': Task 'note' is declared on another lane"):
        lane.schedule("notes", foreign, every=60)


async def test_a_consumer_cannot_return_a_call_of_another_lane(lane: Sidelane, foreign: Call[str]) -> None:
    @lane.consumer(Sqs("requests"))
    def received(message: Message) -> Call[str]:
        return foreign

    async with harness(lane) as t:
        with pytest.raises(ConfigurationError, match=ELSEWHERE):
            await t.consume(received, Message(body="{}"))


def test_a_sync_client_refuses_a_call_of_another_lane(make_lane: Callable[[], Sidelane], foreign: Call[str]) -> None:
    with make_lane().sync_client() as client, pytest.raises(ConfigurationError, match=ELSEWHERE):
        client.submit(foreign)
