"""Event streams without notifications: slower, but correct."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from sidelane import Context, Sidelane, Use

LATE = 3.0
"""Seconds after which an event must arrive without its notification: two, and some for a busy machine."""


class Silence:
    """A subscription whose notifications never come."""

    async def wait(self, timeout: float | None = None) -> bool:
        await asyncio.sleep(3600 if timeout is None else timeout)
        return False


@asynccontextmanager
async def silence(*topics: str) -> AsyncIterator[Silence]:
    yield Silence()


@pytest.mark.long
async def test_events_arrive_within_two_seconds_if_all_notifications_are_lost(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    @lane.task
    async def speak(ctx: Context = Use(Context)) -> None:
        await ctx.emit("first", 1)
        await go.wait()
        await ctx.emit("second", 2)

    async with lane.open(workers=1):
        job = await speak.submit()
        with monkeypatch.context() as patch:
            patch.setattr(lane.client.store, "watch", silence)
            # the second event and the end may come in two pages
            async with asyncio.timeout(2 * LATE), aclosing(job.events()) as events:
                assert (await anext(events)).name == "first"
                go.set()
                assert [event.name async for event in events] == ["second", "end"]


async def test_a_result_arrives_within_two_seconds_if_all_notifications_are_lost(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    @lane.task
    async def answer() -> str:
        await go.wait()
        return "yes"

    async with lane.open(workers=1):
        job = await answer.submit()
        with monkeypatch.context() as patch:
            patch.setattr(lane.client.store, "watch", silence)
            waiting = asyncio.create_task(job.result())
            await asyncio.sleep(0)  # it has read once by now, or reads first when the job has ended
            go.set()
            async with asyncio.timeout(LATE):
                assert await waiting == "yes"
