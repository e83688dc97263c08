"""Backpressure: queues with a maximum of queued jobs, and their throughput."""

import pytest

from sidelane.conformance.stores.actions import (
    claim,
    claim_job,
    failure,
    finish,
    ids,
    slot_limit,
    specs,
    start,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import FINISHED, FollowUp, JobRecord, JobSpec, Submission
from sidelane.model.outcome import AttemptResult, Failed, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


def wanted(*job_ids: str, most: int = 2, queue: str = "default", delay: float = 0.0) -> list[JobSpec]:
    return [JobSpec(id=job_id, task="t", queue=queue, max_queued=most, delay=delay) for job_id in job_ids]


class BackPressure(StoreSuite):
    """`max_queued`: the maximum of queued jobs at a submit."""

    async def test_a_full_queue_rejects_a_job_and_says_when_to_retry(self, store: Store) -> None:
        await submit(store, *wanted("a", "b"))
        refused = await submit_rejected(store, *wanted("c"))
        assert refused.problem.status == 503
        assert refused.problem.type.endswith("#temporary-reduced-capacity")
        assert refused.reached == ()
        assert refused.retry_after is not None
        assert 1 <= refused.retry_after <= 600
        assert await store.get(["c"]) == [None]

    async def test_delayed_retrying_and_blocked_jobs_count_as_queued(self, store: Store) -> None:
        one = slot_limit(1, "wait")
        await finish(store, await start(store, *specs("retried")), Retried(failure(), delay=60))
        await start(store, *specs("holder", limits=(one,)))
        await submit(store, *specs("blocked", limits=(one,)), *wanted("delayed", most=9, delay=60))
        assert await claim(store) == []
        (counted,) = await store.stats()
        assert (counted.delayed, counted.waiting_for_limit, counted.queued) == (2, 1, 3)
        await submit_rejected(store, *wanted("a", most=3))
        await submit(store, *wanted("a", most=4))

    async def test_running_and_finished_jobs_do_not_count_as_queued(self, store: Store) -> None:
        await submit(store, *wanted("a", "b"))
        await claim_job(store, "a")
        await submit(store, *wanted("c"))
        await store.cancel(["b"])
        await submit(store, *wanted("d"))
        await submit_rejected(store, *wanted("e"))

    async def test_jobs_of_one_call_are_queued_up_to_max_queued(self, store: Store) -> None:
        answers = await store.submit(wanted("a", "b", "c"))
        assert [isinstance(answer, Submission) for answer in answers] == [True, True, False]

    async def test_each_queue_has_its_own_count(self, store: Store) -> None:
        await submit(store, *wanted("a", "b", queue="x"), *wanted("c", queue="y"), *specs("d", queue="x"))

    async def test_a_repeated_submit_is_never_rejected(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="t", unique="only", max_queued=1))
        for job_id in "ab":
            (answer,) = await store.submit([JobSpec(id=job_id, task="t", unique="only", max_queued=1)])
            assert isinstance(answer, Submission)
            assert (answer.created, answer.record.id) == (False, "a")

    async def test_follow_ups_and_requeued_jobs_pass_max_queued(self, store: Store) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow"))
        claimed = await start(store, JobSpec(id="a", task="t", max_queued=1, follow_ups=(follow,)))
        await submit(store, *wanted("b", most=1))
        await finish(store, claimed, Failed(failure()))
        (back,) = await store.requeue(["a"])
        assert isinstance(back, JobRecord)
        assert sorted(ids(await claim(store))) == ["a", "a.1.0", "b"]

    async def test_a_full_queue_rejects_before_any_limit(self, store: Store) -> None:
        limit = slot_limit(1, "reject")
        await submit(store, *specs("a", limits=(limit,)))
        refused = await submit_rejected(store, JobSpec(id="b", task="t", max_queued=1, limits=(limit,)))
        assert refused.problem.status == 503


async def work(store: Store, clock: ManualClock, *, each: int, pause: float, rounds: int) -> None:
    """Start `each` jobs per round, with a pause in seconds after each."""
    for number in range(rounds):
        await submit(store, *specs(*(f"r{clock():.0f}-{number}-{n}" for n in range(each))))
        claimed = await claim(store)
        await store.finish([AttemptResult(lease=one.lease, outcome=Succeeded("1")) for one in claimed])
        clock.advance(pause)


class Throughput(StoreSuite):
    """Starts per second of a queue, and the estimated wait of its jobs."""

    async def test_the_rate_of_a_queue_is_its_starts_per_second(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("x", queue="x"))
        await work(store, clock, each=10, pause=5, rounds=80)
        rates = {each.name: each.rate for each in await store.stats()}
        assert rates["default"] == pytest.approx(2, rel=0.2)
        assert rates["x"] == 0

    async def test_the_rate_follows_the_last_minutes(self, store: Store, clock: ManualClock) -> None:
        await work(store, clock, each=10, pause=5, rounds=40)
        clock.advance(900)
        (counted,) = await store.stats()
        assert 0 <= counted.rate < 0.01
        await work(store, clock, each=1, pause=5, rounds=80)
        (counted,) = await store.stats()
        assert counted.rate == pytest.approx(0.2, rel=0.25)

    async def test_the_estimated_wait_is_the_time_for_the_jobs_before_it_to_start(
        self, store: Store, clock: ManualClock
    ) -> None:
        await work(store, clock, each=10, pause=5, rounds=60)
        await submit(store, *specs(*(f"j{n}" for n in range(30))))
        (counted,) = await store.stats()
        for job_id, before in ("j0", 0), ("j29", 29):
            index = await store.queue_position(job_id)
            assert index is not None
            assert index.before == before
            assert index.wait == pytest.approx(before / counted.rate)

    async def test_there_is_no_estimated_wait_while_no_job_starts(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b"))
        index = await store.queue_position("b")
        assert index is not None
        assert (index.before, index.wait) == (1, None)
        await work(store, clock, each=10, pause=5, rounds=5)
        clock.advance(1200)
        await submit(store, *specs("c", "d"))
        index = await store.queue_position("d")
        assert index is not None
        assert (index.before, index.wait) == (1, None)

    async def test_there_is_no_estimated_wait_in_a_paused_queue(self, store: Store, clock: ManualClock) -> None:
        await work(store, clock, each=10, pause=5, rounds=5)
        await submit(store, *specs("a", "b"))
        await store.pause("default")
        index = await store.queue_position("b")
        assert index is not None
        assert (index.before, index.wait) == (1, None)
        await store.pause("default", False)
        index = await store.queue_position("b")
        assert index is not None
        assert index.wait is not None

    async def test_retry_after_of_a_full_queue_follows_its_rate(self, store: Store, clock: ManualClock) -> None:
        await work(store, clock, each=1, pause=20, rounds=60)
        await submit(store, *wanted("a", most=1))
        assert (await submit_rejected(store, *wanted("b", most=1))).retry_after == pytest.approx(20, rel=0.4)

    async def test_the_rate_survives_a_clock_that_steps_back(self, store: Store, clock: ManualClock) -> None:
        await work(store, clock, each=10, pause=5, rounds=20)
        clock.advance(-86_400)
        (counted,) = await store.stats()
        assert 0 <= counted.rate < 20
        await work(store, clock, each=10, pause=5, rounds=80)
        (counted,) = await store.stats()
        assert counted.rate == pytest.approx(2, rel=0.25)
