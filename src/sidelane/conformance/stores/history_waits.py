"""History of durations: how long jobs waited, and for what, and how long attempts ran."""

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    blocking_limits,
    claim,
    claim_job,
    failure,
    finish,
    ids,
    pass_time,
    rate_limit,
    slot_limit,
    specs,
    start,
    submit,
)
from sidelane.conformance.stores.counting import buckets, measured
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.history import Count, bucket_of
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Cancelled, Failed, Lost, Outcome, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store

ONE = slot_limit(1, "wait")


async def waits(store: Store) -> list[float]:
    """Return how long jobs have waited until their starts, in seconds: for a worker, for a limit, and in a paused queue."""
    return [each / 1000 for each in await measured(store, Count.WAIT_MS, Count.LIMIT_WAIT_MS, Count.PAUSE_WAIT_MS)]


class HistoryOfWaits(StoreSuite):
    """The time from when a job was able to start to its start."""

    async def test_a_job_waits_from_its_submit_to_its_start(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b"))
        clock.advance(1.5)
        await claim(store, limit=1)
        clock.advance(2.5)
        await claim(store, limit=1)
        assert await waits(store) == [5.5, 0, 0]
        assert await buckets(store, Count.WAIT) == {bucket_of(1.5): 1, bucket_of(4): 1}

    async def test_every_start_has_a_wait(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(3))))
        await claim(store)
        assert await waits(store) == [0, 0, 0]
        assert await buckets(store, Count.WAIT) == {0: 3}

    async def test_a_wait_beyond_every_bound_is_in_the_last_bucket(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        clock.advance(86_400)
        await claim(store)
        assert await waits(store) == [86_400, 0, 0]
        assert await buckets(store, Count.WAIT) == {bucket_of(86_400): 1}

    @pytest.mark.parametrize("swept", [True, False])
    async def test_a_delayed_job_waits_from_its_due_time(self, store: Store, clock: ManualClock, swept: bool) -> None:
        await submit(store, JobSpec(id="a", task="t", delay=60), JobSpec(id="b", task="t", run_at=clock() + 60))
        clock.advance(62)
        if swept:
            await store.sweep(lease=LEASE)
        clock.advance(1)
        assert len(await claim(store)) == 2
        assert await waits(store) == [6, 0, 0]

    @pytest.mark.parametrize(
        "outcome", [Retried(failure(), delay=10), Released(10), Retried(failure()), Released(), Lost(failure())]
    )
    async def test_the_next_attempt_waits_from_its_return_to_the_queue(
        self, store: Store, clock: ManualClock, outcome: Outcome
    ) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(100)
        await finish(store, claimed, outcome)
        clock.advance(13)
        assert ids(await claim(store)) == ["a"]
        assert await waits(store) == [13 - getattr(outcome, "delay", 0), 0, 0]

    async def test_a_requeued_job_waits_from_its_requeue(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, *specs("a")), Failed(failure()))
        clock.advance(100)
        await store.requeue(["a"])
        clock.advance(3)
        await claim_job(store, "a")
        assert await waits(store) == [3, 0, 0]

    async def test_time_blocked_by_a_limit_is_counted_separately(self, store: Store, clock: ManualClock) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", limits=(ONE,)))
        assert await claim(store) == []
        clock.advance(20)
        await finish(store, holder, Succeeded("1"))
        clock.advance(2)
        assert ids(await claim(store)) == ["a"]
        assert await waits(store) == [2, 20, 0]

    @pytest.mark.parametrize("expires", [True, False])
    async def test_a_job_that_ends_while_it_is_blocked_has_waited_for_its_limit(
        self, store: Store, clock: ManualClock, expires: bool
    ) -> None:
        await submit(store, *specs("holder", limits=(ONE,)))
        assert len(await claim(store, lease=60)) == 1
        await submit(store, JobSpec(id="a", task="t", limits=(ONE,), expires=20 if expires else None))
        assert await claim(store) == []
        clock.advance(20)
        if expires:
            await store.sweep(lease=LEASE)
        else:
            await store.cancel(["a"])
        assert await waits(store) == [0, 20, 0]

    async def test_a_job_that_is_blocked_twice_waits_for_its_limits_twice(
        self, store: Store, clock: ManualClock
    ) -> None:
        other = slot_limit(1, "wait", "other")
        first = await start(store, *specs("first", limits=(ONE,)))
        second = await start(store, *specs("second", limits=(other,)))
        await submit(store, *specs("a", limits=(ONE, other)))
        assert await claim(store) == []
        clock.advance(20)
        await finish(store, first, Succeeded("1"))
        clock.advance(1)
        assert await claim(store) == []
        assert await blocking_limits(store, "a") == ["other/k"]
        clock.advance(300)
        await finish(store, second, Succeeded("1"))
        clock.advance(2)
        assert ids(await claim(store)) == ["a"]
        assert await waits(store) == [2, 320, 0]

    async def test_a_blocked_job_that_is_claimed_by_id_waited_for_its_limit(
        self, store: Store, clock: ManualClock
    ) -> None:
        limit = rate_limit(1, 10.0, "wait")
        await submit(store, *specs("a", "b", limits=(limit,)))
        assert ids(await claim(store)) == ["a"]
        clock.advance(5)
        assert await claim(store, ids=("b",)) == []
        clock.advance(5)
        assert ids(await claim(store, ids=("b",))) == ["b"]
        assert await waits(store) == [0, 10, 0]

    async def test_time_in_a_paused_queue_is_counted_separately(self, store: Store, clock: ManualClock) -> None:
        await store.pause("default")
        await submit(store, *specs("a"))
        clock.advance(10)
        await submit(store, *specs("b"))
        await store.pause("default")
        clock.advance(20)
        await store.pause("default", False)
        clock.advance(2)
        await store.pause("default", False)
        clock.advance(1)
        assert len(await claim(store)) == 2
        assert await waits(store) == [6, 0, 50]

    async def test_a_pause_before_a_submit_does_not_count(self, store: Store, clock: ManualClock) -> None:
        await store.pause("default")
        clock.advance(10)
        await store.pause("default", False)
        await store.pause("other")
        clock.advance(10)
        await submit(store, *specs("a"))
        clock.advance(3)
        await claim(store)
        assert await waits(store) == [3, 0, 0]

    async def test_a_clock_that_steps_back_makes_no_wait_negative(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        clock.advance(-100)
        claimed = await claim_job(store, "a")
        clock.advance(-100)
        await finish(store, claimed, Succeeded("1"))
        assert await measured(store, Count.WAIT_MS, Count.RUN_MS) == [0, 0]
        assert await buckets(store, Count.WAIT) == await buckets(store, Count.RUN) == {0: 1}


class HistoryOfRuns(StoreSuite):
    """The time from the start of an attempt to its end."""

    @pytest.mark.parametrize(
        "outcome", [Succeeded("1"), Failed(failure()), Retried(failure()), Released(), Lost(failure())]
    )
    async def test_every_attempt_that_ends_has_run(self, store: Store, clock: ManualClock, outcome: Outcome) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(7)
        await finish(store, claimed, outcome)
        clock.advance(7)
        await finish(store, claimed, outcome)
        assert await measured(store, Count.RUN_MS) == [7000]
        assert await buckets(store, Count.RUN) == {bucket_of(7): 1}

    async def test_a_cancelled_attempt_has_run(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(7)
        await store.cancel(["a"])
        assert await measured(store, Count.RUN_MS) == [0]
        await finish(store, claimed, Cancelled())
        assert await measured(store, Count.RUN_MS) == [7000]

    async def test_a_job_that_never_started_has_not_run(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"), JobSpec(id="b", task="t", expires=5))
        clock.advance(7)
        await store.cancel(["a"])
        await store.sweep(lease=LEASE)
        assert await measured(store, Count.RUN_MS, Count.WAIT_MS) == [0, 0]
        assert await buckets(store, Count.RUN) == await buckets(store, Count.WAIT) == {}

    async def test_a_lost_attempt_has_run_until_its_sweep(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        (run,) = await measured(store, Count.RUN_MS)
        assert LEASE * 1000 <= run <= 3 * LEASE * 1000
