"""Removal of finished jobs, without any leftovers."""

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    claim_job,
    failure,
    finish,
    pass_time,
    rate_limit,
    read_log,
    record,
    slot_limit,
    specs,
    start,
    states,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.batch import BatchSpec
from sidelane.model.job import FINISHED, UNFINISHED, FollowUp, JobRecord, JobSpec, Query, State, Tombstone
from sidelane.model.outcome import AttemptResult, Failed, Retried, Succeeded
from sidelane.model.schedule import Schedule, ScheduleTick
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class Removal(StoreSuite):
    """Which jobs `remove` removes."""

    async def test_a_removed_job_is_removed_with_all_its_data(self, store: Store) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", user="u", key="k", unique="only"))
        await finish(store, claimed, Succeeded("1"), *tokens("one"))
        assert await store.remove(["a"]) == [True]
        assert await store.get(["a"]) == [Tombstone("a", "u")]
        assert await store.read("a") is None
        assert await store.list_jobs(Query()) == []
        assert await store.list_jobs(Query(key="k")) == []
        assert await store.cancel(["a"]) == [None]
        assert await store.requeue(["a"]) == [None]
        await submit(store, JobSpec(id="b", task="t", user="u", unique="only"))

    async def test_an_unfinished_or_unknown_job_is_not_removed(self, store: Store) -> None:
        await submit(store, *specs("queued", "running"), JobSpec(id="delayed", task="t", delay=60))
        await claim_job(store, "running")
        names = ["queued", "running", "delayed", "unknown"]
        before = await store.get(names)
        assert await store.remove(names) == [False] * 4
        assert await store.get(names) == before

    async def test_a_job_with_unfinished_children_is_not_removed(self, store: Store) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow"))
        await finish(store, await start(store, JobSpec(id="a", task="t", follow_ups=(follow,))), Succeeded("1"))
        assert await store.remove(["a"]) == [False]
        await record(store, "a")
        await store.cancel(["a.1.0"])
        assert await store.remove(["a", "a.1.0"]) == [True, True]

    async def test_removing_twice_changes_nothing(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        await store.cancel(["a", "b"])
        assert await store.remove(["a"]) == [True]
        assert await store.remove(["a", "b"]) == [False, True]
        assert await store.get(["a", "b"]) == [Tombstone("a", None), Tombstone("b", None)]
        assert await store.remove([]) == []

    async def test_the_tombstone_of_a_removed_job_goes_after_its_retention(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, JobSpec(id="a", task="t", retention=30))
        await store.cancel(["a"])
        await store.remove(["a"])
        await pass_time(store, clock, 25)
        assert await store.get(["a"]) == [Tombstone("a", None)]
        await pass_time(store, clock, 45)
        assert await store.get(["a"]) == [None]

    async def test_many_jobs_are_removed_in_one_call(self, store: Store) -> None:
        many = [f"j{n}" for n in range(450)]
        await submit(store, *specs(*many, "left"))
        await store.cancel(many)
        assert await store.remove([*many[:200], "left", *many[200:]]) == [*[True] * 200, False, *[True] * 250]
        assert [job.id for job in await store.list_jobs(Query())] == ["left"]


class RequeueWithArguments(StoreSuite):
    """Requeue with new arguments."""

    async def test_a_job_may_be_requeued_with_other_arguments(self, store: Store) -> None:
        spec = JobSpec(id="a", task="t", arguments='{"n": 1}', user="u", labels={"x": "y"})
        await finish(store, await start(store, spec), Failed(failure()))
        (back,) = await store.requeue(["a"], arguments='{"n": "\u00fc"}')
        assert isinstance(back, JobRecord)
        assert back == await record(store, "a")
        assert (back.spec.arguments, back.spec.user, back.spec.labels) == ('{"n": "\u00fc"}', "u", {"x": "y"})
        claimed = await claim_job(store, "a")
        assert claimed.record.spec.arguments == '{"n": "\u00fc"}'

    async def test_requeue_without_arguments_keeps_the_last_ones(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", arguments='{"n": 1}')), Failed(failure()))
        await store.requeue(["a"], arguments='{"n": 2}')
        await store.cancel(["a"])
        await store.requeue(["a"])
        assert (await record(store, "a")).spec.arguments == '{"n": 2}'

    async def test_a_rejected_requeue_keeps_the_arguments(self, store: Store) -> None:
        limit = slot_limit(1, "reject")
        await finish(store, await start(store, JobSpec(id="a", task="t", limits=(limit,))), Failed(failure()))
        await submit(store, *specs("b", limits=(limit,)))
        before = await store.get(["a", "b"])
        await store.requeue(["a", "b", "unknown"], arguments='{"n": 2}')
        assert await store.get(["a", "b"]) == before


class NoLeftovers(StoreSuite):
    """Once every retention is over, the store is empty."""

    async def test_nothing_is_left_behind_of_limits_batches_and_jobs(self, store: Store, clock: ManualClock) -> None:
        await store.open_batch(BatchSpec(id="many", retention=30, follow_ups=(FollowUp(FINISHED, specs("")[0]),)))
        limits = (
            (slot_limit(2, "reject", "mine"),),
            (slot_limit(1, "wait", "gpu"), rate_limit(5, 10.0, "wait", burst=5)),
            (slot_limit(2, "replace", "chat"), slot_limit(30, "reject", "mine")),
            (rate_limit(4, 20.0, "reject", burst=4, name="asked"), slot_limit(1, "wait", "gpu", key="other")),
        )
        for number in range(40):
            await store.submit(
                [
                    JobSpec(
                        id=f"j{number}", task="t", user=f"u{number % 3}", retention=20, max_worker_losses=number % 2,
                        limits=limits[number % 4], batch="many" if number % 3 else None, priority=number % 5,
                        parent="j1" if number % 7 == 6 else None, cascade=number % 7 == 6,
                        expires=25 if number % 5 == 0 else None,
                    )
                ]
            )  # fmt: skip
        await store.seal_batch("many")
        rounds = 0
        while await store.list_jobs(Query(states=UNFINISHED, limit=1)):
            rounds += 1
            assert rounds < 200, "something is never given out"
            claimed = await claim(store, worker=f"w{rounds}", limit=3)
            claimed += await claim(store, worker=f"w{rounds}", limit=3, isolated=True)
            if rounds % 5:
                await store.finish(
                    [
                        AttemptResult(lease=each.lease, outcome=Succeeded("1") if rounds % 3 else Retried(failure()))
                        for each in claimed
                    ]
                )
            if rounds == 4:
                await store.cancel(["j1", "j2", "j3"])
            await pass_time(store, clock, LEASE / 4)
        counted = [each for each in await store.limits() if not each.id.startswith(("often", "asked"))]
        assert counted == []
        batch = await store.get_batch("many")
        assert batch is not None
        assert (batch.unfinished, batch.state.finished) == (0, True)
        await store.remove([f"j{number}" for number in range(0, 40, 9)])
        await pass_time(store, clock, 120)
        assert await store.limits() == []
        assert await store.get_batch("many") is None
        found = await store.list_jobs(Query(limit=1000))
        assert {job.id.partition(".")[0] for job in found} <= {"many"}  # a follow-up is kept for its own time
        await store.remove([job.id for job in found])
        assert await store.list_jobs(Query()) == []
        assert {each.queued + each.running for each in await store.stats()} == {0}

    async def test_a_schedule_leaves_nothing_but_the_jobs_it_has_submitted(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.upsert_schedule(Schedule(name="s", spec=JobSpec(id="", task="t"), every=60.0))
        await store.fire(
            ScheduleTick(name="s", previous=clock(), at=clock(), next=clock() + 60, specs=tuple(specs("a")))
        )
        await store.delete_schedule("s")
        assert (await store.list_schedules()).records == ()
        assert await states(store, "a") == [State.QUEUED]
        assert await read_log(store, "a") == []
