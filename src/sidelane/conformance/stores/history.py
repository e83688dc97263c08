"""History: what a store counts of submits, refusals, attempts and ends, each exactly once."""

import pytest

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    LEASE,
    append_tokens,
    claim,
    claim_job,
    failure,
    finish,
    pass_time,
    slot_limit,
    specs,
    start,
    submit,
    submit_rejected,
    tokens,
)
from sidelane.conformance.stores.counting import buckets, by_series, measured, tally
from sidelane.conformance.stores.external_tasks import dispatch, dispatch_job, dispatch_result, start_external
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.batch import BatchSpec
from sidelane.model.history import Count, Series, Usage, bucket_of
from sidelane.model.ids import new_nonce
from sidelane.model.job import FINISHED, FollowUp, JobSpec
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    EventAppend,
    Failed,
    Lost,
    Outcome,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.schedule import Schedule, ScheduleTick
from sidelane.model.worker import ClaimRequest, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store

STARTED = {"SUBMITTED": 1, "STARTED": 1}
"""What is counted of one job that has started."""

WAITING = slot_limit(1, "wait")


class HistoryOfSubmits(StoreSuite):
    """New jobs and refusals."""

    async def test_each_new_job_is_counted_once(self, store: Store) -> None:
        assert await store.totals() == []
        await submit(store, *specs("a", "b"), *specs("c", queue="x"), JobSpec(id="d", task="late", delay=60))
        await store.submit([*specs("a", "b"), JobSpec(id="d", task="late", delay=60)])
        assert await by_series(store) == {
            Series("default", "t"): {"SUBMITTED": 2},
            Series("x", "t"): {"SUBMITTED": 1},
            Series("default", "late"): {"SUBMITTED": 1},
        }

    async def test_a_second_job_with_a_unique_key_is_not_counted(self, store: Store) -> None:
        for job_id in "ab":
            await store.submit([JobSpec(id=job_id, task="t", user="u", unique="k")])
        assert await tally(store) == {"SUBMITTED": 1}

    async def test_refusals_are_counted_by_their_reason(self, store: Store) -> None:
        one = (slot_limit(1, "reject"),)
        await submit(store, *specs("a", limits=one))
        await submit_rejected(store, JobSpec(id="b", task="t", max_queued=1))
        await submit_rejected(store, *specs("c", limits=one))
        await submit_rejected(store, *specs("d", limits=one))
        assert await by_series(store) == {
            Series("default", "t"): {"SUBMITTED": 1, "REFUSED_QUEUE_FULL": 1, "REFUSED_LIMIT": 2}
        }

    async def test_refusals_by_a_batch_or_a_removed_job_are_counted_as_other(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="sealed"))
        await store.seal_batch("sealed")
        kept = JobSpec(id="kept", task="t", id_retention=60)
        await submit(store, kept)
        await store.cancel(["kept"])
        await store.remove(["kept"])
        for spec in kept, JobSpec(id="b", task="t", batch="sealed"), JobSpec(id="c", task="t", batch="unknown"):
            await submit_rejected(store, spec)
        assert await tally(store) == {"SUBMITTED": 1, "REFUSED_OTHER": 3, "CANCELLED": 1}

    async def test_follow_ups_are_counted_as_new_jobs(self, store: Store) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", follow_ups=(FOLLOW_UP,)))
        for _ in range(2):
            await finish(store, claimed, Succeeded("1"))
        assert (await by_series(store))[Series("default", "follow")] == {"SUBMITTED": 1}

    async def test_follow_ups_of_batches_and_of_removals_are_counted_as_new_jobs(self, store: Store) -> None:
        ended, removed = (
            FollowUp(FINISHED, JobSpec(id="", task="ended")),
            FollowUp(frozenset(), JobSpec(id="", task="r")),
        )
        await store.open_batch(BatchSpec(id="many", follow_ups=(ended,)))
        claimed = await start(store, JobSpec(id="a", task="t", batch="many", follow_ups=(removed,)))
        await store.seal_batch("many")
        await finish(store, claimed, Succeeded("1"))
        await store.remove(["a"])
        found = await by_series(store)
        assert (found[Series("default", "ended")], found[Series("default", "r")]) == (
            {"SUBMITTED": 1},
            {"SUBMITTED": 1},
        )

    async def test_jobs_of_schedules_are_counted_as_new_jobs(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(Schedule(name="s", spec=JobSpec(id="", task="t"), every=60.0))
        tick = ScheduleTick(
            name="s", previous=clock(), at=clock() + 60, next=clock() + 120, specs=tuple(specs("a", "b"))
        )
        assert [await store.fire(tick), await store.fire(tick)] == [True, False]
        assert await tally(store) == {"SUBMITTED": 2}

    async def test_a_replaced_job_is_counted_as_cancelled(self, store: Store) -> None:
        one = (slot_limit(1, "replace"),)
        await submit(store, *specs("a", limits=one))
        await submit(store, *specs("b", limits=one))
        assert await tally(store) == {"SUBMITTED": 2, "CANCELLED": 1}


class HistoryOfAttempts(StoreSuite):
    """Starts, the ends of attempts, and the ends of jobs."""

    @pytest.mark.parametrize(
        ("outcome", "counted"),
        [
            (Succeeded("1"), "SUCCEEDED"),
            (Failed(failure()), "FAILED"),
            (Retried(failure()), "RETRIED"),
            (Retried(failure(), delay=5.0), "RETRIED"),
            (Released(), "RELEASED"),
            (Lost(failure()), "LOST"),
        ],
    )
    async def test_the_end_of_an_attempt_is_counted_by_its_outcome(
        self, store: Store, outcome: Outcome, counted: str
    ) -> None:
        claimed = await start(store, *specs("a"))
        assert await tally(store) == STARTED
        for _ in range(2):
            assert await finish(store, claimed, outcome)
        assert await tally(store) == {**STARTED, counted: 1}

    async def test_attempts_of_one_call_are_all_counted(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(450))))
        claimed = await claim(store, limit=450)
        await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
        assert await tally(store) == {"SUBMITTED": 450, "STARTED": 450, "SUCCEEDED": 450}

    async def test_a_repeated_claim_counts_nothing(self, store: Store) -> None:
        await submit(store, *specs("a"))
        request = ClaimRequest(request=new_nonce(), worker="w", queues={"default": 1}, lease=LEASE)
        assert await store.claim(request) == await store.claim(request)
        assert await tally(store) == STARTED

    async def test_an_attempt_whose_lease_is_lost_counts_nothing_more(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        for outcome in Succeeded("1"), Retried(failure()), Lost(failure()):
            assert not await finish(store, claimed, outcome, *tokens("x"), usage=Usage(input_tokens=7), throttled=True)
        assert await tally(store) == {**STARTED, "LOST": 1}
        assert await measured(store, Count.EVENTS, Count.INPUT_TOKENS) == [0, 0]

    @pytest.mark.parametrize("outcome", [Cancelled(), Retried(failure()), Released(), Lost(failure())])
    async def test_the_end_of_an_attempt_with_a_cancel_request_is_counted_as_cancelled(
        self, store: Store, outcome: Outcome
    ) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        assert await tally(store) == STARTED
        await finish(store, claimed, outcome, throttled=True)
        assert await tally(store) == {**STARTED, "CANCELLED": 1}

    async def test_queued_and_external_jobs_are_counted_as_cancelled_at_once(self, store: Store) -> None:
        await start(store, *specs("holder", limits=(WAITING,)))
        await submit(store, *specs("blocked", limits=(WAITING,)))
        assert await claim(store) == []
        await submit(store, *specs("ready"), JobSpec(id="delayed", task="t", delay=60))
        await start_external(store, JobSpec(id="external", task="t"))
        for _ in range(2):
            await store.cancel(["blocked", "ready", "delayed", "external", "unknown"])
        assert await tally(store) == {"SUBMITTED": 6, "STARTED": 2, "CANCELLED": 4, "DISPATCHED": 1}
        assert (await by_series(store))[Series("side", "send")] == {"SUBMITTED": 1}

    async def test_cascading_cancellations_are_counted(self, store: Store) -> None:
        children = [JobSpec(id=f"c{n}", task="t", parent="a", cascade=True) for n in range(3)]
        await submit(store, *specs("a"), *children)
        await store.cancel(["a"])
        assert await tally(store) == {"SUBMITTED": 4, "CANCELLED": 4}

    @pytest.mark.parametrize("by_claim", [True, False])
    async def test_expired_jobs_are_counted_as_failed_and_expired(
        self, store: Store, clock: ManualClock, by_claim: bool
    ) -> None:
        await submit(store, JobSpec(id="a", task="t", expires=5))
        await finish(store, await start(store, JobSpec(id="b", task="t", deadline=5)), Retried(failure()))
        clock.advance(6)
        for _ in range(2):
            await (claim(store) if by_claim else store.sweep(lease=LEASE))
        assert await tally(store) == {"SUBMITTED": 2, "STARTED": 1, "FAILED": 2, "EXPIRED": 2, "RETRIED": 1}

    async def test_each_swept_lease_is_counted_as_a_worker_loss(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        await start(store, JobSpec(id="b", task="t", max_worker_losses=0))
        await pass_time(store, clock, 3 * LEASE)
        assert await tally(store) == {"SUBMITTED": 2, "STARTED": 2, "FAILED": 1, "LOST": 2}
        assert sum((await buckets(store, Count.RUN)).values()) == 2

    async def test_the_leases_of_a_worker_that_is_reported_dead_are_worker_losses(self, store: Store) -> None:
        await start(store, *specs("a"), worker="dead")
        await store.heartbeat(WorkerInfo(id="dead", name="dead", exit="signal SIGKILL"), [], lease=LEASE)
        for _ in range(2):
            await store.sweep(lease=LEASE)
        assert await tally(store) == {**STARTED, "LOST": 1}

    async def test_a_dispatched_attempt_ends_at_the_external_worker(self, store: Store, clock: ManualClock) -> None:
        claimed = await start_external(store, JobSpec(id="a", task="t"))
        await dispatch(store, claimed)
        assert await tally(store) == {"SUBMITTED": 2, "STARTED": 1, "DISPATCHED": 1}
        assert await measured(store, Count.RUN_MS) == [0]
        clock.advance(4)
        await finish(store, claimed, Succeeded("1"))
        assert await tally(store) == {"SUBMITTED": 2, "STARTED": 1, "SUCCEEDED": 1, "DISPATCHED": 1}
        assert await measured(store, Count.RUN_MS) == [4000]

    async def test_an_external_worker_without_an_answer_is_a_worker_loss(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        await store.finish([dispatch_result(claimed, timeout=2.0)])
        await pass_time(store, clock, 2 * LEASE)
        assert await tally(store) == {"SUBMITTED": 2, "STARTED": 1, "LOST": 1, "DISPATCHED": 1}

    async def test_a_dispatch_with_a_cancel_request_is_counted_as_cancelled(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        await store.finish([dispatch_result(claimed)])
        assert await store.get([dispatch_job("a").id]) == [None]
        assert await tally(store) == {**STARTED, "CANCELLED": 1}

    async def test_a_requeued_job_is_counted_and_ends_again(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Failed(failure()))
        await store.requeue(["a", "unknown"])
        await store.requeue(["a"])
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        assert await tally(store) == {"SUBMITTED": 1, "REQUEUED": 1, "STARTED": 2, "SUCCEEDED": 1, "FAILED": 1}

    async def test_an_attempt_is_counted_for_the_release_of_its_worker(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a"), release="r1"), Retried(failure()))
        await finish(store, await claim_job(store, "a", release="r2"), Succeeded("1"))
        await start(store, *specs("b"), release="r2")
        assert await by_series(store) == {
            Series("default", "t"): {"SUBMITTED": 2},
            Series("default", "t", "r1"): {"STARTED": 1, "RETRIED": 1},
            Series("default", "t", "r2"): {"STARTED": 2, "SUCCEEDED": 1},
        }

    async def test_the_end_of_a_job_is_counted_for_the_release_of_its_newest_attempt(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a"), release="r1"), Released())
        await submit(store, *specs("b"))
        await store.cancel(["a", "b"])
        assert await by_series(store) == {
            Series("default", "t"): {"SUBMITTED": 2, "CANCELLED": 1},
            Series("default", "t", "r1"): {"STARTED": 1, "RELEASED": 1, "CANCELLED": 1},
        }

    async def test_a_swept_lease_is_counted_for_the_release_of_its_worker(
        self, store: Store, clock: ManualClock
    ) -> None:
        await start(store, *specs("a"), release="r1")
        await pass_time(store, clock, 3 * LEASE)
        assert (await by_series(store))[Series("default", "t", "r1")] == {"STARTED": 1, "LOST": 1}


class HistoryOfUsage(StoreSuite):
    """What attempts report: tokens, cost, refusals of a provider, and events."""

    async def test_usage_is_added_up(self, store: Store) -> None:
        first, second = Usage(input_tokens=10, output_tokens=3, cost=0.25), Usage(output_tokens=4, cost=0.0000014)
        claimed = await start(store, *specs("a"))
        for _ in range(2):
            await finish(store, claimed, Retried(failure()), usage=first)
        await finish(store, await claim_job(store, "a"), Succeeded("1"), usage=second)
        assert await measured(store, Count.INPUT_TOKENS, Count.OUTPUT_TOKENS, Count.COST_MICROS) == [10, 7, 250_001]

    @pytest.mark.parametrize(
        ("outcome", "counted"),
        [(Retried(failure()), 1), (Released(5.0), 1), (Failed(failure()), 1), (Succeeded("1"), 0)],
    )
    async def test_throttled_attempts_that_did_not_succeed_are_counted(
        self, store: Store, outcome: Outcome, counted: int
    ) -> None:
        claimed = await start(store, *specs("a"))
        for _ in range(2):
            await finish(store, claimed, outcome, throttled=True)
        assert await measured(store, Count.THROTTLED) == [counted]

    async def test_events_of_an_attempt_are_counted_once(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        for _ in range(2):
            await append_tokens(store, claimed, 1, "one", "two")
        for _ in range(2):
            await finish(store, claimed, Retried(failure()), *tokens("two", "three"), ordinal=2)
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        assert await measured(store, Count.EVENTS) == [3]

    async def test_the_time_to_the_first_event_and_from_it_to_the_end_is_counted(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(2)
        await append_tokens(store, claimed, 1, "one")
        clock.advance(3)
        await append_tokens(store, claimed, 1, "one")
        await append_tokens(store, claimed, 2, "two")
        clock.advance(4)
        await finish(store, claimed, Succeeded("1"))
        assert await measured(store, Count.FIRST_EVENT_MS, Count.STREAM_MS, Count.RUN_MS) == [2000, 7000, 9000]
        assert await buckets(store, Count.FIRST_EVENT) == {bucket_of(2): 1}

    async def test_a_first_event_may_come_with_the_end(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(2)
        await finish(store, claimed, Succeeded("1"), *tokens("one"))
        assert await measured(store, Count.FIRST_EVENT_MS, Count.STREAM_MS, Count.EVENTS) == [2000, 0, 1]
        assert await buckets(store, Count.FIRST_EVENT) == {bucket_of(2): 1}

    async def test_an_attempt_without_events_has_no_first_event(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        await finish(store, claimed, Retried(failure()))
        again = await claim_job(store, "a")
        await store.append([EventAppend(lease=again.lease, ordinal=1, entries=())])
        clock.advance(5)
        await finish(store, again, Succeeded("1"))
        assert await measured(store, Count.FIRST_EVENT_MS, Count.STREAM_MS, Count.EVENTS) == [0, 0, 1]
        assert sum((await buckets(store, Count.FIRST_EVENT)).values()) == 1
