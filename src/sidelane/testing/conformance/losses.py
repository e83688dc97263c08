"""Losses: leases swept away have a budget of their own, and a killer dies alone (rules 7)."""

import pytest

from sidelane.model.job import JobSpec, State
from sidelane.model.outcome import Cancelled, Released, Report, Retried, Succeeded, Verdict
from sidelane.stores.contract import Store
from sidelane.testing.clock import HandClock
from sidelane.testing.conformance.place import Subject
from sidelane.testing.conformance.steps import (
    LEASE,
    beat,
    end_of,
    failure,
    finish,
    ids,
    pass_time,
    record,
    specs,
    start,
    submit,
    take,
    take_job,
)


async def lose(store: Store, clock: HandClock, *job_ids: str, worker: str = "dead") -> None:
    """Let one worker claim these jobs and die."""
    for job_id in job_ids:
        await take_job(store, job_id, worker=worker)
    await pass_time(store, clock, 3 * LEASE)


async def losses(store: Store, *job_ids: str) -> list[int]:
    return [(await record(store, job_id)).losses for job_id in job_ids]


class Losses(Subject):
    """What a lost lease costs."""

    async def test_a_job_that_must_not_run_twice_fails_at_its_first_loss(self, store: Store, clock: HandClock) -> None:
        await start(store, JobSpec(id="a", task="t", losses=0))
        await pass_time(store, clock, 3 * LEASE)
        job = await record(store, "a")
        assert (job.state, job.losses) == (State.FAILED, 1)
        assert job.problem is not None

    async def test_out_of_losses_a_job_fails_with_a_reason(self, store: Store, clock: HandClock) -> None:
        await submit(store, *specs("a"))
        for number in range(1, 4):
            await lose(store, clock, "a", worker=f"w{number}")
            job = await record(store, "a")
            assert (job.state, job.losses, len(job.history)) == (State.QUEUED, number, number)
        await lose(store, clock, "a", worker="w4")
        job = await record(store, "a")
        assert (job.state, job.losses, job.failures, job.attempt) == (State.FAILED, 4, 0, 4)
        assert [each.attempt for each in job.history] == [1, 2, 3, 4]
        assert job.problem is not None
        assert job.problem.detail
        assert (await end_of(store, "a"))["problem"] == job.problem.document()

    async def test_failures_cost_no_loss_and_losses_no_failure(self, store: Store, clock: HandClock) -> None:
        await finish(store, await start(store, *specs("a")), Retried(failure()))
        await lose(store, clock, "a")
        job = await record(store, "a")
        assert (job.attempt, job.failures, job.losses, len(job.history)) == (2, 1, 1, 2)

    async def test_released_costs_nothing_and_the_next_attempt_is_still_higher(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", losses=0)), Released())
        job = await record(store, "a")
        assert (job.state, job.failures, job.losses, job.worker, job.history) == (State.QUEUED, 0, 0, None, ())
        assert (await take_job(store, "a")).lease.attempt == 2

    async def test_a_cancelled_attempt_costs_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        await finish(store, claimed, Cancelled())
        job = await record(store, "a")
        assert (job.failures, job.losses) == (0, 0)


class DeadWorkers(Subject):
    """When a worker dies, only its jobs with the most losses take another."""

    async def test_when_a_worker_dies_only_the_jobs_with_the_most_losses_take_another(
        self, store: Store, clock: HandClock
    ) -> None:
        await submit(store, *specs("a", "b", "c", "d"))
        await lose(store, clock, "a", "b", worker="w1")
        await lose(store, clock, "a", worker="w2")
        assert await losses(store, "a", "b", "c", "d") == [2, 1, 0, 0]
        await lose(store, clock, "a", "b", "c", worker="w3")
        assert await losses(store, "a", "b", "c", "d") == [3, 1, 0, 0]

    async def test_jobs_of_a_dead_worker_that_take_no_loss_are_queued_again(
        self, store: Store, clock: HandClock
    ) -> None:
        await submit(store, *specs("a"), JobSpec(id="b", task="t", losses=0))
        await lose(store, clock, "a", worker="w1")
        await lose(store, clock, "a", "b", worker="w2")
        job = await record(store, "b")
        assert (job.state, job.attempt, job.worker, job.losses, job.history) == (State.QUEUED, 1, None, 0, ())

    async def test_one_killer_among_two_hundred_dies_and_nobody_with_it(self, store: Store, clock: HandClock) -> None:
        others = [f"j{n}" for n in range(199)]
        await submit(store, *specs("killer"), *specs(*others))
        for number in range(100):
            claimed = await take(store, worker=f"w{number}", limit=64, suspects=(4, 1))
            if any(each.record.id == "killer" for each in claimed):
                await pass_time(store, clock, 3 * LEASE)
            else:
                await store.finish([Report(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
            if not claimed:
                break
        assert (await record(store, "killer")).state is State.FAILED
        ends = [(await record(store, job_id)).state for job_id in others]
        assert ends == [State.SUCCEEDED] * 199

    async def test_jobs_of_other_workers_take_no_loss(self, store: Store, clock: HandClock) -> None:
        await submit(store, *specs("a", "b"))
        await take_job(store, "a", worker="dead")
        alive = await take_job(store, "b", worker="alive")
        for _ in range(9):
            assert await beat(store, "alive", alive.lease) == [Verdict.HELD]
            await pass_time(store, clock, LEASE / 3)
        assert await losses(store, "a", "b") == [1, 0]
        assert (await record(store, "b")).state is State.RUNNING

    async def test_a_lease_that_a_living_worker_no_longer_renews_is_swept_alone(
        self, store: Store, clock: HandClock
    ) -> None:
        await submit(store, *specs("a", "b"))
        await lose(store, clock, "b", worker="w1")
        await take_job(store, "a", worker="w")
        held = await take_job(store, "b", worker="w")
        for _ in range(9):
            assert await beat(store, "w", held.lease) == [Verdict.HELD]
            await pass_time(store, clock, LEASE / 3)
        stuck, running = await record(store, "a"), await record(store, "b")
        assert (stuck.state, stuck.losses) == (State.QUEUED, 1)
        assert (running.state, running.losses) == (State.RUNNING, 1)

    async def test_leases_that_a_living_worker_no_longer_renews_cost_each_job_a_loss(
        self, store: Store, clock: HandClock
    ) -> None:
        await submit(store, *specs("a", "b"))
        await lose(store, clock, "a", worker="w1")
        for job_id in "ab":
            await take_job(store, job_id, worker="w")
        for _ in range(9):
            await beat(store, "w")
            await pass_time(store, clock, LEASE / 3)
        assert await losses(store, "a", "b") == [2, 1]

    @pytest.mark.parametrize("beats", [False, True])
    async def test_a_worker_that_claimed_lately_is_not_dead_yet(
        self, store: Store, clock: HandClock, beats: bool
    ) -> None:
        await submit(store, *specs("a", "b"))
        await lose(store, clock, "a", worker="w1")
        first = await take_job(store, "a", worker="w2")
        if beats:
            assert await beat(store, "w2", first.lease) == [Verdict.HELD]
        await pass_time(store, clock, 0.8 * LEASE)
        await take_job(store, "b", worker="w2")
        assert (await pass_time(store, clock, 0.75 * LEASE)).lost == 0
        assert (await pass_time(store, clock, LEASE)).lost == 2
        assert await losses(store, "a", "b") == [2, 0]


class Suspects(Subject):
    """A claim bounds how many jobs that lost a lease it takes."""

    async def test_a_claim_takes_no_more_suspects_than_it_asks_for(self, store: Store, clock: HandClock) -> None:
        for job_id, count in ("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 2):
            await submit(store, *specs(job_id))
            for number in range(count):
                await lose(store, clock, job_id, worker=f"{job_id}{number}")
        await submit(store, *specs("f", "g"))
        assert await losses(store, *"abcdefg") == [1, 1, 1, 2, 2, 0, 0]
        bounds = (0, 0), (2, 0), (0, 1), (9, 9)
        taken = [ids(await take(store, limit=9, suspects=suspects)) for suspects in bounds]
        assert taken == [["f", "g"], ["a", "b"], ["d"], ["c", "e"]]

    async def test_suspects_that_are_left_alone_keep_their_place(self, store: Store, clock: HandClock) -> None:
        await submit(store, *specs("a", "b", user="u"))
        await lose(store, clock, "a")
        assert ids(await take(store, limit=1, suspects=(0, 0))) == ["b"]
        await submit(store, *specs("c", user="u"))
        assert ids(await take(store)) == ["a", "c"]

    async def test_many_suspects_never_hide_a_harmless_job(self, store: Store, clock: HandClock) -> None:
        many = [f"s{n}" for n in range(250)]
        await submit(store, *specs(*many))
        await take(store, worker="dead", limit=250)
        await pass_time(store, clock, 4 * LEASE)
        await submit(store, *specs("calm"))
        assert ids(await take(store, limit=1, suspects=(0, 0))) == ["calm"]
