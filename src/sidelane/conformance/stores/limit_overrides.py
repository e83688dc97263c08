"""Overrides of limits: they bind new, queued and blocked jobs, stop no running job, and end by themselves (rule 14)."""

from typing import Final

import pytest

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    LEASE,
    blocking_limits,
    claim,
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
from sidelane.conformance.stores.connections import ManyConnections
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import Rejection, State
from sidelane.model.limit_override import MAX_OVERRIDES, LimitOverride
from sidelane.model.outcome import Failed, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, queue_topic

ONE: Final = slot_limit(1, "wait")
TWO: Final = slot_limit(2, "wait")


def slots(most: int, *, key: str | None = None, until: float | None = None, name: str = "few") -> LimitOverride:
    return LimitOverride(name=name, key=key, max=most, since=0.0, until=until)


def rate(most: int, window: float, burst: int = 1, *, until: float | None = None) -> LimitOverride:
    return LimitOverride(name="often", max=most, window=window, burst=burst, since=0.0, until=until)


class ChangedSlots(StoreSuite):
    """Other numbers of slots."""

    async def test_a_raised_limit_releases_queued_jobs_at_once(self, store: Store) -> None:
        await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", "b", "c", limits=(ONE,)))
        assert await claim(store) == []
        assert await store.override_limit(slots(3))
        assert ids(await claim(store)) == ["a", "b"]
        assert [(each.max, each.used, each.waiting) for each in await store.limits()] == [(3, 3, 1)]

    async def test_a_lowered_limit_stops_no_running_job_and_binds_queued_ones(self, store: Store) -> None:
        first, second = [await start(store, *specs(job_id, limits=(TWO,))) for job_id in ("first", "second")]
        await submit(store, *specs("a", "b", limits=(TWO,)))
        await store.override_limit(slots(1))
        assert await states(store, "first", "second") == [State.RUNNING] * 2
        assert await claim(store) == []
        await finish(store, first, Succeeded("1"))
        assert await claim(store) == []
        await finish(store, second, Succeeded("1"))
        assert ids(await claim(store)) == ["a"]
        assert await limit_usage(store) == {"few/k": (1, 1)}

    async def test_a_limit_that_rejects_refuses_by_the_number_in_force(self, store: Store) -> None:
        limit = slot_limit(2, "reject")
        await store.override_limit(slots(1))
        await submit(store, *specs("a", limits=(limit,)))
        rejected = await submit_rejected(store, *specs("b", limits=(limit,)))
        assert [hit.limit.max for hit in rejected.reached] == [1]
        assert "1 job is unfinished" in rejected.problem.detail
        await store.override_limit(slots(3))
        await submit(store, *specs("b", "c", limits=(limit,)))
        assert (await submit_rejected(store, *specs("d", limits=(limit,)))).reached[0].limit.max == 3

    async def test_a_requeue_is_refused_by_the_number_in_force(self, store: Store) -> None:
        limit = slot_limit(2, "reject")
        await finish(store, await start(store, *specs("a", limits=(limit,))), Failed(failure()))
        await submit(store, *specs("b", limits=(limit,)))
        await store.override_limit(slots(1))
        (refused,) = await store.requeue(["a"])
        assert isinstance(refused, Rejection)
        assert refused.reached[0].limit.max == 1

    async def test_a_limit_that_replaces_keeps_as_many_jobs_as_are_in_force(self, store: Store) -> None:
        limit = slot_limit(1, "replace", "chat")
        await store.override_limit(slots(2, name="chat"))
        await submit(store, *specs("a", "b", limits=(limit,)))
        assert ids(await claim(store)) == ["a", "b"]
        await submit(store, *specs("c", limits=(limit,)))
        assert [each.cancel_requested for each in await store.get(["a", "b"]) if each] == [True, False]  # type: ignore[union-attr]

    async def test_the_number_of_a_key_comes_before_that_of_all_keys(self, store: Store) -> None:
        own, others = slot_limit(1, "wait", key="me"), slot_limit(1, "wait", key="you")
        await store.override_limit(slots(2, key="me"))
        await store.override_limit(slots(3))
        await submit(store, *specs("a", "b", "c", "d", limits=(own,)), *specs("e", "f", "g", "h", limits=(others,)))
        assert ids(await claim(store)) == ["a", "b", "e", "f", "g"]
        assert {each.id: each.max for each in await store.limits()} == {"few/me": 2, "few/you": 3}
        await store.restore_limit("few/me")
        assert ids(await claim(store)) == ["c"]

    async def test_a_restored_limit_has_the_declared_number(self, store: Store) -> None:
        await store.override_limit(slots(1))
        await submit(store, *specs("a", "b", limits=(TWO,)))
        assert ids(await claim(store)) == ["a"]
        assert await store.restore_limit("few")
        assert ids(await claim(store)) == ["b"]
        assert await store.limit_overrides() == []

    async def test_an_override_ends_by_itself(self, store: Store, clock: ManualClock) -> None:
        await store.override_limit(slots(1, until=clock() + 60))
        await submit(store, *specs("a", "b", "c", limits=(TWO,)))
        assert ids(await claim(store)) == ["a"]
        clock.advance(59)
        assert await claim(store) == []
        await pass_time(store, clock, 2)
        assert await store.limit_overrides() == []
        assert ids(await claim(store)) == ["b"]
        assert await blocking_limits(store, "c") == ["few/k"]

    async def test_an_override_that_has_ended_admits_nothing_before_a_sweep(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.override_limit(slots(3, until=clock() + 60))
        await start(store, *specs("a", limits=(ONE,)))
        clock.advance(60)
        await submit(store, *specs("b", limits=(ONE,)))
        assert await claim(store) == []

    async def test_slots_do_not_get_the_numbers_of_a_rate(self, store: Store) -> None:
        await store.override_limit(LimitOverride(name="few", key="k", max=9, window=60.0, burst=9, since=0.0))
        await submit(store, *specs("a", "b", "c", limits=(ONE,)))
        assert ids(await claim(store)) == ["a"]
        await store.override_limit(slots(2))
        assert ids(await claim(store)) == ["b"]

    async def test_a_repeated_call_changes_nothing(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", "d", limits=(ONE,)))
        assert ids(await claim(store)) == ["a"]
        for _ in range(3):
            assert await store.override_limit(slots(3))
        assert await store.limit_overrides() == [slots(3)]
        assert ids(await claim(store)) == ["b", "c"]
        assert await store.restore_limit("few")
        assert not await store.restore_limit("few")
        assert await claim(store) == []

    async def test_overrides_are_listed_by_id_with_all_they_say(self, store: Store, clock: ManualClock) -> None:
        full = LimitOverride(
            name="few", key="k/1 é", max=4, since=12.5, until=clock() + 9, by="ann", reason="they asked\n한국어"
        )
        others = [rate(2, 0.5, 7), slots(5), slots(6, key="")]
        for each in (full, *others):
            await store.override_limit(each)
        await store.override_limit(slots(6, name="over", until=clock()))
        assert await store.limit_overrides() == sorted([full, *others], key=lambda each: each.id)

    async def test_a_store_keeps_a_bounded_number_of_overrides(self, store: Store) -> None:
        for number in range(MAX_OVERRIDES):
            assert await store.override_limit(slots(5, key=str(number)))
        assert not await store.override_limit(slots(5))
        assert await store.override_limit(slots(6, key="0"))
        assert len(await store.limit_overrides()) == MAX_OVERRIDES

    @pytest.mark.parametrize("raised", [2, 1000])
    async def test_sweeps_release_the_jobs_of_many_keys(self, store: Store, raised: int) -> None:
        keys = [str(number) for number in range(450)]
        wanted = [
            spec for key in keys for spec in specs(f"{key}a", f"{key}b", limits=(slot_limit(1, "wait", key=key),))
        ]
        await submit(store, *wanted, *specs("x", "y", limits=(slot_limit(1, "wait", "fewer"),)))
        started = [claimed for _ in range(20) for claimed in await claim(store)]
        assert len(started) == len(keys) + 1
        await store.override_limit(slots(raised))
        while (await store.sweep(lease=LEASE)).more:
            pass
        started = [claimed for _ in range(20) for claimed in await claim(store)]
        assert sorted(ids(started)) == sorted(f"{key}b" for key in keys)

    async def test_sweeps_release_many_jobs_of_one_key_even_if_those_before_run(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{number}" for number in range(500)), limits=(ONE,)))
        for _ in range(20):
            await claim(store)
        await store.override_limit(slots(450, key="k"))
        started = 1
        for _ in range(12):
            started += len(await claim(store)) + len(await claim(store)) + len(await claim(store))
            await store.sweep(lease=LEASE)
        assert started == 450


class ChangedRates(StoreSuite):
    """Other numbers of rates."""

    async def test_a_larger_burst_releases_queued_jobs_at_once(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", "d", limits=(rate_limit(6, 60.0, "wait"),)))
        assert ids(await claim(store)) == ["a"]
        await store.override_limit(rate(6, 60.0, 3))
        assert ids(await claim(store)) == ["b", "c"]
        (counted,) = await store.limits()
        assert (counted.max, counted.used, counted.waiting) == (3, 3, 1)
        assert counted.available_in == pytest.approx(10.0, abs=1e-3)

    async def test_a_faster_rate_releases_the_next_job_after_its_own_interval(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a", "b", "c", limits=(rate_limit(1, 3600.0, "wait"),)))
        assert ids(await claim(store)) == ["a"]
        await store.override_limit(rate(60, 60.0))
        assert await claim(store) == []
        started = []
        for _ in range(2):
            clock.advance(1.01)
            started += ids(await claim(store))
        assert started == ["b", "c"]

    async def test_jobs_of_a_lowered_rate_start_at_its_pace(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", "c", limits=(rate_limit(1, 1.0, "wait"),)))
        assert ids(await claim(store)) == ["a"]
        await store.override_limit(rate(1, 10.0))
        started = []
        for second in range(22):
            clock.advance(1.0)
            started += [(job_id, second) for job_id in ids(await claim(store))]
        assert [job_id for job_id, _ in started] == ["b", "c"]
        assert started[1][1] - started[0][1] == pytest.approx(10, abs=1)

    async def test_a_rate_that_rejects_refuses_by_the_number_in_force(self, store: Store, clock: ManualClock) -> None:
        limit = rate_limit(10, 60.0, "reject", burst=10)
        await store.override_limit(rate(1, 60.0, until=clock() + 600))
        await submit(store, *specs("a", limits=(limit,)))
        (hit,) = (await submit_rejected(store, *specs("b", limits=(limit,)))).reached
        assert (hit.limit.max, hit.limit.window) == (1, 60.0)
        assert hit.after == pytest.approx(60.0, abs=1e-3)
        clock.advance(601)
        await submit(store, *specs(*"cdefghijkl", limits=(limit,)))
        assert (await submit_rejected(store, *specs("m", limits=(limit,)))).reached[0].limit.max == 10

    async def test_the_burst_of_a_slower_rate_is_kept_by_sweeps(self, store: Store, clock: ManualClock) -> None:
        limit = rate_limit(1, 1.0, "reject")
        await store.override_limit(rate(1, 1000.0))
        await submit(store, *specs("a", limits=(limit,)))
        await store.sweep(lease=LEASE)
        clock.advance(3 * LEASE)  # the next sweep follows a long pause
        await store.sweep(lease=LEASE)
        assert (await submit_rejected(store, *specs("b", limits=(limit,)))).reached[0].limit.window == 1000.0

    async def test_a_clock_step_back_blocks_no_longer_than_the_rate_in_force(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.override_limit(rate(60, 60.0))
        await submit(store, *specs("a", "b", limits=(rate_limit(1, 3600.0, "wait"),)))
        assert ids(await claim(store)) == ["a"]
        assert await claim(store) == []
        clock.advance(-1000)
        await store.sweep(lease=LEASE)
        clock.advance(2.01)
        assert ids(await claim(store)) == ["b"]

    async def test_a_rate_does_not_get_a_number_of_slots(self, store: Store) -> None:
        await store.override_limit(slots(9, name="often"))
        await submit(store, *specs("a", "b", limits=(rate_limit(1, 3600.0, "wait"),)))
        assert ids(await claim(store)) == ["a"]


class ChangedLimitConnections(ManyConnections):
    """Overrides that several connections see."""

    async def test_an_override_binds_other_connections_and_outlives_them(self, store: Store, other: Store) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        await other.override_limit(slots(1))
        await other.close()
        assert ids(await claim(store)) == ["a"]
        assert await store.limit_overrides() == [slots(1)]

    async def test_a_worker_that_waits_is_woken_by_a_raised_limit(self, store: Store, other: Store) -> None:
        await submit(store, *specs("a", "b", limits=(ONE,)))
        async with store.watch(queue_topic("default")) as wakeups:
            assert ids(await claim(store)) == ["a"]
            assert await claim(store) == []
            while await wakeups.wait(0.2):
                pass
            await other.override_limit(slots(2))
            assert await wakeups.wait(HINT_TIMEOUT)
        assert ids(await claim(store)) == ["b"]
