"""Slots of running jobs: released when a job leaves `running`, and shared by all limits with the same id (rule 14)."""

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    blocking_limits,
    claim,
    claim_job,
    failure,
    finish,
    ids,
    limit_usage,
    pass_time,
    rate_limit,
    slot_limit,
    specs,
    start,
    states,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, State, Submission
from sidelane.model.outcome import Cancelled, Failed, Outcome, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store

ONE = slot_limit(1, "wait")


class SlotRelease(StoreSuite):
    """Release of a running job's slot."""

    @pytest.mark.parametrize(
        "outcome",
        [Succeeded("1"), Failed(failure()), Cancelled(), Retried(failure(), delay=60), Released(delay=60)],
        ids=lambda outcome: type(outcome).__name__,
    )
    async def test_a_job_that_stops_running_releases_its_slot_to_the_next(self, store: Store, outcome: Outcome) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", limits=(ONE,)))
        assert await claim(store) == []
        await finish(store, holder, outcome)
        assert ids(await claim(store)) == ["a"]
        assert await limit_usage(store) == {"few/k": (1, 0)}

    @pytest.mark.parametrize("losses", [0, 3])
    async def test_a_lost_lease_releases_its_slot_to_the_next(
        self, store: Store, clock: ManualClock, losses: int
    ) -> None:
        stale = await start(store, JobSpec(id="dead", task="t", max_worker_losses=losses, limits=(ONE,)), worker="dead")
        await submit(store, *specs("a", limits=(ONE,), priority=1))
        assert await claim(store) == []
        await pass_time(store, clock, 3 * LEASE)
        assert ids(await claim(store)) == ["a"]
        assert not await finish(store, stale, Succeeded("1"))
        assert await limit_usage(store) == {"few/k": (1, 1 if losses else 0)}

    async def test_no_slot_is_used_once_all_leases_are_swept(self, store: Store, clock: ManualClock) -> None:
        limit = slot_limit(300, "wait")
        await submit(store, *specs(*(f"j{n}" for n in range(320)), limits=(limit,)))
        for number in range(8):
            await claim(store, worker=f"w{number}", limit=50)
        assert (await limit_usage(store))["few/k"][0] == 300
        swept = await pass_time(store, clock, 2 * LEASE)
        while swept.more:
            swept = await store.sweep(lease=LEASE)
        assert (await limit_usage(store)).get("few/k", (0, 0)) == (0, 0)
        assert len(await claim(store, limit=1000)) == 300

    async def test_a_running_job_with_a_cancel_request_keeps_its_slot_until_it_ends(self, store: Store) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", limits=(ONE,)))
        await store.cancel(["holder"])
        assert await claim(store) == []
        await finish(store, holder, Released())
        assert ids(await claim(store)) == ["a"]

    async def test_a_retried_job_acquires_a_new_slot(self, store: Store, clock: ManualClock) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", limits=(ONE,)))
        await claim(store)
        await finish(store, holder, Retried(failure(), delay=5))
        (second,) = await claim(store)
        clock.advance(6)
        assert await claim(store) == []
        assert await blocking_limits(store, "holder") == ["few/k"]
        await finish(store, second, Succeeded("1"))
        assert ids(await claim(store)) == ["holder"]

    async def test_a_requeued_job_waits_for_its_slot_like_any_other(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a", limits=(ONE,))), Failed(failure()))
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await store.requeue(["a"])
        assert await claim(store) == []
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store)) == ["a"]

    async def test_two_jobs_finished_in_one_call_release_both_slots(self, store: Store) -> None:
        limit = slot_limit(2, "wait")
        await submit(store, *specs("a", "b", "c", "d", limits=(limit,)))
        for each in await claim(store):
            await finish(store, each, Succeeded("1"))
        assert ids(await claim(store)) == ["c", "d"]


