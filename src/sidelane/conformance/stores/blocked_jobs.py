"""Limits with `on_limit="wait"`: jobs beyond the limit are blocked and unblocked in order (rule 14)."""

from contextlib import AsyncExitStack

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    LEASE,
    blocking_limits,
    claim,
    finish,
    heartbeat,
    ids,
    limit_usage,
    pass_time,
    rate_limit,
    record,
    slot_limit,
    specs,
    start,
    states,
    submit,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec, Query, State
from sidelane.model.outcome import Cancelled, LeaseStatus, Succeeded
from sidelane.model.worker import Claimed, ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, queue_topic

ONE = slot_limit(1, "wait")
TWO = slot_limit(2, "wait")


async def block_jobs(store: Store, *job_ids: str) -> Claimed:
    """Run one job and block others on its slot."""
    holder = await start(store, *specs("holder", limits=(ONE,), queue="of-holder"))
    await submit(store, *specs(*job_ids, limits=(ONE,)))
    assert await claim(store) == []
    assert await blocking_limits(store, *job_ids) == ["few/k"] * len(job_ids)
    return holder


class BlockedJobs(StoreSuite):
    """Claims of jobs whose limit is full."""

    async def test_jobs_beyond_the_limit_are_blocked(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", "d", limits=(TWO,)))
        assert await limit_usage(store) == {}
        assert ids(await claim(store)) == ["a", "b"]
        assert await limit_usage(store) == {"few/k": (2, 2)}
        job = await record(store, "c")
        assert (job.state, job.waiting_for_limit, job.attempt, job.started) == (State.QUEUED, "few/k", 0, None)
        assert (await record(store, "a")).waiting_for_limit is None
        (counted,) = await store.stats()
        assert (counted.ready, counted.waiting_for_limit, counted.delayed, counted.running) == (0, 2, 0, 2)
        assert counted.queued == 2

    async def test_a_claim_continues_past_blocked_jobs(self, store: Store) -> None:
        await block_jobs(store)
        await submit(store, *specs("a", "b", limits=(ONE,)), *specs("free"))
        assert ids(await claim(store, limit=1)) == ["free"]
        assert await blocking_limits(store, "a", "b", "free") == ["few/k", "few/k", None]

    async def test_jobs_that_wait_for_a_limit_are_listed_in_the_order_of_their_starts(self, store: Store) -> None:
        await block_jobs(store)
        await submit(store, *specs("b", "a", limits=(ONE,)), *specs("low", limits=(ONE,), priority=-3))
        await submit(store, *specs("high", limits=(ONE,), priority=7), *specs("free"), *specs("c", limits=(ONE,)))
        await submit(store, *specs("other", limits=(slot_limit(1, "wait", key="other"),)))
        await claim(store)
        for size in (1, 2, 3, 200):
            listed, after = list[str](), None
            while page := await store.waiting_jobs("few/k", after=after, limit=size):
                listed += [each.id for each in page]
                after = page[-1].spec.priority, page[-1].sequence
                assert len(page) <= size
            assert listed == ["high", "b", "a", "c", "low"]
        for unknown in ("few/other", "few", "", "gone/\ud800"):
            assert await store.waiting_jobs(unknown) == []

    async def test_a_page_of_waiting_jobs_goes_on_after_its_last_job_has_started(self, store: Store) -> None:
        holder = await block_jobs(store, "a", "b", "c")
        first, second = await store.waiting_jobs("few/k", limit=2)
        await finish(store, holder, Succeeded("1"))
        await store.cancel(["b"])
        after = second.spec.priority, second.sequence
        assert [each.id for each in await store.waiting_jobs("few/k", after=after)] == ["c"]
        assert [each.id for each in await store.waiting_jobs("few/k", after=(0, first.sequence))] == ["c"]
        assert await store.waiting_jobs("few/k", after=(-1, 0)) == []

    async def test_jobs_that_wait_for_a_rate_are_listed(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", limits=(rate_limit(1, 60.0, "wait"),)))
        assert ids(await claim(store)) == ["a"]
        assert [each.id for each in await store.waiting_jobs("often/k")] == ["b", "c"]

    async def test_many_blocked_jobs_do_not_hide_one_that_can_run(self, store: Store) -> None:
        await block_jobs(store)
        await submit(store, *specs(*(f"j{n}" for n in range(450)), limits=(ONE,)), *specs("free"))
        taken: list[str] = []
        for _ in range(5):  # a claim may ask to be called again rather than look at all of them
            taken += ids(await claim(store, queues={"default": 1}, limit=1))
        assert taken == ["free"]

    async def test_a_claim_by_id_does_not_start_a_job_whose_limit_is_full(self, store: Store) -> None:
        holder = await block_jobs(store)
        await submit(store, *specs("a", limits=(ONE,)))
        assert await claim(store, ids=("a",)) == []
        assert await blocking_limits(store, "a") == ["few/k"]
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store, ids=("a",))) == ["a"]

    async def test_a_claim_by_ids_starts_as_many_as_their_limit_allows(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", limits=(TWO,)), *specs("free"))
        assert ids(await claim(store, ids=("c", "b", "a", "free"))) == ["c", "b", "free"]
        assert await blocking_limits(store, "a") == ["few/k"]

    async def test_a_repeated_claim_returns_the_same_jobs_and_acquires_no_more_slots(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", limits=(TWO,)))
        request = ClaimRequest(request=new_nonce(), worker="w", queues={"default": 3}, limit=3, lease=LEASE)
        first = await store.claim(request)
        assert (await store.claim(request)).jobs == first.jobs
        assert ids(first.jobs) == ["a", "b"]
        assert await limit_usage(store) == {"few/k": (2, 1)}

    async def test_a_delayed_job_has_no_slot_and_is_not_blocked_before_it_is_due(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, JobSpec(id="a", task="t", delay=30, limits=(ONE,)), *specs("b", limits=(ONE,)))
        assert ids(await claim(store)) == ["b"]
        assert await limit_usage(store) == {"few/k": (1, 0)}
        clock.advance(31)
        assert await claim(store) == []
        assert await limit_usage(store) == {"few/k": (1, 1)}

    async def test_blocked_jobs_do_not_count_against_their_user(self, store: Store) -> None:
        await block_jobs(store)
        await submit(store, *specs("a1", "a2", "a3", user="a", limits=(ONE,)), *specs("a4", "a5", user="a"))
        await submit(store, *specs("b1", "b2", "b3", user="b"))
        taken = [ids(await claim(store, limit=1)) for _ in range(5)]
        assert taken == [["a4"], ["b1"], ["a5"], ["b2"], ["b3"]]

    async def test_a_user_whose_jobs_are_all_blocked_delays_no_other_user(self, store: Store) -> None:
        await block_jobs(store)
        await submit(store, *specs(*(f"a{n}" for n in range(50)), user="a", limits=(ONE,)))
        await submit(store, *specs("b1", user="b"), *specs("c1", "c2", user="c"))
        assert ids(await claim(store, queues={"default": 3}, limit=3)) == ["b1", "c1", "c2"]


class UnblockedJobs(StoreSuite):
    """Unblocking when a slot is released."""

    async def test_a_released_slot_unblocks_one_job(self, store: Store) -> None:
        holder = await block_jobs(store, "a", "b", "c")
        await finish(store, holder, Succeeded("1"))
        assert await blocking_limits(store, "a", "b", "c") == [None, "few/k", "few/k"]
        assert await limit_usage(store) == {"few/k": (0, 2)}
        assert ids(await claim(store)) == ["a"]
        assert await limit_usage(store) == {"few/k": (1, 2)}

    async def test_a_repeated_finish_unblocks_no_other_job(self, store: Store) -> None:
        holder = await block_jobs(store, "a", "b", "c")
        for _ in range(2):
            await finish(store, holder, Succeeded("1"))
        assert await blocking_limits(store, "a", "b", "c") == [None, "few/k", "few/k"]

    async def test_blocked_jobs_are_unblocked_by_priority_then_age(self, store: Store) -> None:
        claimed = await start(store, *specs("holder", limits=(ONE,), queue="x"))
        await submit(store, *specs("b", "a", limits=(ONE,)), *specs("low", limits=(ONE,), priority=-3))
        await submit(store, *specs("high", limits=(ONE,), priority=7), *specs("c", limits=(ONE,)))
        await claim(store)
        started = []
        for _ in range(5):
            await finish(store, claimed, Succeeded("1"))
            (claimed,) = await claim(store)
            started.append(claimed.record.id)
        assert started == ["high", "b", "a", "c", "low"]

    async def test_blocked_jobs_are_unblocked_across_queues_and_users(self, store: Store) -> None:
        claimed = await start(store, *specs("holder", limits=(ONE,), queue="x"))
        for number, (queue, user) in enumerate([("y", "u"), ("x", "v"), ("y", None), ("z", "u")]):
            await submit(store, *specs(f"j{number}", queue=queue, user=user, limits=(ONE,)))
        started = []
        await claim(store, queues=dict.fromkeys("xyz", 9))
        for _ in range(4):
            await finish(store, claimed, Succeeded("1"))
            (claimed,) = await claim(store, queues=dict.fromkeys("xyz", 9))
            started.append(claimed.record.id)
        assert started == ["j0", "j1", "j2", "j3"]

    async def test_an_unblocked_job_is_ordered_by_its_age_again(self, store: Store) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,), queue="x"))
        await submit(store, *specs("a1", limits=(ONE,), user="a"), *specs("a2", "a3", user="a"))
        assert ids(await claim(store, limit=1)) == ["a2"]
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store)) == ["a1", "a3"]

    async def test_unblocking_a_job_notifies_its_queue(self, store: Store) -> None:
        holder = await block_jobs(store, "a")
        async with store.watch(queue_topic("default")) as wakeups:
            await finish(store, holder, Succeeded("1"))
            assert await wakeups.wait(HINT_TIMEOUT)

    async def test_unblocking_jobs_notifies_each_of_their_queues(self, store: Store) -> None:
        claimed = [await start(store, *specs(f"holder{n}", limits=(TWO,), queue="of-holder")) for n in range(2)]
        await submit(store, *specs("x", limits=(TWO,), queue="x"), *specs("y", limits=(TWO,), queue="y"))
        assert await claim(store, queues={"x": 1, "y": 1}) == []
        async with AsyncExitStack() as stack:
            watched = [await stack.enter_async_context(store.watch(queue_topic(queue))) for queue in "xy"]
            for each in claimed:
                await finish(store, each, Succeeded("1"))
            assert [await wakeups.wait(HINT_TIMEOUT) for wakeups in watched] == [True, True]

    async def test_an_unblocked_job_in_a_paused_queue_does_not_hold_the_slot_forever(
        self, store: Store, clock: ManualClock
    ) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", "b", "c", limits=(ONE,), queue="x"), *specs("d", limits=(ONE,), queue="y"))
        assert await claim(store, queues=dict.fromkeys("xy", 9)) == []
        await store.pause("x")
        await finish(store, holder, Succeeded("1"))
        taken = await claim(store, queues={"y": 9})
        for _ in range(5):
            await pass_time(store, clock, LEASE / 8)
            taken += await claim(store, queues={"y": 9})
        assert ids(taken) == ["d"]
        await store.pause("x", False)
        assert await claim(store, queues={"x": 9}) == []
        await finish(store, taken[0], Succeeded("1"))
        assert len(await claim(store, queues={"x": 9})) == 1

    async def test_a_slot_skips_jobs_of_a_paused_queue(self, store: Store) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        older = [f"a{n}" for n in range(30)]
        await submit(store, *specs(*older, limits=(ONE,), queue="x"), *specs("b", "c", limits=(ONE,), queue="y"))
        assert await claim(store, queues=dict.fromkeys("xy", 99)) == []
        await store.pause("x")
        for name in "bc":
            await finish(store, holder, Succeeded("1"))
            (holder,) = await claim(store, queues={"y": 9})
            assert holder.record.id == name
        await finish(store, holder, Succeeded("1"))
        await store.pause("x", False)
        assert ids(await claim(store, queues={"x": 9})) == ["a0"]

    async def test_many_unblocked_jobs_that_no_worker_can_run_are_soon_skipped(
        self, store: Store, clock: ManualClock
    ) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        strange = [JobSpec(id=f"a{n}", task="unknown", limits=(ONE,)) for n in range(100)]
        await submit(store, *strange, *specs("b", limits=(ONE,)))
        await claim(store)
        await finish(store, holder, Succeeded("1"))
        taken: list[Claimed] = []
        for _ in range(10):
            taken += await claim(store, tasks={"t": 1})
            await pass_time(store, clock, LEASE / 10)
        assert ids(taken) == ["b"]

    async def test_an_unblocked_job_that_no_worker_can_run_does_not_hold_the_slot_forever(
        self, store: Store, clock: ManualClock
    ) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, JobSpec(id="a", task="unknown", limits=(ONE,)), *specs("b", limits=(ONE,)))
        await claim(store)
        await finish(store, holder, Succeeded("1"))
        taken = await claim(store, tasks={"t": 1})
        for _ in range(2):
            await pass_time(store, clock, LEASE / 4)
            taken += await claim(store, tasks={"t": 1})
        assert ids(taken) == ["b"]

    async def test_a_job_with_several_limits_waits_for_all_and_has_no_slot_meanwhile(
        self, store: Store, clock: ManualClock
    ) -> None:
        first, second = slot_limit(1, "wait", "first"), slot_limit(1, "wait", "second")
        one = await start(store, *specs("one", limits=(first,)))
        two = await start(store, *specs("two", limits=(second,)))
        await submit(store, *specs("both", limits=(first, second)), *specs("after", limits=(first,)))
        assert await claim(store) == []
        assert await blocking_limits(store, "both", "after") == ["first/k", "first/k"]
        await finish(store, one, Succeeded("1"))
        taken = await claim(store)
        assert await blocking_limits(store, "both") == ["second/k"]
        for _ in range(2):  # the slot that `both` could not use is for the next one
            await pass_time(store, clock, LEASE / 4)
            taken += await claim(store)
        assert ids(taken) == ["after"]
        assert await limit_usage(store) == {"first/k": (1, 0), "second/k": (1, 1)}
        await finish(store, two, Succeeded("1"))
        await finish(store, taken[0], Succeeded("1"))
        taken = await claim(store)
        assert ids(taken) == ["both"]
        assert await limit_usage(store) == {"first/k": (1, 0), "second/k": (1, 0)}
        await finish(store, taken[0], Succeeded("1"))
        assert await limit_usage(store) == {}

    async def test_a_thousand_jobs_of_one_slot_run_one_after_the_other(self, store: Store) -> None:
        many = [f"j{n}" for n in range(1000)]
        await submit(store, *specs(*many, limits=(ONE,)))
        ran = []
        for _ in many:
            (claimed,) = await claim(store)
            ran.append(claimed.record.id)
            await finish(store, claimed, Succeeded("1"))
        assert ran == many
        assert await limit_usage(store) == {}


