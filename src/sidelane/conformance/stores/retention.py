"""Retention: finished jobs are removed in chunks once their time is over (rule 11)."""

from sidelane.conformance.stores.actions import (
    claim_job,
    finish,
    pass_time,
    read_log,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import FINISHED, FollowUp, JobSpec, Query, Tombstone
from sidelane.model.outcome import Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


async def ended(store: Store, *job_ids: str, keep: float) -> None:
    """Submit jobs and cancel them at once."""
    await submit(store, *(JobSpec(id=job_id, task="t", retention=keep) for job_id in job_ids))
    await store.cancel(job_ids)


class Retention(StoreSuite):
    """Removal by retention, and tombstones."""

    async def test_a_finished_job_is_removed_after_its_retention(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", user="u", retention=30))
        await pass_time(store, clock, 40)
        claimed = await claim_job(store, "a")
        await finish(store, claimed, Succeeded("1"), *tokens("one"))
        assert (await pass_time(store, clock, 29)).removed == 0
        assert len(await read_log(store, "a")) == 2
        assert (await pass_time(store, clock, 4)).removed == 1
        assert await store.get(["a"]) == [Tombstone("a", "u")]
        assert await store.read("a") is None
        assert await store.list_jobs(Query()) == []

    async def test_each_job_has_its_own_retention(self, store: Store, clock: ManualClock) -> None:
        for job_id, keep in ("a", 300.0), ("b", 10.0), ("c", 30.0):
            await finish(store, await start(store, JobSpec(id=job_id, task="t", retention=keep)), Succeeded("1"))
        await pass_time(store, clock, 15)
        assert [isinstance(job, Tombstone) for job in await store.get(["a", "b", "c"])] == [False, True, False]
        await pass_time(store, clock, 20)
        assert [isinstance(job, Tombstone) for job in await store.get(["a", "c"])] == [False, True]

    async def test_unfinished_jobs_are_never_removed(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", retention=5))
        assert (await pass_time(store, clock, 100)).removed == 0
        await record(store, "a")

    async def test_the_tombstone_of_a_job_goes_after_the_retention_again(
        self, store: Store, clock: ManualClock
    ) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", retention=30)), Succeeded("1"))
        await pass_time(store, clock, 50)
        assert await store.get(["a"]) == [Tombstone("a", None)]
        await pass_time(store, clock, 20)
        assert await store.get(["a"]) in ([Tombstone("a", None)], [None])
        await pass_time(store, clock, 30)
        assert await store.get(["a"]) == [None]

    async def test_a_removed_job_cannot_be_cancelled_or_requeued(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", retention=30)), Succeeded("1"))
        await pass_time(store, clock, 40)
        assert await store.cancel(["a"]) == [None]
        assert await store.requeue(["a"]) == [None]
        assert await store.get(["a"]) == [Tombstone("a", None)]

    async def test_the_retention_of_a_requeued_job_begins_with_its_last_end(
        self, store: Store, clock: ManualClock
    ) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", retention=30)), Succeeded("1"))
        await pass_time(store, clock, 20)
        await store.requeue(["a"])
        await pass_time(store, clock, 20)
        await finish(store, await claim_job(store, "a"), Succeeded("2"))
        await pass_time(store, clock, 25)
        assert (await record(store, "a")).result == "2"
        await pass_time(store, clock, 10)
        assert await store.get(["a"]) == [Tombstone("a", None)]

    async def test_a_job_with_unfinished_follow_ups_is_never_removed(self, store: Store, clock: ManualClock) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", retention=500))
        claimed = await start(store, JobSpec(id="a", task="t", retention=10, follow_ups=(follow,)))
        await finish(store, claimed, Succeeded("1"))
        await pass_time(store, clock, 50)
        assert (await record(store, "a")).result == "1"
        await finish(store, await claim_job(store, "a.1.0"), Succeeded("2"))
        await pass_time(store, clock, 10)
        assert await store.get(["a"]) == [Tombstone("a", None)]
        await record(store, "a.1.0")

    async def test_a_job_with_unfinished_children_is_never_removed(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", retention=10))
        await submit(store, JobSpec(id="child", task="t", parent="a"))
        await finish(store, claimed, Succeeded("1"))
        await pass_time(store, clock, 50)
        await record(store, "a")
        await store.cancel(["child"])
        await pass_time(store, clock, 10)
        assert await store.get(["a"]) == [Tombstone("a", None)]

    async def test_parents_with_unfinished_children_do_not_hide_jobs_to_remove(
        self, store: Store, clock: ManualClock
    ) -> None:
        parents = [f"p{n}" for n in range(210)]
        await submit(store, *(JobSpec(id=job_id, task="t", retention=5) for job_id in parents))
        await submit(store, *(JobSpec(id=f"child-{job_id}", task="t", parent=job_id) for job_id in parents))
        await store.cancel(parents)
        await pass_time(store, clock, 10)
        await ended(store, "last", keep=5)
        await pass_time(store, clock, 8)
        assert await store.get(["last"]) == [Tombstone("last", None)]

    async def test_many_jobs_are_removed_in_chunks(self, store: Store, clock: ManualClock) -> None:
        many = [f"j{n}" for n in range(450)]
        await ended(store, *many, keep=3)
        await store.sweep(lease=10)
        clock.advance(4)
        removed_counts = []
        for _ in range(20):
            swept = await store.sweep(lease=10)
            removed_counts.append(swept.removed)
            if not swept.more:
                break
        assert sum(removed_counts) == 450
        assert max(removed_counts) <= 200
        assert all(isinstance(job, Tombstone) for job in await store.get(many))

    async def test_a_sweep_removes_at_most_limit_jobs(self, store: Store, clock: ManualClock) -> None:
        many = [f"j{n}" for n in range(25)]
        await ended(store, *many, keep=3)
        await store.sweep(lease=10)
        clock.advance(4)
        first = await store.sweep(lease=10, limit=10)
        assert (first.removed <= 10, first.more) == (True, True)
        while (await store.sweep(lease=10, limit=10)).more:
            pass
        assert all(isinstance(job, Tombstone) for job in await store.get(many))

    async def test_the_key_of_a_removed_job_finds_nothing(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", key="k", unique="k", retention=5))
        await finish(store, claimed, Succeeded("1"))
        await pass_time(store, clock, 20)
        assert await store.list_jobs(Query(key="k")) == []
        await submit(store, *specs("b"), JobSpec(id="c", task="t", key="k", unique="k"))
