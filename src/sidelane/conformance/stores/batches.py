"""Batches: jobs that are counted together until the last one has finished."""

import math

import pytest

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    INVALID_SPECS,
    LEASE,
    claim,
    claim_job,
    failure,
    finish,
    pass_time,
    record,
    slot_limit,
    specs,
    states,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.errors import JobRefused
from sidelane.model.job import DAY, FINISHED, FollowUp, JobRecord, JobSpec, Rejection, State, Submission
from sidelane.model.outcome import AttemptResult, Cancelled, Failed, Outcome, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, batch_topic

THEN = FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="then"))
ON_FAILURE = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="on_failure"))
ALWAYS = FollowUp(FINISHED, JobSpec(id="", task="call_back", user="u", queue="callbacks", parent="its-own", delay=5.0))


def members(*job_ids: str, batch: str = "many") -> list[JobSpec]:
    return [JobSpec(id=job_id, task="t", batch=batch) for job_id in job_ids]


async def batch(store: Store, batch_id: str = "many") -> BatchRecord:
    """Return a batch that must exist."""
    found = await store.get_batch(batch_id)
    assert found is not None
    return found


async def opened(store: Store, *job_ids: str, seal: bool = True) -> list[JobRecord]:
    """Open a batch with follow-ups of each kind, and submit its jobs."""
    await store.open_batch(BatchSpec(id="many", follow_ups=(THEN, ON_FAILURE, ALWAYS)))
    records = await submit(store, *members(*job_ids))
    if seal:
        await store.seal_batch("many")
    return records


async def counts(store: Store) -> tuple[int, int, int, int]:
    """Return the batch's counts: total, succeeded, failed, cancelled."""
    found = await batch(store)
    return found.total, found.succeeded, found.failed, found.cancelled


async def follow_ups(store: Store, end: int = 1) -> list[int]:
    """Return the indexes of the follow-ups that an end of the batch submitted."""
    found = await store.get([f"many.{end}.{index}" for index in range(3)])
    return [index for index, job in enumerate(found) if job is not None]