class CallsOnBlockedJobs(StoreSuite):
    """Other calls treat a blocked job as a queued one."""

    async def test_a_blocked_job_is_cancelled_at_once(self, store: Store) -> None:
        holder = await block_jobs(store, "a", "b")
        await store.cancel(["a"])
        job = await record(store, "a")
        assert (job.state, job.waiting_for_limit) == (State.CANCELLED, None)
        assert await limit_usage(store) == {"few/k": (1, 1)}
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store)) == ["b"]

    async def test_cancelling_an_unblocked_job_unblocks_the_next(self, store: Store, clock: ManualClock) -> None:
        holder = await block_jobs(store, "a", "b")
        await finish(store, holder, Succeeded("1"))
        await store.cancel(["a"])
        await pass_time(store, clock, LEASE / 4)
        assert ids(await claim(store)) == ["b"]

    async def test_a_blocked_job_that_expired_is_failed_by_a_sweep(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, JobSpec(id="a", task="t", expires=5, limits=(ONE,)))
        await submit(store, JobSpec(id="b", task="t", deadline=5, limits=(ONE,)), *specs("c", limits=(ONE,)))
        assert await claim(store) == []
        assert (await pass_time(store, clock, 7)).ended == 2
        assert await states(store, "a", "b", "c") == [State.FAILED, State.FAILED, State.QUEUED]
        assert await limit_usage(store) == {"few/k": (1, 1)}

    async def test_a_blocked_job_without_listeners_is_abandoned(self, store: Store, clock: ManualClock) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, JobSpec(id="a", task="t", abandon_after=20, limits=(ONE,)))
        await store.touch_listeners(["a"])
        assert await claim(store) == []
        for _ in range(9):
            assert await heartbeat(store, "w", holder.lease) == [LeaseStatus.HELD]
            await pass_time(store, clock, LEASE / 3)
        assert await states(store, "a") == [State.CANCELLED]
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_a_blocked_job_is_listed_has_no_position_and_cannot_be_requeued_or_removed(
        self, store: Store
    ) -> None:
        await block_jobs(store, "a")
        before = await record(store, "a")
        assert await store.list_jobs(Query(states=frozenset({State.QUEUED}))) == [before]
        assert await store.queue_position("a") is None
        assert await store.requeue(["a"]) == [before]
        assert await store.remove(["a"]) == [False]
        assert await record(store, "a") == before
        assert before.waiting_for_limit == "few/k"

    async def test_an_urgent_job_is_next_though_a_thousand_others_wait_for_its_slot(self, store: Store) -> None:
        night = [f"n{n}" for n in range(1000)]
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs(*night, user="u", priority=-10, limits=(ONE,)))
        for _ in range(8):
            assert await claim(store) == []
        await submit(store, *specs("urgent", user="u", priority=10, limits=(ONE,)))
        assert await claim(store) == []
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store)) == ["urgent"]

    async def test_an_urgent_new_job_goes_before_an_unblocked_one(self, store: Store) -> None:
        holder = await block_jobs(store, "a", "b")
        await submit(store, *specs("urgent", priority=10, limits=(ONE,)))
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store)) == ["urgent"]
        assert await limit_usage(store) == {"few/k": (1, 2)}

    async def test_a_thousand_blocked_jobs_can_be_cancelled_and_leave_nothing(self, store: Store) -> None:
        many = [f"j{n}" for n in range(1000)]
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs(*many, limits=(ONE,)))
        for _ in range(8):
            assert await claim(store) == []
        cancelled = await store.cancel(many)
        assert {job.state for job in cancelled if isinstance(job, JobRecord)} == {State.CANCELLED}
        assert await limit_usage(store) == {"few/k": (1, 0)}
        await finish(store, holder, Cancelled())
        assert await limit_usage(store) == {}
