"""Clock jumps: the store's clock may step without harm (rule 5)."""

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    finish,
    heartbeat,
    ids,
    pass_time,
    record,
    specs,
    start,
    submit,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, State
from sidelane.model.outcome import LeaseStatus, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class ClockJumps(StoreSuite):
    """A restart, a sleep of the machine, a step of the clock."""

    async def test_the_first_sweep_after_a_long_pause_expires_nothing(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        claimed = await start(store, *specs("a"))
        clock.advance(100 * LEASE)
        assert (await store.sweep(lease=LEASE)).lost == 0
        assert (await store.sweep(lease=LEASE)).lost == 0
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]
        assert await finish(store, claimed, Succeeded("1"))

    async def test_after_a_long_pause_nothing_expires_for_a_whole_lease(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start(store, *specs("a"))
        clock.advance(100 * LEASE)
        await store.sweep(lease=LEASE)
        assert (await pass_time(store, clock, 0.95 * LEASE)).lost == 0
        assert (await pass_time(store, clock, LEASE)).lost == 1

    async def test_the_first_sweep_of_a_store_expires_nothing(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        clock.advance(2 * LEASE)
        assert (await store.sweep(lease=LEASE)).lost == 0
        assert (await record(store, "a")).state is State.RUNNING

    async def test_sweeps_half_a_lease_apart_are_regular_enough(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        lost = 0
        for _ in range(8):
            clock.advance(0.49 * LEASE)
            lost += (await store.sweep(lease=LEASE)).lost
        assert lost == 1

    async def test_a_clock_step_back_extends_no_lease_beyond_its_duration(
        self, store: Store, clock: ManualClock
    ) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start(store, *specs("a"))
        clock.advance(-3600)
        assert (await pass_time(store, clock, 0.95 * LEASE)).lost == 0
        assert (await pass_time(store, clock, 3 * LEASE)).lost == 1

    async def test_a_clock_step_back_extends_no_delay(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await submit(store, JobSpec(id="a", task="t", delay=30))
        clock.advance(-3600)
        await pass_time(store, clock, LEASE)
        assert await claim(store) == []
        await pass_time(store, clock, 30)
        assert ids(await claim(store)) == ["a"]

    async def test_a_clock_step_back_hides_no_ready_job(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        clock.advance(-3600)
        await submit(store, *specs("b"))
        assert ids(await claim(store)) == ["a", "b"]

    async def test_a_clock_step_back_does_not_change_run_at(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await submit(store, JobSpec(id="a", task="t", run_at=clock() + 30))
        clock.advance(-100)
        await pass_time(store, clock, 100)
        assert await claim(store) == []
        await pass_time(store, clock, 31)
        assert ids(await claim(store)) == ["a"]

    async def test_a_clock_step_forward_expires_no_lease_that_is_renewed(
        self, store: Store, clock: ManualClock
    ) -> None:
        await pass_time(store, clock, 2 * LEASE)
        claimed = await start(store, *specs("a"))
        clock.advance(3600)
        for _ in range(9):
            assert (await pass_time(store, clock, LEASE / 3)).lost == 0
            assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]

    async def test_returned_times_are_the_stores(self, store: Store, clock: ManualClock) -> None:
        clock.set(1_000_000.25)
        claimed = await start(store, *specs("a"))
        clock.advance(2)
        await finish(store, claimed, Succeeded("1"))
        job = await record(store, "a")
        assert (job.submitted, job.started, job.ended) == pytest.approx((1_000_000.25, 1_000_000.25, 1_000_002.25))
