"""Claims: which jobs a worker gets, and when."""

import pytest

from sidelane.conformance.stores.actions import claim, claim_job, failure, finish, ids, record, specs, start, submit
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, State
from sidelane.model.outcome import Released, Retried
from sidelane.model.worker import ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class Claims(StoreSuite):
    """Which jobs a claim starts."""

    async def test_a_claimed_job_has_its_own_lease(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        clock.advance(5)
        (claimed,) = await claim(store, worker="w1")
        job = await record(store, "a")
        assert claimed.record == job
        assert (job.state, job.attempt, job.worker, job.started) == (State.RUNNING, 1, "w1", clock())
        assert (claimed.lease.job_id, claimed.lease.attempt) == ("a", 1)
        assert claimed.lease.nonce

    async def test_a_claimed_job_is_not_claimed_again(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        assert ids(await claim(store)) == ["a", "b"]
        assert await claim(store, worker="other") == []

    async def test_each_claim_has_a_higher_attempt_and_another_nonce(self, store: Store) -> None:
        first = await start(store, *specs("a"))
        await finish(store, first, Released())
        second = await claim_job(store, "a")
        assert (first.lease.attempt, second.lease.attempt) == (1, 2)
        assert first.lease.nonce != second.lease.nonce

    async def test_a_claim_takes_no_more_than_its_limit(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c"))
        assert ids(await claim(store, limit=2)) == ["a", "b"]

    async def test_a_claim_takes_no_more_than_a_queues_free_slots(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c", queue="x"), *specs("d", "e", queue="y"))
        assert ids(await claim(store, queues={"x": 2, "y": 1})) == ["a", "b", "d"]

    async def test_queues_are_tried_in_the_order_given(self, store: Store) -> None:
        await submit(store, *specs("a", "b", queue="x", priority=9), *specs("c", "d", queue="y"))
        assert ids(await claim(store, queues={"y": 5, "x": 5}, limit=3)) == ["c", "d", "a"]

    async def test_other_queues_are_not_claimed_from(self, store: Store) -> None:
        await submit(store, *specs("a", queue="x"))
        assert await claim(store, queues={"y": 5}) == []
        assert (await record(store, "a")).state is State.QUEUED

    async def test_only_tasks_of_the_worker_are_claimed(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="unknown"), JobSpec(id="b", task="known"))
        assert ids(await claim(store, tasks={"known": 1}, limit=5)) == ["b"]
        assert (await record(store, "a")).state is State.QUEUED

    async def test_a_newer_task_version_than_the_workers_is_not_claimed(self, store: Store) -> None:
        await submit(store, *(JobSpec(id=f"v{version}", task="t", version=version) for version in (3, 2, 1)))
        assert ids(await claim(store, tasks={"t": 2}, limit=5)) == ["v2", "v1"]

    async def test_many_jobs_of_other_tasks_do_not_hide_one_the_worker_can_run(self, store: Store) -> None:
        await submit(store, *(JobSpec(id=f"u{n}", task="unknown", user=f"u{n % 9}") for n in range(300)))
        await submit(store, JobSpec(id="b", task="known"))
        assert ids(await claim(store, queues={"default": 5}, tasks={"known": 1}, limit=1)) == ["b"]

    async def test_claim_by_id_takes_only_that_job(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c"))
        assert ids(await claim(store, ids=("b",), limit=5)) == ["b"]
        assert ids(await claim(store)) == ["a", "c"]

    async def test_claim_by_id_takes_no_job_that_is_not_ready(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="t", delay=60), *specs("b", "c"))
        await store.cancel(["b"])
        await claim_job(store, "c")
        assert await claim(store, ids=("a", "b", "c", "unknown")) == []

    async def test_a_paused_queue_has_nothing_to_claim_until_it_is_resumed(self, store: Store) -> None:
        await submit(store, *specs("a", queue="x"), *specs("b", queue="y"))
        await store.pause("x")
        assert ids(await claim(store, queues={"x": 5, "y": 5})) == ["b"]
        assert await claim(store, ids=("a",)) == []
        await store.pause("x", False)
        assert ids(await claim(store, queues={"x": 5})) == ["a"]

    async def test_a_queue_can_be_paused_before_its_first_job(self, store: Store) -> None:
        await store.pause("x")
        await submit(store, *specs("a", queue="x"))
        assert await claim(store, queues={"x": 5}) == []

    async def test_pausing_a_queue_does_not_touch_its_running_jobs(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.pause("default")
        assert await finish(store, claimed, Released())


class DelayedJobs(StoreSuite):
    """A delayed job never starts early."""

    async def test_a_delayed_job_is_never_early(self, store: Store, clock: ManualClock) -> None:
        (job,) = await submit(store, JobSpec(id="a", task="t", delay=30))
        assert job.due == pytest.approx(clock() + 30)
        clock.advance(29.9)
        assert await claim(store) == []
        clock.advance(0.2)
        assert ids(await claim(store)) == ["a"]

    async def test_run_at_is_a_time_and_one_in_the_past_is_now(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", run_at=clock() + 30), JobSpec(id="b", task="t", run_at=1.0))
        assert ids(await claim(store)) == ["b"]
        clock.advance(30.1)
        assert ids(await claim(store)) == ["a"]

    async def test_a_retried_job_waits_for_its_delay(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, *specs("a")), Retried(failure(), delay=30))
        clock.advance(29.9)
        assert await claim(store) == []
        clock.advance(0.2)
        assert ids(await claim(store)) == ["a"]

    async def test_a_released_job_waits_for_its_delay(self, store: Store, clock: ManualClock) -> None:
        await finish(store, await start(store, *specs("a")), Released(delay=30))
        clock.advance(29.9)
        assert await claim(store) == []
        clock.advance(0.2)
        assert ids(await claim(store)) == ["a"]

    async def test_next_due_is_when_the_next_waiting_job_of_the_asked_queues_may_start(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(
            store,
            JobSpec(id="a", task="t", queue="x", delay=90),
            JobSpec(id="b", task="t", queue="x", delay=50),
            JobSpec(id="c", task="t", queue="y", delay=20),
        )
        clock.advance(10)
        for queues, due in ({"x": 1}, 40), ({"x": 1, "y": 1}, 10), ({"z": 1}, None):
            claims = await store.claim(ClaimRequest(request=str(queues), worker="w", queues=queues))
            assert claims.jobs == ()
            assert claims.next_due == (None if due is None else pytest.approx(due))

    async def test_next_due_counts_a_job_that_will_be_retried(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Retried(failure(), delay=30))
        claims = await store.claim(ClaimRequest(request="r", worker="w", queues={"default": 1}))
        assert claims.next_due == pytest.approx(30)

    async def test_time_passing_between_claims_never_loses_a_delayed_job(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *(JobSpec(id=f"j{n}", task="t", delay=n) for n in range(1, 30)))
        claimed = []
        for _ in range(30):
            clock.advance(1.01)
            claimed += ids(await claim(store))
        assert claimed == [f"j{n}" for n in range(1, 30)]
