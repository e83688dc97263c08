"""Removed jobs: follow-ups of the removal, and tombstones that keep the id taken."""

from dataclasses import replace

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    HINT_TIMEOUT,
    blocking_limits,
    claim,
    claim_job,
    failure,
    finish,
    ids,
    pass_time,
    record,
    slot_limit,
    specs,
    start,
    states,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.batch import BatchSpec
from sidelane.model.job import REMOVED, FollowUp, JobRecord, JobSpec, State, Submission, Tombstone
from sidelane.model.outcome import Failed, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, queue_topic

CLEAN = FollowUp(REMOVED, JobSpec(id="", task="clean", queue="side"))
"""A follow-up of a job's removal."""


class RemovalFollowUps(StoreSuite):
    """Follow-ups that are submitted in the step that removes their job."""

    async def test_removal_by_retention_submits_follow_ups_without_a_parent(
        self, store: Store, clock: ManualClock
    ) -> None:
        template = replace(
            CLEAN.spec, arguments='{"n": 1}', user="u", parent="someone", delay=30, retention=77, trace="t"
        )
        await submit(store, JobSpec(id="a", task="t", retention=5, follow_ups=(FollowUp(REMOVED, template),)))
        await store.cancel(["a"])
        async with store.watch(queue_topic("side")) as wakeups:
            await pass_time(store, clock, 8)
            assert await wakeups.wait(HINT_TIMEOUT)
        assert await store.get(["a"]) == [Tombstone("a", None)]
        job = await record(store, "a.removed.0")
        assert job.spec == replace(template, id="a.removed.0", parent=None)
        assert job.state is State.QUEUED

    async def test_remove_submits_removal_follow_ups_once(self, store: Store) -> None:
        await submit(store, *(JobSpec(id=name, task="t", follow_ups=(CLEAN,)) for name in "ab"))
        await store.cancel(["a"])
        assert await store.remove(["a", "b", "a"]) == [True, False, False]
        assert await store.remove(["a"]) == [False]
        assert await states(store, "a.removed.0") == [State.QUEUED]
        assert await store.get(["b.removed.0"]) == [None]
        assert ids(await claim(store, queues={"side": 9})) == ["a.removed.0"]

    async def test_no_final_state_submits_removal_follow_ups(self, store: Store) -> None:
        spec = JobSpec(id="a", task="t", follow_ups=(CLEAN, FOLLOW_UP, CLEAN))
        await finish(store, await start(store, spec), Failed(failure()))
        await store.requeue(["a"])
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        await store.requeue(["a"])
        await store.cancel(["a"])
        wanted = [f"a.{step}.{index}" for step in (1, 2, 3, "removed") for index in range(3)]
        found = [name for name, job in zip(wanted, await store.get(wanted), strict=True) if job is not None]
        assert found == ["a.1.1", "a.2.1", "a.3.1"]

    async def test_the_id_of_a_removal_follow_up_has_its_index(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="t", follow_ups=(CLEAN, FOLLOW_UP, CLEAN)))
        await store.cancel(["a"])
        await store.cancel(["a.1.1"])
        assert await store.remove(["a"]) == [True]
        assert ids(await claim(store, queues={"side": 9, "default": 9})) == ["a.removed.0", "a.removed.2"]

    async def test_removal_follow_ups_join_an_open_batch_and_wait_for_their_limits(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        one = slot_limit(1, "wait")
        await submit(store, replace(CLEAN.spec, id="first", limits=(one,)))
        template = replace(CLEAN.spec, batch="many", limits=(one, slot_limit(1, "reject", "mine")), max_queued=1)
        await submit(store, *(JobSpec(id=name, task="t", follow_ups=(FollowUp(REMOVED, template),)) for name in "ab"))
        await store.cancel(["a", "b"])
        await store.remove(["a"])
        await store.seal_batch("many")
        await store.remove(["b"])
        batch = await store.get_batch("many")
        assert batch is not None
        assert (batch.total, batch.unfinished) == (1, 1)
        assert ids(await claim(store, queues={"side": 9})) == ["first"]
        assert await blocking_limits(store, "a.removed.0", "b.removed.0") == ["few/k"] * 2

    async def test_removal_follow_ups_have_their_own_removal_follow_ups(self, store: Store) -> None:
        first = replace(CLEAN, spec=replace(CLEAN.spec, follow_ups=(CLEAN,)))
        await submit(store, JobSpec(id="a", task="t", follow_ups=(first,)))
        for name in "a", "a.removed.0", "a.removed.0.removed.0":
            await store.cancel([name])
            assert await store.remove([name]) == [True]

    async def test_many_jobs_are_removed_with_their_follow_ups_in_chunks(
        self, store: Store, clock: ManualClock
    ) -> None:
        many = [f"j{n}" for n in range(250)]
        await submit(store, *(JobSpec(id=name, task="t", retention=5, follow_ups=(CLEAN,)) for name in many))
        await store.cancel(many)
        clock.advance(6)
        removed = [(await store.sweep(lease=10)).removed for _ in range(3)]
        assert (sum(removed), max(removed)) == (250, 200)
        assert set(await states(store, *(f"{name}.removed.0" for name in many))) == {State.QUEUED}


class IdRetention(StoreSuite):
    """`id_retention`: an id may stay taken longer than its job is kept (rule 13)."""

    async def test_the_id_of_a_removed_job_stays_taken_for_its_id_retention(
        self, store: Store, clock: ManualClock
    ) -> None:
        spec = JobSpec(id="a", task="t", user="u", retention=5, id_retention=60)
        await submit(store, spec)
        await store.cancel(["a"])
        await pass_time(store, clock, 40)
        assert await store.get(["a"]) == [Tombstone("a", "u")]
        assert (await submit_rejected(store, spec)).problem.status == 410
        await pass_time(store, clock, 40)
        assert await store.get(["a"]) == [None]
        await submit(store, spec)

    async def test_a_longer_retention_keeps_the_id_taken_for_longer(self, store: Store, clock: ManualClock) -> None:
        spec = JobSpec(id="a", task="t", retention=60, id_retention=5)
        await submit(store, spec)
        await store.cancel(["a"])
        await store.remove(["a"])
        await pass_time(store, clock, 50)
        assert (await submit_rejected(store, spec)).problem.status == 410
        await pass_time(store, clock, 30)
        await submit(store, spec)

    async def test_another_job_of_the_same_id_does_not_shorten_the_id_retention(
        self, store: Store, clock: ManualClock
    ) -> None:
        remembered, brief = (
            JobSpec(id="a", task="t", id_retention=60, retention=5),
            JobSpec(id="a", task="t", retention=5),
        )
        for spec in (remembered, brief):
            await submit(store, spec)
            await store.cancel(["a"])
            await store.remove(["a"])
        await pass_time(store, clock, 40)
        assert (await submit_rejected(store, remembered)).problem.status == 410

    async def test_a_submit_without_id_retention_is_not_rejected(self, store: Store) -> None:
        remembered = JobSpec(id="a", task="t", id_retention=60)
        await submit(store, remembered)
        await store.cancel(["a"])
        await store.remove(["a"])
        await submit_rejected(store, remembered)
        await submit(store, *specs("a"))
        (answer,) = await store.submit([remembered])
        assert isinstance(answer, Submission)
        assert (answer.created, answer.record.spec) == (False, *specs("a"))

    async def test_an_existing_job_is_returned_and_a_tombstone_precedes_the_unique_key(self, store: Store) -> None:
        spec = JobSpec(id="a", task="t", unique="k", id_retention=60)
        await submit(store, spec)
        (again,) = await store.submit([spec])
        assert isinstance(again, Submission)
        assert not again.created
        await store.cancel(["a"])
        await store.remove(["a"])
        await submit(store, JobSpec(id="b", task="t", unique="k"))
        refused, other = await store.submit([spec, replace(spec, id="c")])
        assert not isinstance(refused, Submission)
        assert refused.problem.status == 410
        assert isinstance(other, Submission)
        assert (other.created, other.record.id) == (False, "b")

    async def test_a_rejection_does_not_affect_others_of_its_call(self, store: Store) -> None:
        spec = JobSpec(id="a", task="t", id_retention=60)
        await submit(store, spec)
        await store.cancel(["a"])
        await store.remove(["a"])
        answers = await store.submit([spec, replace(spec, id="b"), *specs("c")])
        assert [isinstance(answer, Submission) for answer in answers] == [False, True, True]
        assert [isinstance(job, JobRecord) for job in await store.get(["a", "b", "c"])] == [False, True, True]