class BatchMembers(StoreSuite):
    """Membership and counts."""

    async def test_a_batch_keeps_its_spec_and_is_empty_at_first(self, store: Store, clock: ManualClock) -> None:
        spec = BatchSpec(id="many", user="u@example.org", retention=2 * DAY, follow_ups=(THEN, ALWAYS))
        opened = await store.open_batch(spec)
        assert opened == BatchRecord(spec=spec, submitted=clock())
        assert opened == await batch(store)
        assert opened.state is State.RUNNING

    async def test_opening_a_batch_twice_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        await opened(store, "a")
        before = await batch(store)
        clock.advance(5)
        assert await store.open_batch(BatchSpec(id="many", user="other")) == before
        assert await batch(store) == before

    async def test_an_invalid_batch_or_one_with_an_invalid_follow_up_is_refused(self, store: Store) -> None:
        invalid = [
            BatchSpec(id="not an id"),
            BatchSpec(id="many", user="\ud800"),
            BatchSpec(id="many", retention=math.nan),
            *(BatchSpec(id="many", follow_ups=(THEN, FollowUp(FINISHED, spec))) for spec in INVALID_SPECS),
        ]
        for spec in invalid:
            with pytest.raises(JobRefused) as refused:
                await store.open_batch(spec)
            assert refused.value.problem().status == 422
        assert await store.get_batch("many") is None

    async def test_an_unknown_batch_is_none(self, store: Store) -> None:
        assert await store.get_batch("nothing") is None
        assert await store.seal_batch("nothing") is None

    async def test_jobs_are_counted_when_submitted_and_when_finished(self, store: Store) -> None:
        await opened(store, *"abcde", seal=False)
        assert await counts(store) == (5, 0, 0, 0)
        outcomes: dict[str, Outcome] = {"a": Succeeded("1"), "b": Failed(failure()), "c": Cancelled()}
        for job_id, outcome in outcomes.items():
            await finish(store, await claim_job(store, job_id), outcome)
        await store.cancel(["d"])
        assert await counts(store) == (5, 1, 1, 2)
        assert (await batch(store)).unfinished == 1

    async def test_lost_and_expired_jobs_are_counted_as_failed(self, store: Store, clock: ManualClock) -> None:
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, JobSpec(id="lost", task="t", batch="many", max_worker_losses=0))
        await claim_job(store, "lost")
        await submit(store, JobSpec(id="late", task="t", batch="many", expires=5))
        await submit(store, JobSpec(id="abandoned", task="t", batch="many", abandon_after=5))
        await store.touch_listeners(["abandoned"])
        await store.seal_batch("many")
        await pass_time(store, clock, 3 * LEASE)
        assert await counts(store) == (3, 0, 2, 1)
        assert (await batch(store)).state is State.FAILED

    async def test_retried_and_released_jobs_are_not_counted_as_finished(
        self, store: Store, clock: ManualClock
    ) -> None:
        await opened(store, "a", "b", "c")
        for job_id, outcome in ("a", Retried(failure())), ("b", Released()):
            await finish(store, await claim_job(store, job_id), outcome)
        await claim_job(store, "c")
        await pass_time(store, clock, 3 * LEASE)
        assert await counts(store) == (3, 0, 0, 0)
        assert (await batch(store)).ended is None

    async def test_a_job_of_an_unknown_batch_is_rejected(self, store: Store) -> None:
        assert (await submit_rejected(store, *members("a"))).problem.status == 422
        assert await store.get(["a"]) == [None]

    async def test_a_job_of_a_sealed_batch_is_rejected(self, store: Store) -> None:
        await opened(store, "a")
        refused, other = await store.submit([*members("b"), *specs("c")])
        assert isinstance(refused, Rejection)
        assert refused.problem.status == 409
        assert isinstance(other, Submission)
        assert await store.get(["b"]) == [None]
        assert await counts(store) == (1, 0, 0, 0)

    async def test_a_repeated_submit_to_a_sealed_batch_returns_its_job_and_counts_once(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        spec = JobSpec(id="a", task="t", unique="only", batch="many")
        await submit(store, spec)
        await store.submit([spec])
        await store.seal_batch("many")
        for again in spec, JobSpec(id="b", task="t", unique="only", batch="many"):
            (answer,) = await store.submit([again])
            assert isinstance(answer, Submission)
            assert (answer.created, answer.record.id) == (False, "a")
        assert await counts(store) == (1, 0, 0, 0)

    async def test_a_rejected_job_is_not_counted(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        limit = slot_limit(1, "reject")
        await store.submit([JobSpec(id=job_id, task="t", batch="many", limits=(limit,)) for job_id in "abc"])
        assert await counts(store) == (1, 0, 0, 0)

    async def test_many_jobs_of_one_call_are_all_counted(self, store: Store) -> None:
        many = [f"j{n}" for n in range(450)]
        await opened(store, *many)
        assert await counts(store) == (450, 0, 0, 0)
        claimed = await claim(store, limit=450)
        await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed[:250]])
        await store.cancel([each.record.id for each in claimed[250:]])
        await store.finish([AttemptResult(lease=each.lease, outcome=Cancelled()) for each in claimed[250:]])
        assert await counts(store) == (450, 250, 0, 200)
        assert (await batch(store)).ends == 1

    async def test_jobs_of_several_batches_in_one_call_join_their_batches(self, store: Store) -> None:
        for name in "xy":
            await store.open_batch(BatchSpec(id=name))
        await submit(store, *members("a", "b", batch="x"), *members("c", batch="y"))
        assert [(await batch(store, name)).total for name in "xy"] == [2, 1]


