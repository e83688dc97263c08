"""Cancellation and requeue of jobs (rules 8 and 10)."""

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    claim_job,
    end_event,
    event_texts,
    failure,
    finish,
    heartbeat,
    ids,
    pass_time,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import FINISHED, FollowUp, JobRecord, JobSpec, Rejection, State
from sidelane.model.outcome import Cancelled, Failed, LeaseStatus, Outcome, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class Cancellation(StoreSuite):
    """A queued job ends at once; a running one gets a cancel request."""

    async def test_a_queued_job_is_cancelled_at_once(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"), JobSpec(id="b", task="t", delay=60))
        clock.advance(5)
        cancelled = await store.cancel(["a", "b"])
        assert cancelled == await store.get(["a", "b"])
        for job_id in "ab":
            job = await record(store, job_id)
            assert (job.state, job.ended, job.cancel_requested) == (State.CANCELLED, clock(), False)
            assert (await end_event(store, job_id))["state"] == "cancelled"
        assert await claim(store) == []

    async def test_a_running_job_is_asked_to_stop_and_runs_on(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.HELD]
        (cancelling,) = await store.cancel(["a"])
        assert cancelling is not None
        assert (cancelling.state, cancelling.cancel_requested, cancelling.worker) == (State.RUNNING, True, "w")
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.CANCEL]

    async def test_cancelling_a_finished_job_changes_nothing(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"))
        before = await record(store, "a")
        assert await store.cancel(["a", "unknown"]) == [before, None]
        assert await record(store, "a") == before

    async def test_cancelling_twice_changes_nothing(self, store: Store) -> None:
        await start(store, *specs("a"))
        await submit(store, *specs("b"))
        once = await store.cancel(["a", "b"])
        assert await store.cancel(["a", "b"]) == once
        assert await event_texts(store, "b") == ["end"]

    @pytest.mark.parametrize(
        ("outcome", "state"),
        [
            (Succeeded("1"), State.SUCCEEDED),
            (Failed(failure()), State.FAILED),
            (Retried(failure()), State.CANCELLED),
            (Released(), State.CANCELLED),
            (Cancelled(), State.CANCELLED),
        ],
        ids=lambda value: type(value).__name__ if not isinstance(value, State) else str(value),
    )
    async def test_success_wins_over_a_cancel_request_and_the_request_over_a_retry_and_a_release(
        self, store: Store, outcome: Outcome, state: State
    ) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        assert await finish(store, claimed, outcome, *tokens("one"))
        assert (await record(store, "a")).state is state
        assert (await end_event(store, "a"))["state"] == state
        assert await event_texts(store, "a") == ["one", "end"]

    async def test_a_lost_lease_with_a_cancel_request_cancels_the_job(self, store: Store, clock: ManualClock) -> None:
        follow = FollowUp(frozenset({State.CANCELLED}), JobSpec(id="", task="follow"))
        await start(store, JobSpec(id="a", task="t", follow_ups=(follow,)))
        await start(store, JobSpec(id="b", task="t", follow_ups=(follow,), max_worker_losses=0))
        await store.cancel(["a", "b"])
        await pass_time(store, clock, 3 * LEASE)
        for job_id in "ab":
            assert (await record(store, job_id)).state is State.CANCELLED
            assert (await end_event(store, job_id))["state"] == "cancelled"
            assert (await record(store, f"{job_id}.1.0")).state is State.QUEUED

    async def test_a_task_may_cancel_itself_without_being_asked(self, store: Store) -> None:
        assert await finish(store, await start(store, *specs("a")), Cancelled())
        assert (await record(store, "a")).state is State.CANCELLED

    async def test_a_queued_job_never_carries_a_cancel_request(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        await finish(store, claimed, Cancelled())
        await store.requeue(["a"])
        assert not (await record(store, "a")).cancel_requested
        again = await claim_job(store, "a")
        assert await heartbeat(store, "w", again.lease) == [LeaseStatus.HELD]


class Requeue(StoreSuite):
    """A finished job returns to its queue with failures and losses reset."""

    async def test_requeue_returns_every_kind_of_finished_job_to_its_queue(self, store: Store) -> None:
        outcomes: dict[str, Outcome] = {"s": Succeeded("1"), "f": Failed(failure()), "c": Cancelled()}
        for job_id, outcome in outcomes.items():
            await finish(store, await start(store, *specs(job_id)), outcome)
        back = await store.requeue(list(outcomes))
        assert back == await store.get(list(outcomes))
        for job in back:
            assert isinstance(job, JobRecord)
            assert (job.state, job.attempt, job.ends, job.failures, job.worker_losses) == (State.QUEUED, 1, 1, 0, 0)
            assert (job.result, job.problem, job.history, job.ended) == (None, None, (), None)
            assert (job.worker, job.cancel_requested) == (None, False)
        assert sorted(ids(await claim(store))) == ["c", "f", "s"]

    async def test_requeue_resets_failures_and_worker_losses(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", max_worker_losses=1))
        await finish(store, await claim_job(store, "a"), Retried(failure()))
        for number in range(2):
            await claim_job(store, "a", worker=f"w{number}")
            await pass_time(store, clock, 3 * LEASE)
        job = await record(store, "a")
        assert (job.state, job.attempt, job.failures, job.worker_losses) == (State.FAILED, 3, 1, 2)
        await store.requeue(["a"])
        await claim_job(store, "a", worker="w3")
        await pass_time(store, clock, 3 * LEASE)
        job = await record(store, "a")
        assert (job.state, job.attempt, job.failures, job.worker_losses) == (State.QUEUED, 4, 0, 1)

    async def test_the_old_end_stays_in_the_log_and_numbering_goes_on(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Failed(failure()), *tokens("one"))
        await store.requeue(["a"])
        assert await event_texts(store, "a") == ["one", "end"]
        await finish(store, await claim_job(store, "a"), Succeeded("2"), *tokens("two"))
        assert await event_texts(store, "a") == ["one", "end", "two", "end"]
        assert (await end_event(store, "a"))["state"] == "succeeded"

    async def test_a_requeued_job_submits_its_follow_ups_again_once(self, store: Store) -> None:
        follow_ups = (
            FollowUp(FINISHED, JobSpec(id="", task="call_back")),
            FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="then")),
        )
        await finish(store, await start(store, JobSpec(id="a", task="t", follow_ups=follow_ups)), Failed(failure()))
        await store.requeue(["a"])
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        await store.requeue(["a"])
        await store.cancel(["a"])
        assert (await record(store, "a")).ends == 3
        wanted = [f"a.{end}.{index}" for end in (1, 2, 3) for index in (0, 1)]
        found = [job_id for job_id, job in zip(wanted, await store.get(wanted), strict=True) if job is not None]
        assert found == ["a.1.0", "a.2.0", "a.2.1", "a.3.0"]

    async def test_requeueing_an_unfinished_job_changes_nothing(self, store: Store) -> None:
        await start(store, *specs("a"))
        await submit(store, *specs("b"))
        before = await store.get(["a", "b"])
        assert await store.requeue(["a", "b", "unknown"]) == [*before, None]
        assert await store.get(["a", "b"]) == before

    async def test_requeueing_twice_changes_nothing(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"))
        once = await store.requeue(["a"])
        assert await store.requeue(["a"]) == once

    async def test_requeue_acquires_the_unique_key_again(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", unique="k")), Succeeded("1"))
        await store.requeue(["a"])
        (answer,) = await store.submit([JobSpec(id="b", task="t", unique="k")])
        assert not isinstance(answer, Rejection)
        assert (answer.created, answer.record.id) == (False, "a")

    async def test_requeue_is_rejected_with_409_while_the_unique_key_is_taken(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", unique="k")), Succeeded("1"))
        await submit(store, JobSpec(id="b", task="t", unique="k"))
        await finish(store, await start(store, *specs("c")), Succeeded("1"))
        before = await record(store, "a")
        refused, back = await store.requeue(["a", "c"])
        assert isinstance(refused, Rejection)
        assert refused.problem.status == 409
        assert await record(store, "a") == before
        assert isinstance(back, JobRecord)
        assert back.state is State.QUEUED

    async def test_a_requeued_job_does_not_wait_for_its_first_delay_again(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, JobSpec(id="a", task="t", delay=60))
        await store.cancel(["a"])
        clock.advance(100)
        await store.requeue(["a"])
        assert ids(await claim(store)) == ["a"]
