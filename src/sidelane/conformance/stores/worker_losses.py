"""Worker losses: swept leases are counted, and a job with several losses is isolated (rule 7)."""

import pytest

from sidelane.conformance.stores.actions import (
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
from sidelane.model.job import JobSpec, State
from sidelane.model.outcome import AttemptResult, Cancelled, Dispatched, LeaseStatus, Lost, Released, Retried, Succeeded
from sidelane.model.worker import ClaimRequest, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


async def lose_worker(store: Store, clock: ManualClock, *job_ids: str, worker: str = "dead") -> None:
    """Let one worker claim jobs and die."""
    for job_id in job_ids:
        await claim_job(store, job_id, worker=worker)
    await pass_time(store, clock, 3 * LEASE)


async def losses(store: Store, *job_ids: str) -> list[int]:
    return [(await record(store, job_id)).worker_losses for job_id in job_ids]


class WorkerLosses(StoreSuite):
    """The effect of a lost lease."""

    async def test_a_job_with_max_worker_losses_0_fails_at_its_first_loss(
        self, store: Store, clock: ManualClock
    ) -> None:
        await start(store, JobSpec(id="a", task="t", max_worker_losses=0))
        await pass_time(store, clock, 3 * LEASE)
        job = await record(store, "a")
        assert (job.state, job.worker_losses) == (State.FAILED, 1)
        assert job.problem is not None

    async def test_a_job_beyond_its_worker_losses_fails_with_a_reason(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        for number in range(1, 4):
            await lose_worker(store, clock, "a", worker=f"w{number}")
            job = await record(store, "a")
            assert (job.state, job.worker_losses, len(job.history)) == (State.QUEUED, number, number)
        await lose_worker(store, clock, "a", worker="w4")
        job = await record(store, "a")
        assert (job.state, job.worker_losses, job.failures, job.attempt) == (State.FAILED, 4, 0, 4)
        assert [each.attempt for each in job.history] == [1, 2, 3, 4]
        assert job.problem is not None
        assert job.problem.detail
        assert (await end_event(store, "a"))["problem"] == job.problem.document()

    async def test_a_job_with_max_worker_losses_0_never_runs_again_whatever_else_ran(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a"), JobSpec(id="b", task="t", max_worker_losses=0))
        await lose_worker(store, clock, "a", worker="w1")
        await lose_worker(store, clock, "a", "b", worker="w2")
        job = await record(store, "b")
        assert (job.state, job.attempt, job.worker_losses) == (State.FAILED, 1, 1)

    async def test_a_dead_child_process_is_a_worker_loss_at_once(self, store: Store) -> None:
        assert await finish(store, await start(store, *specs("a")), Lost(failure("killed")))
        job = await record(store, "a")
        assert (job.state, job.failures, job.worker_losses, job.worker) == (State.QUEUED, 0, 1, None)
        assert [each.problem.detail for each in job.history] == ["killed"]

    async def test_a_child_process_that_died_too_often_fails_its_job(self, store: Store) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", max_worker_losses=0))
        for _ in range(2):
            assert await finish(store, claimed, Lost(failure("killed")))
        job = await record(store, "a")
        assert (job.state, job.worker_losses, job.failures) == (State.FAILED, 1, 0)
        assert job.problem is not None
        assert job.problem.detail == "killed"

    async def test_a_worker_loss_with_a_cancel_request_cancels_the_job(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        await finish(store, claimed, Lost(failure()))
        job = await record(store, "a")
        assert (job.state, job.worker_losses) == (State.CANCELLED, 0)

    async def test_failures_and_worker_losses_are_counted_separately(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, *specs("a")), Retried(failure()))
        await lose_worker(store, clock, "a")
        job = await record(store, "a")
        assert (job.attempt, job.failures, job.worker_losses, len(job.history)) == (2, 1, 1, 2)

    async def test_a_release_counts_nothing_and_the_next_attempt_is_higher(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", max_worker_losses=0)), Released())
        job = await record(store, "a")
        assert (job.state, job.failures, job.worker_losses, job.worker, job.history) == (State.QUEUED, 0, 0, None, ())
        assert (await claim_job(store, "a")).lease.attempt == 2

    async def test_a_cancelled_attempt_counts_nothing(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        await finish(store, claimed, Cancelled())
        job = await record(store, "a")
        assert (job.failures, job.worker_losses) == (0, 0)


class DeadWorkers(StoreSuite):
    """A dead worker is a loss for each of its jobs, whatever the cause."""

    async def test_a_dead_worker_is_a_loss_for_each_of_its_jobs(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", "c", "d"))
        await lose_worker(store, clock, "a", "b", worker="w1")
        await lose_worker(store, clock, "a", worker="w2")
        assert await losses(store, "a", "b", "c", "d") == [2, 1, 0, 0]
        await lose_worker(store, clock, "a", "b", "c", worker="w3")
        assert await losses(store, "a", "b", "c", "d") == [3, 2, 1, 0]

    async def test_leases_of_a_worker_that_is_reported_dead_are_lost_at_the_next_sweep(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a", "b"))
        await claim_job(store, "a", worker="dead")
        await claim_job(store, "b", worker="alive")
        reason = "signal SIGKILL, out of memory"
        await store.heartbeat(WorkerInfo(id="dead", name="dead", exit=reason), [], lease=LEASE)
        assert (await store.sweep(lease=LEASE)).lost == 1
        assert await losses(store, "a", "b") == [1, 0]
        assert (await record(store, "a")).history[0].error == reason
        assert "dead" not in [worker.id for worker in await store.workers()]
        assert (await store.sweep(lease=LEASE)).lost == 0

    async def test_many_leases_of_a_dead_worker_are_swept_in_chunks(self, store: Store, clock: ManualClock) -> None:
        many = [f"j{n}" for n in range(250)]
        await submit(store, *specs(*many))
        await claim(store, worker="dead", limit=250)
        clock.advance(1.4 * LEASE)
        first = await store.sweep(lease=10 * LEASE, limit=100)
        assert (first.lost, first.more) == (0, False)
        for _ in range(3):
            clock.advance(4 * LEASE)
            await store.sweep(lease=10 * LEASE, limit=100)
        found = 0
        for _ in range(20):
            swept = await store.sweep(lease=10 * LEASE, limit=100)
            assert swept.lost <= 100
            found += swept.lost
            if not swept.more:
                break
        assert await losses(store, *many) == [1] * 250

    async def test_one_poison_job_among_two_hundred_fails_alone(self, store: Store, clock: ManualClock) -> None:
        others = [f"j{n}" for n in range(199)]
        await submit(store, *specs("killer"), *specs(*others))
        for number in range(100):
            claimed = await claim(store, worker=f"w{number}", limit=64)
            claimed += await claim(store, worker=f"i{number}", limit=1, isolated=True)
            if not claimed:
                break
            doomed = {each.record.id for each in claimed} & {"killer"}
            alone = doomed and (await record(store, "killer")).isolated
            ends = [each for each in claimed if each.record.id not in doomed and (alone or not doomed)]
            await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in ends])
            if doomed:
                await pass_time(store, clock, 3 * LEASE)
        killer = await record(store, "killer")
        assert (killer.state, killer.attempt, killer.worker_losses) == (State.FAILED, 4, 4)
        ends_of_others = [(await record(store, job_id)).state for job_id in others]
        assert ends_of_others == [State.SUCCEEDED] * 199

    async def test_jobs_of_other_workers_have_no_loss(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b"))
        await claim_job(store, "a", worker="dead")
        alive = await claim_job(store, "b", worker="alive")
        for _ in range(9):
            assert await heartbeat(store, "alive", alive.lease) == [LeaseStatus.HELD]
            await pass_time(store, clock, LEASE / 3)
        assert await losses(store, "a", "b") == [1, 0]
        assert (await record(store, "b")).state is State.RUNNING

    async def test_leases_that_a_live_worker_stops_renewing_are_losses(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", "c"))
        await lose_worker(store, clock, "a", worker="w1")
        for job_id in "ab":
            await claim_job(store, job_id, worker="w")
        claimed_c = await claim_job(store, "c", worker="w")
        for _ in range(9):
            assert await heartbeat(store, "w", claimed_c.lease) == [LeaseStatus.HELD]
            await pass_time(store, clock, LEASE / 3)
        assert await losses(store, "a", "b", "c") == [2, 1, 0]
        assert (await record(store, "c")).state is State.RUNNING

    @pytest.mark.parametrize("beats", [False, True])
    async def test_a_worker_that_claimed_recently_is_alive(self, store: Store, clock: ManualClock, beats: bool) -> None:
        await submit(store, *specs("a", "b"))
        await lose_worker(store, clock, "a", worker="w1")
        first = await claim_job(store, "a", worker="w2")
        if beats:
            assert await heartbeat(store, "w2", first.lease) == [LeaseStatus.HELD]
        await pass_time(store, clock, 0.8 * LEASE)
        await claim_job(store, "b", worker="w2")
        assert (await pass_time(store, clock, 0.75 * LEASE)).lost == 0
        assert (await pass_time(store, clock, LEASE)).lost == 2
        assert await losses(store, "a", "b") == [2, 1]


async def isolate(store: Store, clock: ManualClock, *job_ids: str) -> None:
    """Make existing jobs isolated: their workers are lost twice."""
    for number in range(2):
        await lose_worker(store, clock, *job_ids, worker=f"lost-{number}")


async def reports_isolated(store: Store, *, isolated: bool = False, tasks: dict[str, int] | None = None) -> bool:
    """Make a claim without jobs, and return whether it reports an isolated job."""
    request = ClaimRequest(
        request=new_nonce(), worker="w", queues={"default": 1}, limit=1, lease=LEASE, tasks=tasks, isolated=isolated
    )
    return (await store.claim(request)).isolated


class Isolation(StoreSuite):
    """From its second loss on, only claims for isolated jobs start a job."""

    @pytest.mark.parametrize(("budget", "second"), [(1, True), (2, False), (3, False), (9, False)])
    async def test_a_job_is_isolated_from_its_second_loss_or_its_last(
        self, store: Store, clock: ManualClock, budget: int, second: bool
    ) -> None:
        await submit(store, JobSpec(id="a", task="t", max_worker_losses=budget))
        await lose_worker(store, clock, "a", worker="w1")
        assert (await record(store, "a")).isolated is second
        if budget > 1:
            await lose_worker(store, clock, "a", worker="w2")
            assert (await record(store, "a")).isolated

    async def test_a_first_loss_keeps_the_jobs_position(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", user="u"))
        await lose_worker(store, clock, "a")
        assert ids(await claim(store)) == ["a", "b"]

    async def test_a_claim_takes_either_isolated_jobs_or_others(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b"))
        await isolate(store, clock, "a", "b")
        await submit(store, *specs("c", "d"))
        assert ids(await claim(store, limit=9)) == ["c", "d"]
        assert ids(await claim(store, limit=1, isolated=True)) == ["a"]
        assert ids(await claim(store, limit=9, isolated=True)) == ["b"]

    async def test_a_claim_by_id_takes_either(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b"))
        await isolate(store, clock, "a")
        assert ids(await claim(store, ids=("a", "b"))) == ["a", "b"]

    async def test_an_ordinary_claim_reports_a_waiting_isolated_job(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        assert not await reports_isolated(store, tasks={})
        await isolate(store, clock, "a")
        assert await reports_isolated(store)
        assert await reports_isolated(store, tasks={"t": 1})
        assert not await reports_isolated(store, tasks={"other": 1})
        assert not await reports_isolated(store, tasks={"other": 1}, isolated=True)
        await store.pause("default")
        assert not await reports_isolated(store)
        await store.pause("default", False)
        await claim(store, isolated=True)
        assert not await reports_isolated(store)

    async def test_isolated_jobs_of_a_newer_version_are_not_reported(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", version=2))
        await isolate(store, clock, "a")
        assert not await reports_isolated(store, tasks={"t": 1})
        assert await reports_isolated(store, tasks={"t": 2})

    async def test_isolated_jobs_are_claimed_by_priority_then_user(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", user="u"), *specs("c", user="v"), JobSpec(id="d", task="t", priority=1))
        await isolate(store, clock, "a", "b", "c", "d")
        assert ids(await claim(store, isolated=True)) == ["d", "a", "c", "b"]

    async def test_many_isolated_jobs_do_not_hide_another_job(self, store: Store, clock: ManualClock) -> None:
        many = [f"s{n}" for n in range(250)]
        await submit(store, *(JobSpec(id=each, task="t", max_worker_losses=1) for each in many))
        await claim(store, worker="dead", limit=250)
        await pass_time(store, clock, 4 * LEASE)
        await submit(store, *specs("calm"))
        assert ids(await claim(store, limit=1)) == ["calm"]
        assert len(await claim(store, limit=300, isolated=True)) == 250

    async def test_a_job_that_is_not_isolable_is_never_isolated(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", isolable=False))
        await isolate(store, clock, "a")
        job = await record(store, "a")
        assert (job.isolated, job.worker_losses) == (False, 2)
        assert ids(await claim(store)) == ["a"]

    async def test_a_released_or_retried_job_stays_isolated(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await isolate(store, clock, "a")
        for outcome in Released(), Retried(failure()), Released(5.0):
            await finish(store, await claim_job(store, "a"), outcome)
            assert (await record(store, "a")).isolated
        clock.advance(6.0)
        assert ids(await claim(store)) == []
        assert ids(await claim(store, isolated=True)) == ["a"]

    async def test_a_requeued_job_is_not_isolated(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await isolate(store, clock, "a")
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        await store.requeue(["a"])
        job = await record(store, "a")
        assert (job.isolated, job.worker_losses) == (False, 0)
        assert ids(await claim(store)) == ["a"]

    async def test_an_isolated_job_can_be_cancelled_while_it_waits(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await isolate(store, clock, "a")
        await store.cancel(["a"])
        assert (await record(store, "a")).state is State.CANCELLED
        assert not await reports_isolated(store)
        assert ids(await claim(store, isolated=True)) == []

    async def test_an_external_job_without_completion_is_not_isolated(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", max_worker_losses=1, isolable=False))
        for number in range(2):
            dispatch_job = JobSpec(id=f"dispatch-{number}", task="send", queue="other")
            await finish(store, await claim_job(store, "a"), Dispatched(1.0, dispatch_job))
            await pass_time(store, clock, 3 * LEASE)
        job = await record(store, "a")
        assert (job.state, job.worker_losses) == (State.FAILED, 2)
        assert job.problem is not None
        assert job.problem.title == "No answer"