class BatchCompletion(StoreSuite):
    """The end of a batch and its follow-ups."""

    @pytest.mark.parametrize(
        ("outcome", "state", "expected"),
        [
            (Succeeded("1"), State.SUCCEEDED, [0, 2]),
            (Failed(failure()), State.FAILED, [1, 2]),
            (Cancelled(), State.FAILED, [1, 2]),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_a_batch_ends_with_its_last_job_and_submits_the_follow_ups_for_its_state(
        self, store: Store, clock: ManualClock, outcome: Outcome, state: State, expected: list[int]
    ) -> None:
        await opened(store, "a", "b")
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        assert ((await batch(store)).ended, await follow_ups(store)) == (None, [])
        clock.advance(5)
        await finish(store, await claim_job(store, "b"), outcome)
        found = await batch(store)
        assert (found.state, found.ended, found.ends) == (state, clock(), 1)
        assert await follow_ups(store) == expected

    async def test_a_follow_up_of_a_batch_is_its_template_with_its_id_filled_in(
        self, store: Store, clock: ManualClock
    ) -> None:
        await opened(store, "a")
        await store.cancel(["a"])
        job = await record(store, "many.1.2")
        template = ALWAYS.spec
        assert (job.spec.task, job.spec.user, job.spec.queue) == (template.task, template.user, template.queue)
        assert (job.spec.parent, job.due) == ("its-own", clock() + 5)
        assert (await record(store, "many.1.1")).spec.parent is None
        assert (await record(store, "many.1.1")).spec.batch is None

    async def test_an_unsealed_batch_does_not_end(self, store: Store) -> None:
        await opened(store, "a", seal=False)
        await store.cancel(["a"])
        assert ((await batch(store)).ended, await follow_ups(store)) == (None, [])
        await submit(store, *members("b"))
        sealed = await store.seal_batch("many")
        assert sealed is not None
        assert (sealed.sealed, sealed.ended) == (True, None)
        await store.cancel(["b"])
        assert (await batch(store)).ended is not None

    async def test_sealing_a_batch_whose_jobs_are_finished_ends_it(self, store: Store, clock: ManualClock) -> None:
        await opened(store, "a", seal=False)
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        clock.advance(3)
        sealed = await store.seal_batch("many")
        assert sealed == await batch(store)
        assert sealed is not None
        assert (sealed.state, sealed.ended, sealed.ends) == (State.SUCCEEDED, clock(), 1)
        assert await follow_ups(store) == [0, 2]

    async def test_an_empty_batch_succeeds_when_sealed(self, store: Store) -> None:
        await opened(store)
        assert (await batch(store)).state is State.SUCCEEDED
        assert await follow_ups(store) == [0, 2]

    async def test_sealing_twice_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        await opened(store, "a")
        assert await store.seal_batch("many") == await batch(store)
        await store.cancel(["a"])
        before = await batch(store)
        clock.advance(5)
        assert await store.seal_batch("many") == before
        assert (await batch(store), await follow_ups(store, 2)) == (before, [])

    async def test_a_repeated_finish_is_counted_once(self, store: Store) -> None:
        await opened(store, "a", "b")
        claimed = await claim_job(store, "a")
        for _ in range(3):
            await finish(store, claimed, Succeeded("1"))
            await store.cancel(["a"])
        assert await counts(store) == (2, 1, 0, 0)

    async def test_a_requeued_job_reopens_its_batch(self, store: Store) -> None:
        await opened(store, "a", "b")
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        await finish(store, await claim_job(store, "b"), Failed(failure()))
        await store.requeue(["b"])
        found = await batch(store)
        assert (found.state, found.ended, found.sealed, found.unfinished) == (State.RUNNING, None, True, 1)
        assert await counts(store) == (2, 1, 0, 0)
        await finish(store, await claim_job(store, "b"), Succeeded("2"))
        found = await batch(store)
        assert (found.state, found.ends) == (State.SUCCEEDED, 2)
        assert (await follow_ups(store, 1), await follow_ups(store, 2)) == ([1, 2], [0, 2])

    async def test_jobs_requeued_together_are_all_uncounted(self, store: Store) -> None:
        await opened(store, "a", "b", "c")
        await store.cancel(["a", "b"])
        await store.requeue(["a", "b", "a", "c"])
        assert await counts(store) == (3, 0, 0, 0)
        await store.cancel(["a", "b", "c"])
        assert (await counts(store), (await batch(store)).ends) == ((3, 0, 0, 3), 1)

    async def test_a_follow_up_of_a_sealed_or_unknown_batch_runs_without_it(self, store: Store) -> None:
        for name in "sealed", "unknown":
            follow = FollowUp(FINISHED, JobSpec(id="", task="follow", batch=name))
            await submit(store, JobSpec(id=name, task="t", follow_ups=(follow,)))
        await store.open_batch(BatchSpec(id="sealed"))
        await submit(store, *members("member", batch="sealed"))
        await store.seal_batch("sealed")
        await store.cancel(["sealed", "unknown"])
        assert (await batch(store, "sealed")).total == 1
        await store.open_batch(BatchSpec(id="unknown"))
        for name in "sealed", "unknown":
            await finish(store, await claim_job(store, f"{name}.1.0"), Succeeded("1"))
        await store.cancel(["member"])
        await store.seal_batch("unknown")
        assert [(await batch(store, name)).ended is not None for name in ("sealed", "unknown")] == [True, True]
        assert [(await batch(store, name)).total for name in ("sealed", "unknown")] == [1, 0]

    async def test_a_follow_up_may_join_an_open_batch(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", batch="many"))
        await submit(store, JobSpec(id="a", task="t", follow_ups=(follow,)))
        await store.cancel(["a"])
        assert await counts(store) == (1, 0, 0, 0)
        await store.seal_batch("many")
        await finish(store, await claim_job(store, "a.1.0"), Succeeded("1"))
        assert (await batch(store)).state is State.SUCCEEDED

    async def test_a_changed_batch_notifies_its_topic(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        async with store.watch(batch_topic("many")) as wakeups:
            await submit(store, *members("a"))
            assert await wakeups.wait(HINT_TIMEOUT)
            await store.seal_batch("many")
            assert await wakeups.wait(HINT_TIMEOUT)
            await finish(store, await claim_job(store, "a"), Failed(failure()))
            assert await wakeups.wait(HINT_TIMEOUT)
            await store.requeue(["a"])
            assert await wakeups.wait(HINT_TIMEOUT)


class BatchRetention(StoreSuite):
    """Retention of batches."""

    async def test_a_batch_is_kept_for_its_retention_after_its_end(self, store: Store, clock: ManualClock) -> None:
        await store.open_batch(BatchSpec(id="many", retention=30))
        await submit(store, *members("a"))
        await store.seal_batch("many")
        await pass_time(store, clock, 60)
        await store.cancel(["a"])
        await pass_time(store, clock, 28)
        assert (await batch(store)).cancelled == 1
        await pass_time(store, clock, 6)
        assert await store.get_batch("many") is None

    async def test_an_unsealed_batch_is_removed_once_it_has_no_unfinished_jobs(
        self, store: Store, clock: ManualClock
    ) -> None:
        for name in "xyz":
            await store.open_batch(BatchSpec(id=name, retention=30))
        await submit(store, *members("a", batch="x"), *members("b", batch="y"))
        await store.cancel(["b"])
        await pass_time(store, clock, 28)
        assert (await batch(store, "z")).total == 0
        await pass_time(store, clock, 6)
        assert [(await store.get_batch(name)) is None for name in "xyz"] == [False, True, True]
        await store.cancel(["a"])
        await pass_time(store, clock, 6)
        assert await store.get_batch("x") is None

    async def test_removed_jobs_stay_counted_in_their_batch(self, store: Store, clock: ManualClock) -> None:
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, JobSpec(id="a", task="t", batch="many", retention=5), *members("b"))
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        await store.seal_batch("many")
        await pass_time(store, clock, 10)
        await finish(store, await claim_job(store, "b"), Succeeded("1"))
        assert (await batch(store)).state is State.SUCCEEDED
        await store.remove(["b"])
        assert await counts(store) == (2, 2, 0, 0)

    async def test_jobs_may_outlive_their_batch(self, store: Store, clock: ManualClock) -> None:
        await store.open_batch(BatchSpec(id="many", retention=10))
        await submit(store, *members("a"))
        await store.cancel(["a"])
        await store.seal_batch("many")
        await pass_time(store, clock, 20)
        assert await store.get_batch("many") is None
        await store.requeue(["a"])
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        assert await states(store, "a") == [State.SUCCEEDED]
        assert await store.get_batch("many") is None

    async def test_a_follow_up_may_join_a_batch_in_the_sweep_that_would_remove_it(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.open_batch(BatchSpec(id="many", retention=5))
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", batch="many"))
        await submit(store, JobSpec(id="a", task="t", expires=10, follow_ups=(follow,)))
        clock.advance(20)
        for _ in range(3):
            await store.sweep(lease=LEASE)
        assert await states(store, "a") == [State.FAILED]
        await finish(store, await claim_job(store, "a.1.0"), Succeeded("1"))
        assert await states(store, "a.1.0") == [State.SUCCEEDED]

    async def test_many_batches_are_removed_in_chunks(self, store: Store, clock: ManualClock) -> None:
        for number in range(210):
            await store.open_batch(BatchSpec(id=f"b{number}", retention=3))
            await store.seal_batch(f"b{number}")
        swept = await pass_time(store, clock, 5)
        while swept.more:
            swept = await store.sweep(lease=LEASE)
        assert [await store.get_batch(f"b{number}") for number in (0, 100, 209)] == [None] * 3