class SharedLimits(StoreSuite):
    """One set of slots per name and key, whatever `on_limit` says."""

    async def test_jobs_that_reject_and_jobs_that_wait_count_together(self, store: Store) -> None:
        rejecting, waiting = slot_limit(2, "reject"), slot_limit(2, "wait")
        await submit(store, *specs("r1", limits=(rejecting,)))
        await submit(store, *specs("w1", "w2", limits=(waiting,)))
        claimed = {each.record.id: each for each in await claim(store)}
        assert claimed.keys() == {"r1", "w1"}
        assert await limit_usage(store) == {"few/k": (2, 1)}
        await submit_rejected(store, *specs("r2", limits=(rejecting,)))
        await finish(store, claimed["r1"], Succeeded("1"))
        assert ids(await claim(store)) == ["w2"]
        await submit_rejected(store, *specs("r2", limits=(rejecting,)))

    async def test_each_job_is_checked_against_its_own_maximum(self, store: Store) -> None:
        await submit(store, *specs("r1", "r2", "r3", limits=(slot_limit(3, "reject"),)))
        await submit(store, *specs("w", limits=(ONE,)))
        claimed = await claim(store)
        assert ids(claimed) == ["r1", "r2", "r3"]
        await submit_rejected(store, *specs("r4", limits=(slot_limit(3, "reject"),)))
        await submit(store, *specs("r4", limits=(slot_limit(4, "reject"),)))
        await store.cancel(["r4"])
        for each in claimed[:2]:
            await finish(store, each, Succeeded("1"))
            assert await claim(store) == []
        await finish(store, claimed[2], Succeeded("1"))
        assert ids(await claim(store)) == ["w"]

    async def test_a_job_of_a_rejecting_limit_uses_a_slot_that_blocked_jobs_wait_for(self, store: Store) -> None:
        await submit(store, *specs("w", limits=(ONE,)))
        await submit(store, *specs("r", limits=(slot_limit(1, "reject"),)))
        claimed = await claim(store)
        assert ids(claimed) == ["r"]
        await finish(store, claimed[0], Succeeded("1"))
        assert ids(await claim(store)) == ["w"]

    async def test_cancelling_a_job_of_a_rejecting_limit_unblocks_one(self, store: Store) -> None:
        await submit(store, *specs("r", limits=(slot_limit(1, "reject"),), queue="x"), *specs("w", limits=(ONE,)))
        assert await claim(store) == []
        await store.cancel(["r"])
        assert ids(await claim(store)) == ["w"]

    async def test_an_expired_job_of_a_rejecting_limit_unblocks_one(self, store: Store, clock: ManualClock) -> None:
        late = JobSpec(id="r", task="t", queue="x", expires=5, limits=(slot_limit(1, "reject"),))
        await submit(store, late, *specs("w", limits=(ONE,)))
        assert await claim(store) == []
        await pass_time(store, clock, LEASE)
        assert ids(await claim(store)) == ["w"]

    async def test_a_job_that_already_has_the_slot_acquires_no_second_one(self, store: Store) -> None:
        limits = slot_limit(2, "reject"), slot_limit(2, "wait", "other")
        claimed = await start(store, *specs("a", limits=limits))
        assert await limit_usage(store) == {"few/k": (1, 0), "other/k": (1, 0)}
        await finish(store, claimed, Released())
        assert await limit_usage(store) == {"few/k": (1, 0)}
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        assert await limit_usage(store) == {}

    async def test_a_job_with_two_limits_of_one_id_has_one_slot_and_does_not_block_itself(self, store: Store) -> None:
        limits = slot_limit(3, "reject"), slot_limit(1, "wait")
        await submit(store, *specs("a", "b", limits=limits))
        assert await limit_usage(store) == {"few/k": (2, 0)}
        for job_id in "ab":
            await finish(store, await claim_job(store, job_id), Succeeded("1"))
        assert await limit_usage(store) == {}

    async def test_a_limit_may_change_between_concurrency_and_rate_while_jobs_wait(
        self, store: Store, clock: ManualClock
    ) -> None:
        spread = rate_limit(1, 5.0, "wait", name="few")
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", limits=(ONE,)), *specs("b", "c", limits=(spread,)), *specs("d", limits=(ONE,)))
        running = [holder, *await claim(store)]
        ended = []
        for _ in range(12):
            for claimed in running:
                assert await finish(store, claimed, Succeeded("1"))
                ended.append(claimed.record.id)
            await pass_time(store, clock, LEASE / 4)
            running = await claim(store)
        assert sorted(ended) == ["a", "b", "c", "d", "holder"]

    async def test_a_concurrency_limit_changed_to_a_rate_is_listed_with_its_remaining_slots(self, store: Store) -> None:
        await start(store, *specs("holder", limits=(slot_limit(2, "wait"),)))
        spread = rate_limit(1, 5.0, "wait", name="few")
        await submit(store, *specs("a", "b", limits=(spread,)))
        assert ids(await claim(store)) == ["a"]
        assert [(each.most, each.held, each.waiting) for each in await store.limits()] == [(2, 1, 1)]

    async def test_a_job_may_have_limits_that_reject_and_limits_that_wait(self, store: Store) -> None:
        limits = slot_limit(2, "reject", "mine"), slot_limit(1, "wait", "gpu")
        answers = await store.submit(specs("a", "b", "c", limits=limits))
        assert [isinstance(answer, Submission) for answer in answers] == [True, True, False]
        (claimed,) = await claim(store)
        assert await limit_usage(store) == {"mine/k": (2, 0), "gpu/k": (1, 1)}
        await store.cancel(["b"])
        assert await limit_usage(store) == {"mine/k": (1, 0), "gpu/k": (1, 0)}
        await finish(store, claimed, Succeeded("1"))
        assert await limit_usage(store) == {}
        assert await states(store, "a", "b") == [State.SUCCEEDED, State.CANCELLED]

    async def test_limits_are_listed_by_id_with_the_most_they_allow(self, store: Store) -> None:
        await submit(store, *specs("a", limits=(slot_limit(3, "reject", "z"), slot_limit(2, "wait", "a"))))
        await submit(store, *specs("b", limits=(slot_limit(5, "reject", "m", key="1/2"),)))
        await claim(store)
        assert [(each.id, each.most, each.held) for each in await store.limits()] == [
            ("a/k", 2, 1),
            ("m/1/2", 5, 1),
            ("z/k", 3, 1),
        ]
