"""Notifications on Redis: a new job wakes one waiting worker, and dead watchers are skipped (rule 22)."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sidelane.conformance.stores.actions import HINT_TIMEOUT, claim, claim_job, failure, finish, ids, specs, submit
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Lost
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store, Subscription, queue_topic
from sidelane.stores.factory import open_store
from tests.contract.servers import EVERY_KIND, RunningServer


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path).start()
    yield running
    running.stop()


async def test_a_new_job_wakes_one_of_many_watchers(server: RunningServer, store: Store) -> None:
    async with AsyncExitStack() as stack:
        watches = []
        for _ in range(5):
            other = await open_store(server.url())
            stack.push_async_callback(other.close)
            watches.append(await stack.enter_async_context(other.watch(queue_topic("default"))))
        await submit(store, *specs("a", "b", "c"))
        woken = await asyncio.gather(*(wakeups.wait(0.5) for wakeups in watches))
        assert sorted(woken) == [False, False, False, False, True]


async def test_a_hint_skips_a_watcher_that_is_gone(store: Store, admin: "Redis") -> None:
    async with store.watch(queue_topic("default")) as wakeups:
        await admin.zadd("{sidelane}:watchers:default", {"gone": 0})
        await submit(store, *specs("a"))
        assert await wakeups.wait(HINT_TIMEOUT)
        assert await admin.zrange("{sidelane}:watchers:default", 0, -1) == []


async def test_closed_watches_leave_no_keys(store: Store, admin: "Redis") -> None:
    async with store.watch(queue_topic("default")):
        await claim(store, tasks={"t": 1})
        assert await admin.exists("{sidelane}:watchers:default", "{sidelane}:watcher_tasks") == 2
    assert await admin.exists("{sidelane}:watchers:default", "{sidelane}:watcher_tasks") == 0


async def claim_queues(
    store: Store, queues: dict[str, int], limit: int, full: tuple[str, ...] = (), *, isolated: bool = False
) -> list[str]:
    """Claim for a group of queues as a worker does: queues with free slots, and `full` ones."""
    request = ClaimRequest(
        request=new_nonce(), worker="w", queues=queues, full=full, limit=limit, tasks={"t": 1}, isolated=isolated
    )
    return ids((await store.claim(request)).jobs)


async def got_hint(wakeups: Subscription) -> bool:
    return await wakeups.wait(0.2)


@pytest.mark.parametrize("limit", [1, 2], ids=["filled", "with room left"])
async def test_a_claim_for_some_queues_keeps_the_watcher_waiting_for_the_others(store: Store, limit: int) -> None:
    async with store.watch(queue_topic("a")) as own, store.watch(queue_topic("b"), queue_topic("c")) as other:
        await claim_queues(store, {"b": 9, "c": 9}, 9)
        await submit(store, *specs("one", queue="a"))
        assert await own.wait(HINT_TIMEOUT)
        assert await claim_queues(store, {"a": 9}, limit) == ["one"]
        for queue in "bc":
            await submit(store, *specs(f"in-{queue}", queue=queue))
            assert await other.wait(HINT_TIMEOUT)
            assert await claim_queues(store, {"b": 9, "c": 9}, 9) == [f"in-{queue}"]
        assert not await got_hint(own)


async def test_a_watcher_is_not_woken_for_a_queue_without_free_slots(server: RunningServer, store: Store) -> None:
    idle = await open_store(server.url())
    async with store.watch(queue_topic("a"), queue_topic("b")) as wakeups:
        await claim_queues(store, {"b": 1}, 9, full=("a",))
        await submit(store, *specs("before", queue="a"))
        assert not await got_hint(wakeups)
        async with idle.watch(queue_topic("a")) as others:
            await submit(store, *specs("one", queue="a"))
            assert await others.wait(HINT_TIMEOUT)
        await submit(store, *specs("two", queue="b"))
        assert await wakeups.wait(HINT_TIMEOUT)
        assert await claim_queues(store, {"a": 1, "b": 1}, 9) == ["before", "two"]
    await idle.close()


async def test_a_queue_is_waited_for_again_after_a_claim_with_free_slots(store: Store) -> None:
    async with store.watch(queue_topic("a"), queue_topic("b")) as wakeups:
        await submit(store, *specs("one", queue="a"))
        assert await wakeups.wait(HINT_TIMEOUT)
        assert await claim_queues(store, {"a": 1, "b": 1}, 9) == ["one"]
        await claim_queues(store, {"b": 1}, 9, full=("a",))
        await claim_queues(store, {"a": 1, "b": 1}, 9)
        await submit(store, *specs("two", queue="a"))
        assert await wakeups.wait(HINT_TIMEOUT)


async def make_isolated(store: Store, job_id: str) -> None:
    """Submit a job and give it two worker losses."""
    await submit(store, JobSpec(id=job_id, task="t", queue="a"))
    for _ in range(2):
        await finish(store, await claim_job(store, job_id), Lost(failure()))


async def test_only_isolated_jobs_wake_an_isolation_worker(server: RunningServer, store: Store) -> None:
    isolation = await open_store(server.url())
    async with store.watch(queue_topic("a")) as ordinary, isolation.watch(queue_topic("a")) as isolated:
        await claim_queues(store, {"a": 9}, 9)
        await claim_queues(isolation, {"a": 1}, 1, isolated=True)
        await submit(store, *specs("calm", queue="a"))
        assert await ordinary.wait(HINT_TIMEOUT)
        assert not await got_hint(isolated)
        assert await claim_queues(store, {"a": 9}, 9) == ["calm"]
        await make_isolated(store, "poison")
        assert await isolated.wait(HINT_TIMEOUT)
        assert await claim_queues(isolation, {"a": 1}, 1, isolated=True) == ["poison"]
    await isolation.close()


async def test_without_an_isolation_worker_an_isolated_job_wakes_an_ordinary_worker(store: Store) -> None:
    async with store.watch(queue_topic("a")) as ordinary:
        await make_isolated(store, "poison")
        while await got_hint(ordinary):  # from before the job was isolated
            await claim_queues(store, {"a": 9}, 9)
        await store.cancel(["poison"])
        await claim_queues(store, {"a": 9}, 9)
        await make_isolated(store, "another")
        assert await ordinary.wait(HINT_TIMEOUT)
        request = ClaimRequest(request=new_nonce(), worker="w", queues={"a": 9}, limit=9, tasks={"t": 1})
        assert (await store.claim(request)).isolated
