"""Hints on Redis: what arrives wakes one who waits for it, and one who is gone costs nothing (rules 22)."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sidelane.stores.contract import Store, queue_topic
from sidelane.stores.opening import open_store
from sidelane.testing.conformance.steps import PATIENCE, specs, submit, take
from tests.contract.servers import KINDS, RunningServer


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path).start()
    yield running
    running.stop()


async def test_one_arrival_wakes_one_of_many_watchers(server: RunningServer, store: Store) -> None:
    async with AsyncExitStack() as stack:
        watches = []
        for _ in range(5):
            other = await open_store(server.url())
            stack.push_async_callback(other.close)
            watches.append(await stack.enter_async_context(other.watch(queue_topic("default"))))
        await submit(store, *specs("a", "b", "c"))
        woken = await asyncio.gather(*(wakeups.wait(0.5) for wakeups in watches))
        assert sorted(woken) == [False, False, False, False, True]


async def test_a_hint_goes_past_a_watcher_that_is_gone(store: Store, admin: "Redis") -> None:
    async with store.watch(queue_topic("default")) as wakeups:
        await admin.zadd("{sidelane}:waiting:default", {"gone": 0})
        await submit(store, *specs("a"))
        assert await wakeups.wait(PATIENCE)
        assert await admin.zrange("{sidelane}:waiting:default", 0, -1) == []


async def test_those_who_watch_no_more_leave_nothing_behind(store: Store, admin: "Redis") -> None:
    async with store.watch(queue_topic("default")):
        await take(store, tasks={"t": 1})
        assert await admin.exists("{sidelane}:waiting:default", "{sidelane}:knows") == 2
    assert await admin.exists("{sidelane}:waiting:default", "{sidelane}:knows") == 0
