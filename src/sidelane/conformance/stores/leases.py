"""Leases: a write counts only while the job runs under exactly that lease (rules 1 and 2)."""

from dataclasses import replace

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    LEASE,
    append_tokens,
    claim,
    claim_job,
    failure,
    finish,
    heartbeat,
    pass_time,
    read_log,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, Lease, State
from sidelane.model.outcome import EventAppend, Failed, LeaseStatus, Outcome, Released, Retried, Succeeded
from sidelane.model.worker import Claimed
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


async def writes_nothing(store: Store, stale: Claimed) -> None:
    """Try every write with an invalid lease, and check that the job is unchanged."""
    job_id = stale.record.id
    before = await record(store, job_id), await read_log(store, job_id)
    outcomes: list[Outcome] = [Succeeded('"stale"'), Failed(failure()), Retried(failure()), Released()]
    assert not await append_tokens(store, stale, 1, "stale")
    for outcome in outcomes:
        assert not await finish(store, stale, outcome, *tokens("stale"))
    assert await heartbeat(store, "w", stale.lease) == [LeaseStatus.LOST]
    assert (await record(store, job_id), await read_log(store, job_id)) == before


class Fencing(StoreSuite):
    """A stale lease changes nothing."""

    async def test_a_lease_with_another_nonce_changes_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await writes_nothing(store, replace(claimed, lease=Lease("a", 1, "0000000000000000")))

    async def test_a_lease_of_another_attempt_changes_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await writes_nothing(store, replace(claimed, lease=Lease("a", 2, claimed.lease.nonce)))

    async def test_a_lease_of_an_unknown_job_is_lost(self, store: Store) -> None:
        lease = Lease("unknown", 1, "0000000000000000")
        assert await store.append([EventAppend(lease=lease, ordinal=1, entries=tokens("x"))]) == [False]
        assert await heartbeat(store, "w", lease) == [LeaseStatus.LOST]

    async def test_a_swept_lease_changes_nothing_while_the_job_is_queued(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        assert (await record(store, "a")).state is State.QUEUED
        await writes_nothing(store, claimed)

    async def test_a_swept_lease_changes_nothing_while_another_worker_runs_the_job(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"), worker="first")
        await pass_time(store, clock, 3 * LEASE)
        second = await claim_job(store, "a", worker="second")
        await writes_nothing(store, claimed)
        assert await finish(store, second, Succeeded("2"))
        assert (await record(store, "a")).result == "2"

    async def test_a_released_lease_changes_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await finish(store, claimed, Released(delay=60))
        assert not await append_tokens(store, claimed, 1, "stale")
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.LOST]
        await finish(store, claimed, Succeeded("1"))
        assert (await record(store, "a")).state is State.QUEUED

    async def test_a_lease_from_before_a_requeue_changes_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await finish(store, claimed, Succeeded("1"))
        await store.requeue(["a"])
        before = await record(store, "a"), await read_log(store, "a")
        assert not await append_tokens(store, claimed, 1, "stale")
        await finish(store, claimed, Failed(failure()), *tokens("stale"))
        assert (await record(store, "a"), await read_log(store, "a")) == before

    async def test_a_stale_finish_submits_no_follow_ups(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", follow_ups=(FOLLOW_UP,)))
        await pass_time(store, clock, 3 * LEASE)
        assert not await finish(store, claimed, Succeeded("1"))
        assert await store.get(["a.1.0"]) == [None]

    async def test_a_stale_item_does_not_affect_the_others_of_its_call(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c"))
        claimed = await claim(store)
        leases = [claimed[0].lease, replace(claimed[1].lease, nonce="0" * 16), claimed[2].lease]
        appends = [EventAppend(lease=lease, ordinal=1, entries=tokens("x")) for lease in leases]
        assert await store.append(appends) == [True, False, True]
        assert await heartbeat(store, "w", *leases) == [LeaseStatus.HELD, LeaseStatus.LOST, LeaseStatus.HELD]


class LeaseExpiry(StoreSuite):
    """A lease ends when it is swept, not when its time passes."""

    async def test_an_expired_lease_may_still_finish_until_it_is_swept(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(10 * LEASE)
        assert await append_tokens(store, claimed, 1, "x")
        assert await finish(store, claimed, Succeeded("1"))
        assert (await record(store, "a")).state is State.SUCCEEDED

    async def test_an_expired_lease_may_still_be_renewed_until_it_is_swept(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        await pass_time(store, clock, LEASE)
        clock.advance(LEASE)
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]
        await pass_time(store, clock, 0.9 * LEASE)
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]

    async def test_a_lease_is_never_swept_before_its_time(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start(store, *specs("a"))
        assert (await pass_time(store, clock, 0.99 * LEASE)).lost == 0
        assert (await record(store, "a")).state is State.RUNNING

    async def test_an_expired_lease_returns_its_job_to_the_queue(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start(store, *specs("a"))
        assert (await pass_time(store, clock, 1.5 * LEASE)).lost == 1
        job = await record(store, "a")
        assert (job.state, job.worker, job.worker_losses, job.failures) == (State.QUEUED, None, 1, 0)
        assert (await claim_job(store, "a", worker="other")).lease.attempt == 2

    async def test_a_renewed_lease_is_never_swept(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        for _ in range(12):
            assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]
            assert (await pass_time(store, clock, LEASE / 3)).lost == 0
        assert await finish(store, claimed, Succeeded("1"))

    async def test_a_lease_expires_by_the_claims_duration_not_the_sweeps(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a"))
        await claim(store, lease=6 * LEASE)
        assert (await pass_time(store, clock, 5 * LEASE)).lost == 0
        assert (await pass_time(store, clock, 2 * LEASE)).lost == 1

    async def test_a_repeated_sweep_expires_nothing_twice(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        assert (await store.sweep(lease=LEASE)).lost == 0
        assert (await record(store, "a")).worker_losses == 1

    async def test_expired_leases_beyond_one_sweep_are_all_swept(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(450))))
        for number in range(450):
            await claim(store, worker=f"w{number % 7}", limit=1)
        swept = await pass_time(store, clock, 3 * LEASE)
        while swept.more:
            swept = await store.sweep(lease=LEASE)
        assert len(await claim(store, limit=1000)) == 450
