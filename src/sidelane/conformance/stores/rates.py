"""Rate limits: a burst, then one job per interval (GCRA; rule 14)."""

import random

import pytest

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
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
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, Rejection, Submission
from sidelane.model.outcome import Failed, Released, Retried, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, queue_topic

TWO = rate_limit(2, 20.0, "reject", burst=2)
"""One job every 10 s."""


class SubmitRates(StoreSuite):
    """Rates that count submits."""

    async def test_a_burst_is_admitted_at_once_and_then_one_per_interval(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        for number in range(3):
            refused = await submit_rejected(store, *specs("c", limits=(TWO,)))
            assert refused.retry_after == pytest.approx(10)
            clock.advance(9.9)
            await submit_rejected(store, *specs("c", limits=(TWO,)))
            clock.advance(0.2)
            await submit(store, *specs(f"c{number}", limits=(TWO,)))
            clock.advance(-0.1)

    async def test_a_rejection_names_the_rate_and_when_to_retry(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        clock.advance(4)
        refused = await submit_rejected(store, *specs("c", limits=(TWO,)))
        assert (refused.problem.status, refused.problem.extra["violated-policies"]) == (429, ["often"])
        (reached,) = refused.reached
        assert reached.limit == TWO
        assert reached.after == pytest.approx(6)
        assert refused.retry_after == pytest.approx(6)

    async def test_a_burst_may_be_larger_or_smaller_than_the_number(self, store: Store, clock: ManualClock) -> None:
        even = rate_limit(10, 20.0, "reject", burst=1, name="even")
        answers = await store.submit(specs("a", "b", limits=(even,)))
        assert [isinstance(answer, Submission) for answer in answers] == [True, False]
        clock.advance(2.1)
        await submit(store, *specs("b", limits=(even,)))
        large = rate_limit(1, 10.0, "reject", burst=3, name="large")
        answers = await store.submit(specs("c", "d", "e", "f", limits=(large,)))
        assert [isinstance(answer, Submission) for answer in answers] == [True, True, True, False]

    async def test_unused_time_accumulates_up_to_the_burst(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", limits=(TWO,)))
        clock.advance(1000)
        answers = await store.submit(specs("b", "c", "d", limits=(TWO,)))
        assert [isinstance(answer, Submission) for answer in answers] == [True, True, False]

    @pytest.mark.parametrize(("most", "window", "burst"), [(1, 1.0, 1), (10, 60.0, 10), (100, 900.0, 7), (3, 10.0, 2)])
    async def test_a_rate_admits_exactly_what_gcra_says(
        self, store: Store, clock: ManualClock, most: int, window: float, burst: int
    ) -> None:
        limit, every = rate_limit(most, window, "reject", burst), window / most
        dice, full = random.Random(7), clock()  # `full`: when all that was used will be free again
        for number in range(120):
            clock.advance(dice.choice([0, 0.013, 0.37, 0.9, 1.9]) * every)
            now = clock()
            full = min(max(full, now), now + burst * every)
            is_allowed = full - now <= (burst - 1) * every
            (answer,) = await store.submit(specs(f"j{number}", limits=(limit,)))
            assert isinstance(answer, Submission) == is_allowed, number
            if isinstance(answer, Rejection):
                assert answer.retry_after == pytest.approx(full - now - (burst - 1) * every, abs=1e-5)
            full += every * is_allowed

    async def test_a_clock_step_back_rejects_for_at_most_the_burst(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, LEASE)
        await submit(store, *specs("a", "b", limits=(TWO,)))
        clock.advance(-3600)
        await store.sweep(lease=LEASE)
        assert (await submit_rejected(store, *specs("c", limits=(TWO,)))).retry_after == pytest.approx(10)
        clock.advance(10.1)
        await submit(store, *specs("c", limits=(TWO,)))

    async def test_a_finished_job_returns_nothing_to_its_rate(self, store: Store) -> None:
        for job_id in "ab":
            await finish(store, await start(store, *specs(job_id, limits=(TWO,))), Succeeded("1"))
        await submit_rejected(store, *specs("c", limits=(TWO,)))

    async def test_a_rate_is_debited_only_if_nothing_else_rejects(self, store: Store) -> None:
        full = slot_limit(1, "reject", "full")
        used_up = rate_limit(1, 3600.0, "reject", name="used-up")
        await submit(store, *specs("a", limits=(full, used_up)))
        for others in (full,), (used_up,):
            for limits in (TWO, *others), (*others, TWO):
                await submit_rejected(store, *specs("b", limits=limits))
        await submit_rejected(store, JobSpec(id="b", task="t", max_queued=1, limits=(TWO,)))
        await submit(store, *specs("b", "c", limits=(TWO,)))

    async def test_a_slot_is_acquired_only_if_no_rate_rejects(self, store: Store) -> None:
        used_up, is_allowed = rate_limit(1, 3600.0, "reject"), slot_limit(1, "reject")
        await submit(store, *specs("a", limits=(used_up,)))
        await submit_rejected(store, *specs("b", limits=(is_allowed, used_up)))
        await submit(store, *specs("c", limits=(is_allowed,)))

    async def test_all_rejecting_limits_are_named_and_the_longest_wait_counts(self, store: Store) -> None:
        slow, slower = rate_limit(1, 60.0, "reject", name="slow"), rate_limit(1, 90.0, "reject", name="slower")
        full = slot_limit(1, "reject", "full")
        await submit(store, *specs("a", limits=(slow, slower, full)))
        refused = await submit_rejected(store, *specs("b", limits=(slow, full, slower, TWO)))
        assert refused.problem.extra["violated-policies"] == ["slow", "full", "slower"]
        assert refused.retry_after == pytest.approx(90)

    async def test_a_repeated_submit_debits_nothing(self, store: Store) -> None:
        spec = JobSpec(id="a", task="t", unique="only", limits=(TWO,))
        await submit(store, spec)
        for again in spec, spec, JobSpec(id="b", task="t", unique="only", limits=(TWO,)):
            (answer,) = await store.submit([again])
            assert isinstance(answer, Submission)
        await submit(store, *specs("c", limits=(TWO,)))

    async def test_a_requeue_debits_nothing_and_is_not_rejected(self, store: Store) -> None:
        limit = rate_limit(1, 3600.0, "reject")
        await finish(store, await start(store, *specs("a", limits=(limit,))), Failed(failure()))
        for _ in range(3):
            (back,) = await store.requeue(["a"])
            assert not isinstance(back, Rejection)
            await store.cancel(["a"])

    async def test_a_rate_is_listed_while_it_is_partly_used(self, store: Store, clock: ManualClock) -> None:
        assert await store.limits() == []
        await submit(store, *specs("a", "b", limits=(TWO,)))
        (counted,) = await store.limits()
        assert (counted.id, counted.max, counted.used, counted.waiting) == ("often/k", 2, 2, 0)
        assert counted.available_in == pytest.approx(10)
        clock.advance(10.1)
        (counted,) = await store.limits()
        assert counted.used == 1
        await pass_time(store, clock, 11)
        assert await store.limits() == []

    async def test_the_maximum_of_a_rate_is_its_burst(self, store: Store) -> None:
        await submit(store, *specs("a", "b", limits=(rate_limit(10, 10.0, "reject", burst=3),)))
        (counted,) = await store.limits()
        assert (counted.max, counted.used) == (3, 2)


EVERY_TEN = rate_limit(6, 60.0, "wait")


class StartRates(StoreSuite):
    """Rates that count starts."""

    async def test_starts_are_spread_over_the_time(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", "c", limits=(EVERY_TEN,)))
        (claimed,) = await claim(store)
        assert claimed.record.id == "a"
        await finish(store, claimed, Succeeded("1"))
        assert await blocking_limits(store, "b", "c") == ["often/k", "often/k"]
        assert (await limit_usage(store))["often/k"][1] == 2
        for job_id in "bc":
            clock.advance(9.9)
            await store.sweep(lease=LEASE)
            assert await claim(store) == []
            clock.advance(0.2)
            await store.sweep(lease=LEASE)
            assert ids(await claim(store)) == [job_id]

    async def test_a_claim_returns_when_the_next_job_may_start(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", limits=(EVERY_TEN,)))
        await claim(store)
        claims = await store.claim(ClaimRequest(request="r", worker="w", queues={"default": 1}, lease=LEASE))
        assert claims.jobs == ()
        assert claims.next_due == pytest.approx(10)
        clock.advance(10.1)
        assert ids(await claim(store)) == ["b"]

    async def test_a_sweep_unblocks_due_jobs_and_notifies_their_queue(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", limits=(EVERY_TEN,)))
        await claim(store)
        await store.sweep(lease=LEASE)
        assert await blocking_limits(store, "b") == ["often/k"]
        clock.advance(10.1)
        async with store.watch(queue_topic("default")) as wakeups:
            await store.sweep(lease=LEASE)
            assert await wakeups.wait(HINT_TIMEOUT)
        assert await blocking_limits(store, "b") == [None]

    async def test_as_many_as_the_burst_start_at_once(self, store: Store, clock: ManualClock) -> None:
        limit = rate_limit(6, 60.0, "wait", burst=3)
        await submit(store, *specs(*(f"j{n}" for n in range(9)), limits=(limit,)))
        assert ids(await claim(store)) == ["j0", "j1", "j2"]
        clock.advance(20.1)
        await store.sweep(lease=LEASE)
        assert ids(await claim(store)) == ["j3", "j4"]
        clock.advance(1000)
        await store.sweep(lease=LEASE)
        assert ids(await claim(store)) == ["j5", "j6", "j7"]

    async def test_jobs_blocked_on_a_rate_are_unblocked_by_priority_then_age(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a", "b", "c", limits=(EVERY_TEN,)))
        await submit(store, *specs("low", limits=(EVERY_TEN,), priority=-1))
        assert ids(await claim(store)) == ["a"]
        await submit(store, *specs("high", limits=(EVERY_TEN,), priority=1))
        started = ids(await claim(store))
        for _ in range(4):
            clock.advance(10.1)
            await store.sweep(lease=LEASE)
            started += ids(await claim(store))
        assert started == ["high", "b", "c", "low"]

    async def test_starts_after_a_retry_or_release_debit_the_rate(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, *specs("a", limits=(EVERY_TEN,))), Retried(failure()))
        for outcome in Released(), Succeeded("1"):
            assert await claim(store) == []
            clock.advance(10.1)
            await store.sweep(lease=LEASE)
            await finish(store, await claim_job(store, "a"), outcome)

    async def test_a_rate_is_debited_only_when_the_job_starts(self, store: Store, clock: ManualClock) -> None:
        one = slot_limit(1, "wait")
        holder = await start(store, *specs("holder", limits=(one,)))
        for number, limits in enumerate([(EVERY_TEN, one), (one, EVERY_TEN)]):
            await submit(store, *specs(f"j{number}", limits=limits))
        assert await claim(store) == []
        assert await limit_usage(store) == {"few/k": (1, 2)}
        await submit(store, *specs("free", limits=(EVERY_TEN,)))
        assert ids(await claim(store)) == ["free"]
        await finish(store, holder, Succeeded("1"))
        assert await claim(store) == []  # it takes no slot while it waits for the rate
        assert [each.used for each in await store.limits() if each.id == "few/k"] in ([0], [])
        clock.advance(10.1)
        await store.sweep(lease=LEASE)
        assert len(await claim(store)) == 1

    async def test_jobs_blocked_on_a_rate_can_be_cancelled_and_delay_no_others(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs(*"abcd", limits=(EVERY_TEN,)), *specs("free"))
        assert ids(await claim(store)) == ["a", "free"]
        await store.cancel(["b", "c"])
        clock.advance(10.1)
        await store.sweep(lease=LEASE)
        assert ids(await claim(store)) == ["d"]

    async def test_an_unblocked_job_in_a_paused_queue_lets_others_start(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("holder", limits=(EVERY_TEN,)))
        await submit(store, *specs("a", limits=(EVERY_TEN,), queue="x"), *specs("b", limits=(EVERY_TEN,), queue="y"))
        assert await claim(store, queues=dict.fromkeys("xy", 9)) == []
        await store.pause("x")
        taken = []
        for _ in range(5):
            clock.advance(6)
            await store.sweep(lease=LEASE)
            taken += await claim(store, queues={"y": 9})
        assert ids(taken) == ["b"]

    async def test_a_clock_step_back_blocks_no_longer_than_the_rate(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, LEASE)
        await submit(store, *specs("a", "b", limits=(EVERY_TEN,)))
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        assert await claim(store) == []
        clock.advance(-3600)
        await store.sweep(lease=LEASE)
        taken = []
        for _ in range(7):
            taken += ids(await claim(store))
            await pass_time(store, clock, LEASE / 4)
        assert taken == ["b"]
