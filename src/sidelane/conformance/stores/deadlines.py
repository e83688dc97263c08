"""Deadlines and abandoned jobs."""

from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    LEASE,
    claim,
    claim_job,
    end_event,
    failure,
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
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec, State
from sidelane.model.outcome import Cancelled, LeaseStatus, Released, Retried, Succeeded
from sidelane.model.worker import ClaimRequest, SweepResult
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class Deadlines(StoreSuite):
    """`expires` limits the time to the first start, `deadline` the time over all attempts."""

    async def test_an_expired_job_is_failed_instead_of_claimed(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", expires=30), JobSpec(id="b", task="t", deadline=30))
        await submit(store, *specs("c"))
        clock.advance(31)
        assert ids(await claim(store)) == ["c"]
        for job_id in "ab":
            job = await record(store, job_id)
            assert (job.state, job.attempt) == (State.FAILED, 0)
            assert job.problem is not None
            assert (await end_event(store, job_id))["problem"] == job.problem.document()

    async def test_a_claim_and_a_sweep_name_the_jobs_that_they_end(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *[JobSpec(id=job_id, task="t", expires=30) for job_id in "ab"])
        clock.advance(31)
        request = ClaimRequest(request=new_nonce(), worker="w", queues={"default": 5})
        assert sorted((await store.claim(request)).expired) == ["a", "b"]
        assert (await store.claim(replace(request, request=new_nonce()))).expired == ()
        await submit(store, JobSpec(id="c", task="t", expires=30))
        clock.advance(31)
        assert (await store.sweep(lease=LEASE)).ended_jobs == ("c",)
        assert (await store.sweep(lease=LEASE)).ended_jobs == ()

    async def test_a_claim_tells_how_long_each_job_was_able_to_start(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", delay=10))
        await submit(store, *specs("b"))
        clock.advance(12)
        await store.pause("default")
        clock.advance(5)
        await store.pause("default", paused=False)
        clock.advance(3)
        claimed = {each.record.id: each for each in await claim(store)}
        assert {name: each.waited for name, each in claimed.items()} == pytest.approx({"a": 3.0, "b": 3.0})
        assert all(each.paused > 0 for each in claimed.values())

    async def test_an_expired_job_cannot_be_claimed_by_id(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", expires=30))
        clock.advance(31)
        assert await claim(store, ids=("a",)) == []
        assert (await record(store, "a")).state is State.FAILED

    async def test_a_sweep_fails_expired_jobs(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", expires=30, follow_ups=(FOLLOW_UP,)))
        await submit(store, JobSpec(id="b", task="t", deadline=30, delay=3600))
        assert (await pass_time(store, clock, 29)).ended == 0
        assert (await pass_time(store, clock, 12)).ended == 2
        assert (await record(store, "a")).state is State.FAILED
        assert (await record(store, "b")).state is State.FAILED
        assert (await record(store, "a.1.0")).state is State.QUEUED

    async def test_a_job_that_started_in_time_may_be_retried_later(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", expires=30)), Retried(failure(), 60))
        await pass_time(store, clock, 61)
        assert ids(await claim(store)) == ["a"]

    async def test_a_released_job_counts_as_started(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", expires=30)), Released(60))
        await pass_time(store, clock, 61)
        assert ids(await claim(store)) == ["a"]

    async def test_remaining_is_the_time_until_the_deadline(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", deadline=100), *specs("b"))
        clock.advance(30)
        first = await claim_job(store, "a")
        assert first.remaining == pytest.approx(70)
        await finish(store, first, Retried(failure()))
        clock.advance(30)
        assert (await claim_job(store, "a")).remaining == pytest.approx(40)
        assert (await claim_job(store, "b")).remaining is None

    async def test_a_sweep_does_not_end_a_running_job_past_its_deadline(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", deadline=LEASE))
        for _ in range(9):
            assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]
            await pass_time(store, clock, LEASE / 3)
        assert await finish(store, claimed, Succeeded("1"))
        assert (await record(store, "a")).state is State.SUCCEEDED

    async def test_a_retry_due_after_the_deadline_is_failed_by_a_sweep(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", deadline=30)), Retried(failure(), 60))
        await pass_time(store, clock, 40)
        assert (await record(store, "a")).state is State.FAILED

    async def test_expired_jobs_beyond_one_sweep_are_all_failed(self, store: Store, clock: ManualClock) -> None:
        many = [f"j{n}" for n in range(250)]
        await submit(store, *(JobSpec(id=job_id, task="t", expires=5) for job_id in many))
        await pass_time(store, clock, LEASE)
        swept = SweepResult(more=True)
        while swept.more:
            swept = await store.sweep(lease=LEASE)
        found = await store.get(many)
        assert {job.state for job in found if isinstance(job, JobRecord)} == {State.FAILED}


class AbandonedJobs(StoreSuite):
    """`abandon_after`: a job is cancelled once its last listener has been gone that long."""

    async def test_a_job_that_never_had_a_listener_is_not_abandoned(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", abandon_after=20))
        assert (await pass_time(store, clock, 100)).ended == 0
        assert (await record(store, "a")).state is State.QUEUED

    async def test_a_queued_job_is_cancelled_once_its_last_listener_has_been_gone_that_long(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, JobSpec(id="a", task="t", abandon_after=20))
        await store.touch_listeners(["a"])
        assert (await pass_time(store, clock, 19)).ended == 0
        assert (await pass_time(store, clock, 5)).ended == 1
        assert (await record(store, "a")).state is State.CANCELLED
        assert (await end_event(store, "a"))["state"] == "cancelled"

    async def test_a_listener_restarts_the_time(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", abandon_after=20))
        for _ in range(5):
            await store.touch_listeners(["a"])
            await pass_time(store, clock, 15)
        assert (await record(store, "a")).state is State.QUEUED
        await pass_time(store, clock, 10)
        assert (await record(store, "a")).state is State.CANCELLED

    async def test_a_running_job_that_was_abandoned_is_asked_to_stop(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", abandon_after=20))
        await store.touch_listeners(["a"])
        statuses = []
        for _ in range(9):
            statuses += await heartbeat(store, "w", claimed.lease)
            await pass_time(store, clock, LEASE / 3)
        job = await record(store, "a")
        assert (job.state, job.cancel_requested) == (State.RUNNING, True)
        assert (statuses[0], statuses[-1]) == (LeaseStatus.HELD, LeaseStatus.CANCEL)
        assert await finish(store, claimed, Cancelled())

    async def test_listening_to_a_job_without_the_option_or_to_no_job_changes_nothing(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a"))
        await store.touch_listeners(["a", "unknown"])
        await store.touch_listeners([])
        await pass_time(store, clock, 100)
        assert (await record(store, "a")).state is State.QUEUED

    async def test_a_finished_job_is_not_abandoned(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", abandon_after=20))
        await store.touch_listeners(["a"])
        await finish(store, claimed, Succeeded("1"))
        await pass_time(store, clock, 60)
        assert (await record(store, "a")).state is State.SUCCEEDED
