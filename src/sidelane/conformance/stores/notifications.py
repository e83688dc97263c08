"""Notifications: every change after a watch is open gives a hint (rule 19)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    LEASE,
    append_tokens,
    claim_job,
    failure,
    finish,
    follow_to_end,
    pass_time,
    record,
    specs,
    start,
    submit,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import FINISHED, FollowUp, JobSpec
from sidelane.model.outcome import Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, job_topic, queue_topic, worker_topic


async def hinted(store: Store, topic: str, change: Callable[[], Awaitable[object]]) -> bool:
    """Make a change while watching a topic. Returns whether a hint came."""
    async with store.watch(topic) as wakeups:
        await change()
        return await wakeups.wait(HINT_TIMEOUT)


class Notifications(StoreSuite):
    """The topics that each change notifies."""

    async def test_a_submit_notifies_its_queue(self, store: Store) -> None:
        assert await hinted(store, queue_topic("x"), lambda: submit(store, *specs("a", queue="x")))

    async def test_a_requeue_notifies_its_queue(self, store: Store) -> None:
        await submit(store, *specs("a"))
        await store.cancel(["a"])
        assert await hinted(store, queue_topic("default"), lambda: store.requeue(["a"]))

    async def test_a_release_and_a_retry_notify_their_queue(self, store: Store) -> None:
        for job_id, outcome in ("a", Released()), ("b", Retried(failure())):
            claimed = await start(store, *specs(job_id))
            async with store.watch(queue_topic("default")) as wakeups:
                await finish(store, claimed, outcome)
                assert await wakeups.wait(HINT_TIMEOUT)

    async def test_a_lost_lease_notifies_its_queue_and_job(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        async with AsyncExitStack() as stack:
            topics = queue_topic("default"), job_topic("a")
            watched = [await stack.enter_async_context(store.watch(topic)) for topic in topics]
            await pass_time(store, clock, 3 * LEASE)
            assert [await wakeups.wait(HINT_TIMEOUT) for wakeups in watched] == [True, True]

    async def test_resuming_a_queue_with_ready_jobs_notifies_it(self, store: Store) -> None:
        await store.pause("x")
        await submit(store, *specs("a", queue="x"))
        assert await hinted(store, queue_topic("x"), lambda: store.pause("x", False))

    async def test_a_follow_up_notifies_its_queue(self, store: Store) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", queue="callbacks"))
        claimed = await start(store, JobSpec(id="a", task="t", follow_ups=(follow,)))
        assert await hinted(store, queue_topic("callbacks"), lambda: finish(store, claimed, Succeeded("1")))

    async def test_an_append_notifies_its_job(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        assert await hinted(store, job_topic("a"), lambda: append_tokens(store, claimed, 1, "x"))

    async def test_every_state_change_notifies_its_job(self, store: Store) -> None:
        await submit(store, *specs("a"))
        async with store.watch(job_topic("a")) as wakeups:
            claimed = await claim_job(store, "a")
            assert await wakeups.wait(HINT_TIMEOUT)
            await store.cancel(["a"])
            assert await wakeups.wait(HINT_TIMEOUT)
            await finish(store, claimed, Succeeded("1"))
            assert await wakeups.wait(HINT_TIMEOUT)
            await store.requeue(["a"])
            assert await wakeups.wait(HINT_TIMEOUT)

    async def test_cancelling_a_running_job_notifies_its_worker(self, store: Store) -> None:
        await start(store, *specs("a"), worker="w1")
        assert await hinted(store, worker_topic("w1"), lambda: store.cancel(["a"]))

    async def test_one_watch_is_woken_for_each_of_its_topics(self, store: Store) -> None:
        async with store.watch(queue_topic("x"), queue_topic("y"), job_topic("a")) as wakeups:
            await submit(store, *specs("b", queue="y"))
            assert await wakeups.wait(HINT_TIMEOUT)
            await submit(store, *specs("c", queue="x"))
            assert await wakeups.wait(HINT_TIMEOUT)

    async def test_each_of_many_watches_is_woken(self, store: Store) -> None:
        async with AsyncExitStack() as stack:
            watched = [await stack.enter_async_context(store.watch(queue_topic("x"))) for _ in range(20)]
            await submit(store, *specs("a", queue="x"))
            assert await asyncio.gather(*(wakeups.wait(HINT_TIMEOUT) for wakeups in watched)) == [True] * 20


class SubscriptionWaits(StoreSuite):
    """Waiting for hints."""

    async def test_without_a_change_a_wait_ends_with_its_timeout(self, store: Store) -> None:
        async with store.watch(job_topic("a")) as wakeups:
            assert not await wakeups.wait(0.05)
            assert not await wakeups.wait(0)

    async def test_a_hint_that_came_before_the_wait_is_not_lost(self, store: Store) -> None:
        async with store.watch(queue_topic("default")) as wakeups:
            await submit(store, *specs("a"))
            await asyncio.sleep(0.1)
            assert await wakeups.wait(HINT_TIMEOUT)

    async def test_a_hint_that_comes_during_the_wait_ends_it(self, store: Store) -> None:
        async with store.watch(queue_topic("default")) as wakeups:
            waiting = asyncio.create_task(wakeups.wait(HINT_TIMEOUT))
            await asyncio.sleep(0.05)
            await submit(store, *specs("a"))
            assert await waiting

    async def test_a_cancelled_wait_loses_no_hint(self, store: Store) -> None:
        async with store.watch(queue_topic("default")) as wakeups:
            waiting = asyncio.create_task(wakeups.wait())
            await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await submit(store, *specs("a"))
            assert await wakeups.wait(HINT_TIMEOUT)

    async def test_a_reader_that_subscribes_then_reads_then_waits_misses_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))

        async def emit() -> None:
            for number in range(1, 41):
                assert await append_tokens(store, claimed, number, str(number))
                await asyncio.sleep(0)
            await finish(store, claimed, Succeeded("1"), ordinal=41)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            readers = [group.create_task(follow_to_end(store, "a")) for _ in range(5)]
            group.create_task(emit())
        for reader in readers:
            assert [event.number for event in reader.result()] == list(range(1, 42))
        assert (await record(store, "a")).last == 41
