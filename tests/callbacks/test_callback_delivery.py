"""Callback delivery beside the jobs of users: real workers, and receivers that stall."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from sidelane import Context, Sidelane, State, Use, Webhook
from sidelane.callbacks import progress as progress_callbacks
from sidelane.model.job import Query
from sidelane.testing import harness
from tests.callbacks.conftest import NEW, MakeLane
from tests.callbacks.local_receivers import Receiver, receiving, stalled, status


async def test_stalled_callback_takes_no_slot_of_a_users_job(make_lane: MakeLane, receiver: Receiver) -> None:
    lane = make_lane(concurrency=1)
    receiver.usual = stalled

    @lane.task(callback=Webhook(receiver.url))
    async def told() -> str:
        return "done"

    async with lane.open(workers=1):
        first = await told.submit()
        assert await first.result(timeout=10) == "done"
        await receiver.until(1)  # and it will not be answered
        for _ in range(5):
            assert await (await told.submit()).result(timeout=10) == "done"
        (under_way,) = await lane.callbacks(first.id)
        assert under_way.state is State.RUNNING
        record = await first.record()
        assert record.state is State.SUCCEEDED


async def test_stalled_receiver_takes_few_slots_and_delays_no_other(make_lane: MakeLane, receiver: Receiver) -> None:
    lane = make_lane(callback_concurrency=2)

    @lane.task
    async def told(number: int) -> int:
        return number

    async with receiving() as dead, lane.open(workers=1):
        dead.usual = stalled
        for number in range(20):
            await told.options(callback=Webhook(dead.url)).submit(number)
        await dead.until(2)
        for number in range(10):
            await told.options(callback=Webhook(receiver.url)).submit(number)
        await receiver.until(10)
        assert len(dead.received) == 2


async def test_one_hundred_dead_receivers_do_not_slow_the_live_one(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task
    async def told(number: int) -> int:
        return number

    async def all_delivered(count: int) -> float:
        before, began = len(receiver.received), time.monotonic()
        for number in range(count):
            await told.options(callback=Webhook(receiver.url)).submit(number)
        await receiver.until(before + count)
        return time.monotonic() - began

    async with AsyncExitStack() as stack, lane.open(workers=1):
        await all_delivered(20)  # warm
        alone = await all_delivered(50)
        dead = [await stack.enter_async_context(receiving()) for _ in range(100)]
        for each in dead:
            each.usual = stalled
        calls = [told.options(callback=Webhook(each.url)).call(number) for each in dead for number in range(5)]
        await lane.submit_many(calls)
        await asyncio.gather(*(each.until(4) for each in dead))
        beside = await all_delivered(50)
        assert beside < alone + 8  # each of the dead takes fifteen seconds
        assert max(len(each.received) for each in dead) <= 4


async def test_progress_is_reported_while_the_job_runs_and_its_end_after_it(lane: Sidelane, receiver: Receiver) -> None:
    go = asyncio.Event()

    @lane.task
    async def analyse(*, ctx: Context = Use(Context)) -> str:
        for percent in range(50):
            await ctx.progress(percent, "analysing")
            await asyncio.sleep(0.01)
        await go.wait()
        return "done"

    async with lane.open(workers=1):
        hook = Webhook(receiver.url, secret="be", progress=True)
        job = await analyse.options(callback=hook).submit()
        await receiver.until(1)
        while receiver.received[-1].json["data"]["progress"]["percent"] < 49:
            await receiver.until(len(receiver.received) + 1)
        go.set()
        while receiver.received[-1].json["type"] == "job.progress":
            await receiver.until(len(receiver.received) + 1)
        await job.result(timeout=10)
    told = [got.verify(NEW) for got in receiver.received]
    assert [each["type"] for each in told] == ["job.progress"] * (len(told) - 1) + ["job.succeeded"]
    assert len(told) <= 4  # of fifty
    assert told[0]["data"]["state"] == "running"
    percents = [each["data"]["progress"]["percent"] for each in told[:-1]]
    assert percents == sorted(set(percents))
    assert len({got.headers["webhook-id"] for got in receiver.received}) == len(told)


async def test_progress_during_a_callback_is_reported_after_it(
    lane: Sidelane, receiver: Receiver, monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress_callbacks, "MIN_INTERVAL", 0.02)
    answer, further, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        await status(200)(writer)

    receiver.replies = [slowly]

    @lane.task
    async def analyse(*, ctx: Context = Use(Context)) -> None:
        await ctx.progress(10)
        await further.wait()
        await ctx.progress(70)
        await go.wait()

    async with lane.open(workers=1):
        job = await analyse.options(callback=Webhook(receiver.url, progress=True)).submit()
        await receiver.until(1)
        further.set()
        while '"percent":70' not in ((await job.record()).progress or ""):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # time for it to be submitted, and find the first under way
        answer.set()
        await receiver.until(2)
        assert receiver.received[1].json["data"]["progress"]["percent"] == 70
        go.set()
        await job.result(timeout=10)
        await receiver.until(3)


async def test_callback_of_a_newer_release_stops_no_worker(lane: Sidelane) -> None:
    @lane.task(callback=Webhook("https://example.com/", progress=True))
    async def told(*, ctx: Context = Use(Context)) -> str:
        await ctx.progress(50)
        while (await lane.client.record(ctx.job_id)).progress is None:
            await asyncio.sleep(0.02)
        return "done"

    spec = told.call().spec()
    (callback,) = spec.follow_ups
    newer = replace(callback, spec=replace(callback.spec, arguments='{"to": {"kind": "pigeon"}, "progress": true}'))
    async with lane.open(workers=1):
        await lane.client.submit_spec(replace(spec, follow_ups=(newer,)))
        assert (await lane.client.wait(spec.id, timeout=10)).state is State.SUCCEEDED
        assert await (await told.submit()).result(timeout=10) == "done"


async def test_progress_of_a_finished_job_is_not_reported(lane: Sidelane, receiver: Receiver) -> None:
    @lane.task(callback=Webhook(receiver.url, progress=True))
    async def quick(*, ctx: Context = Use(Context)) -> None:
        await ctx.progress(50)

    async with harness(lane) as t:
        job = await quick.submit()
        lane.progress_notifier.on_progress(await job.record())
        while not await t.client.find(Query(task="sidelane.progress")):
            await asyncio.sleep(0.01)
        await t.drain()
        assert await t.deliver() == 2
        assert [got.json["type"] for got in receiver.received] == ["job.succeeded"]
