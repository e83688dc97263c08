"""Cascading cancellation: children that are cancelled with their parent."""

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    LEASE,
    claim,
    claim_job,
    end_event,
    failure,
    finish,
    heartbeat,
    ids,
    limit_usage,
    pass_time,
    record,
    slot_limit,
    specs,
    start,
    states,
    submit,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import FollowUp, JobRecord, JobSpec, State
from sidelane.model.outcome import Cancelled, Failed, LeaseStatus, Outcome, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, worker_topic


def children(*job_ids: str, parent: str = "a") -> list[JobSpec]:
    return [JobSpec(id=job_id, task="t", parent=parent, cascade=True) for job_id in job_ids]


class CascadingCancellation(StoreSuite):
    """`cascade`: a child is cancelled when its parent ends as cancelled."""

    async def test_queued_children_are_cancelled_at_once_and_running_ones_are_asked(self, store: Store) -> None:
        await submit(store, *specs("a"), *children("queued", "running"))
        await submit(store, JobSpec(id="delayed", task="t", parent="a", cascade=True, delay=60))
        claimed = await claim_job(store, "running")
        async with store.watch(worker_topic("w")) as wakeups:
            await store.cancel(["a"])
            assert await wakeups.wait(HINT_TIMEOUT)
        assert await states(store, "a", "queued", "delayed") == [State.CANCELLED] * 3
        assert (await end_event(store, "queued"))["state"] == "cancelled"
        assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.CANCEL]

    async def test_children_without_cascade_and_other_jobs_are_not_cancelled(self, store: Store) -> None:
        await submit(store, *specs("a", "b"), JobSpec(id="free", task="t", parent="a"), *children("other", parent="b"))
        await store.cancel(["a"])
        assert await states(store, "b", "free", "other") == [State.QUEUED] * 3

    async def test_a_cancel_request_cancels_children_only_when_the_parent_ends(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await submit(store, *children("child"))
        await store.cancel(["a"])
        assert await states(store, "child") == [State.QUEUED]
        await finish(store, claimed, Retried(failure()))
        assert await states(store, "a", "child") == [State.CANCELLED] * 2

    async def test_a_parent_that_succeeds_or_fails_cancels_no_children(self, store: Store) -> None:
        outcomes: dict[str, Outcome] = {"a": Succeeded("1"), "b": Failed(failure())}
        for job_id, outcome in outcomes.items():
            claimed = await start(store, *specs(job_id))
            await submit(store, *children(f"child-{job_id}", parent=job_id))
            await finish(store, claimed, outcome)
        assert await states(store, "child-a", "child-b") == [State.QUEUED] * 2

    async def test_children_are_cancelled_whatever_cancels_the_parent(self, store: Store, clock: ManualClock) -> None:
        one = slot_limit(1, "replace")
        claimed = await start(store, *specs("itself"))
        await start(store, *specs("lost"))
        await store.cancel(["lost"])
        await submit(store, JobSpec(id="abandoned", task="t", abandon_after=5), *specs("replaced", limits=(one,)))
        parents = "itself", "lost", "abandoned", "replaced"
        for parent in parents:
            await submit(store, *children(f"child-{parent}", parent=parent))
        await store.touch_listeners(["abandoned"])
        await finish(store, claimed, Cancelled())
        await submit(store, *specs("newcomer", limits=(one,)))
        await pass_time(store, clock, 3 * LEASE)
        for parent in parents:
            assert await states(store, parent, f"child-{parent}") == [State.CANCELLED] * 2, parent

    async def test_cancellation_reaches_grandchildren(self, store: Store) -> None:
        await submit(store, *specs("a"), *children("b"), *children("c", "d", parent="b"), *children("e", parent="d"))
        claimed = await claim_job(store, "d")
        await store.cancel(["a"])
        await store.sweep(lease=LEASE)
        assert await states(store, *"abcde") == [*[State.CANCELLED] * 3, State.RUNNING, State.QUEUED]
        await finish(store, claimed, Cancelled())
        await store.sweep(lease=LEASE)
        assert await states(store, "d", "e") == [State.CANCELLED] * 2

    async def test_sweeps_cancel_more_children_than_one_step_may_touch(self, store: Store) -> None:
        many = [f"j{n}" for n in range(650)]
        await submit(store, *specs("a"), *children(*many))
        await store.cancel(["a"])
        for _ in range(8):
            await store.sweep(lease=LEASE)
        found = [job for job in await store.get(many) if isinstance(job, JobRecord)]
        assert {job.state for job in found} == {State.CANCELLED}

    async def test_sweeps_cancel_a_long_chain_of_children(self, store: Store) -> None:
        many = ["a", *(f"j{n}" for n in range(300))]
        await submit(store, *specs("a"))
        await submit(store, *(spec for n in range(300) for spec in children(many[n + 1], parent=many[n])))
        await store.cancel(["a"])
        for _ in range(8):
            while (await store.sweep(lease=LEASE)).more:
                pass
        assert set(await states(store, *many)) == {State.CANCELLED}

    async def test_a_cancelled_child_releases_its_slots_and_submits_its_follow_ups(self, store: Store) -> None:
        follow = FollowUp(frozenset({State.CANCELLED}), JobSpec(id="", task="follow"))
        limits = slot_limit(1, "reject", "mine"), slot_limit(1, "wait", "gpu")
        await submit(store, *specs("a"), *specs("holder", limits=(limits[1],)))
        holder = await claim_job(store, "holder")
        await submit(
            store, JobSpec(id="child", task="t", parent="a", cascade=True, limits=limits, follow_ups=(follow,))
        )
        assert ids(await claim(store, ids=("child",))) == []
        assert await limit_usage(store) == {"mine/k": (1, 0), "gpu/k": (1, 1)}
        await store.cancel(["a"])
        assert await limit_usage(store) == {"gpu/k": (1, 0)}
        assert await states(store, "child.1.0") == [State.QUEUED]
        await finish(store, holder, Succeeded("1"))
        assert await limit_usage(store) == {}

    async def test_follow_ups_of_a_cancelled_parent_are_not_cancelled(self, store: Store) -> None:
        follow = FollowUp(frozenset({State.CANCELLED}), JobSpec(id="", task="follow", cascade=True))
        await submit(store, JobSpec(id="a", task="t", follow_ups=(follow,)), *children("child"))
        await store.cancel(["a"])
        await store.sweep(lease=LEASE)
        assert await states(store, "child", "a.1.0") == [State.CANCELLED, State.QUEUED]

    async def test_a_cancelled_child_can_be_requeued_and_runs(self, store: Store) -> None:
        await submit(store, *specs("a"), *children("child"))
        await store.cancel(["a"])
        await store.requeue(["child"])
        await store.sweep(lease=LEASE)
        claimed = await claim_job(store, "child")
        await store.sweep(lease=LEASE)
        assert not (await record(store, "child")).cancel_requested
        assert await finish(store, claimed, Succeeded("1"))
        assert await states(store, "child") == [State.SUCCEEDED]
