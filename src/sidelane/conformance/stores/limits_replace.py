"""Limits with `on_limit="replace"`: a new job cancels the oldest and starts when it has ended (rule 14)."""

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    blocking_limits,
    claim,
    claim_job,
    end_event,
    finish,
    heartbeat,
    ids,
    limit_usage,
    record,
    slot_limit,
    specs,
    start,
    states,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import FINISHED, FollowUp, JobRecord, JobSpec, State, Submission
from sidelane.model.outcome import Cancelled, LeaseStatus, Succeeded
from sidelane.stores.contract import Store, job_topic, worker_topic

ONE = slot_limit(1, "replace")
TWO = slot_limit(2, "replace")


class ReplacingLimits(StoreSuite):
    """Which jobs a submit replaces."""

    async def test_a_queued_job_is_replaced_at_once(self, store: Store) -> None:
        await submit(store, *specs("a", limits=(ONE,)))
        async with store.watch(job_topic("a")) as wakeups:
            await submit(store, *specs("b", limits=(ONE,)))
            assert await wakeups.wait(HINT_TIMEOUT)
        assert await states(store, "a", "b") == [State.CANCELLED, State.QUEUED]
        assert (await end_event(store, "a"))["state"] == "cancelled"
        assert ids(await claim(store)) == ["b"]

    async def test_a_replaced_running_job_is_cancelled_before_the_new_one_starts(self, store: Store) -> None:
        holder = await start(store, *specs("a", limits=(ONE,)))
        async with store.watch(worker_topic("w")) as wakeups:
            await submit(store, *specs("b", limits=(ONE,)))
            assert await wakeups.wait(HINT_TIMEOUT)
        assert await heartbeat(store, "w", holder.lease) == [LeaseStatus.CANCEL]
        assert await claim(store) == []
        assert await blocking_limits(store, "b") == ["few/k"]
        assert await limit_usage(store) == {"few/k": (1, 1)}
        await finish(store, holder, Cancelled())
        assert ids(await claim(store)) == ["b"]
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_a_replaced_job_may_still_succeed(self, store: Store) -> None:
        holder = await start(store, *specs("a", limits=(ONE,)))
        await submit(store, *specs("b", limits=(ONE,)))
        await finish(store, holder, Succeeded("1"))
        assert await states(store, "a") == [State.SUCCEEDED]
        assert ids(await claim(store)) == ["b"]

    async def test_a_limit_reduced_by_many_slots_replaces_in_steps(self, store: Store) -> None:
        many = [f"j{n}" for n in range(250)]
        await submit(store, *specs(*many, limits=(slot_limit(250, "replace"),)))
        other = slot_limit(1, "replace", key="other")
        await submit(store, *specs("of-another", limits=(other,)))
        await store.submit([*specs("new", "newer", limits=(ONE,)), *specs("another", limits=(other,))])
        assert (await states(store, *many)).count(State.CANCELLED) < 210
        assert await states(store, "of-another") == [State.CANCELLED]
        await submit(store, *specs("newest", limits=(ONE,)))
        assert set(await states(store, *many, "new", "newer")) == {State.CANCELLED}
        assert ids(await claim(store)) == ["another", "newest"]

    async def test_children_of_a_replaced_job_are_cancelled_before_the_next_job_of_the_call(self, store: Store) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow"))
        child = JobSpec(id="child", task="t", queue="other", parent="a", cascade=True, follow_ups=(follow,))
        await submit(store, *specs("a", limits=(ONE,)), child)
        answers = await store.submit([JobSpec(id=each, task="t", limits=(ONE,), max_queued=2) for each in "bc"])
        assert [isinstance(answer, Submission) for answer in answers] == [True, False]
        assert await states(store, "a", "child", "child.1.0") == [State.CANCELLED, State.CANCELLED, State.QUEUED]

    async def test_delayed_and_blocked_jobs_are_replaced_at_once(self, store: Store) -> None:
        await submit(store, JobSpec(id="delayed", task="t", delay=60, limits=(ONE,)))
        holder = await start(store, *specs("a", limits=(ONE,)))
        assert await states(store, "delayed") == [State.CANCELLED]
        await submit(store, *specs("b", limits=(ONE,)))
        assert await claim(store) == []
        await submit(store, *specs("c", limits=(ONE,)))
        assert await states(store, "a", "b", "c") == [State.RUNNING, State.CANCELLED, State.QUEUED]
        await finish(store, holder, Cancelled())
        assert ids(await claim(store)) == ["c"]

    async def test_only_the_oldest_jobs_beyond_the_limit_are_replaced(self, store: Store) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        assert await states(store, "a", "b") == [State.QUEUED] * 2
        await submit(store, *specs("c", limits=(TWO,), priority=-9))
        assert await states(store, "a", "b", "c") == [State.CANCELLED, State.QUEUED, State.QUEUED]
        await submit(store, *specs("d", limits=(ONE,)))
        assert await states(store, "b", "c", "d") == [State.CANCELLED, State.CANCELLED, State.QUEUED]

    async def test_a_job_with_a_cancel_request_is_not_counted(self, store: Store) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        await claim(store)
        await store.cancel(["b"])
        await submit(store, *specs("c", limits=(TWO,)))
        assert [(await record(store, job_id)).cancel_requested for job_id in "abc"] == [False, True, False]
        await submit(store, *specs("d", limits=(TWO,)))
        assert [(await record(store, job_id)).cancel_requested for job_id in "abcd"] == [True, True, False, False]

    async def test_a_finished_job_is_not_counted(self, store: Store) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        await finish(store, await claim_job(store, "b"), Succeeded("1"))
        await submit(store, *specs("c", limits=(TWO,)))
        await store.cancel(["c"])
        await submit(store, *specs("d", limits=(TWO,)))
        assert await states(store, "a", "d") == [State.QUEUED] * 2

    async def test_a_requeued_job_keeps_its_age_for_replacement(self, store: Store) -> None:
        await submit(store, *specs("a", limits=(TWO,)))
        await finish(store, await claim_job(store, "a"), Succeeded("1"))
        await submit(store, *specs("b", "c", limits=(TWO,)))
        await store.cancel(["c"])
        await store.requeue(["a"])
        assert await states(store, "a", "b") == [State.QUEUED] * 2
        await submit(store, *specs("d", limits=(TWO,)))
        assert await states(store, "a", "b", "d") == [State.CANCELLED, State.QUEUED, State.QUEUED]

    async def test_jobs_of_another_key_are_not_replaced(self, store: Store) -> None:
        other = slot_limit(1, "replace", key="other")
        await submit(store, *specs("a", limits=(other,)), *specs("b"))
        await submit(store, *specs("c", limits=(ONE,)), *specs("d", limits=(ONE,)))
        assert await states(store, *"abcd") == [State.QUEUED, State.QUEUED, State.CANCELLED, State.QUEUED]

    async def test_a_repeated_submit_replaces_nothing(self, store: Store) -> None:
        first, second = (JobSpec(id=id_, task="t", unique=id_, limits=(TWO,)) for id_ in "ab")
        await submit(store, first, second)
        again = JobSpec(id="c", task="t", unique="a", limits=(TWO,))
        for answer in await store.submit([first, second, again, first]):
            assert isinstance(answer, Submission)
            assert not answer.created
        assert await states(store, "a", "b") == [State.QUEUED] * 2

    async def test_a_rejected_job_replaces_nothing(self, store: Store) -> None:
        full = slot_limit(1, "reject", "full")
        await submit(store, *specs("a", limits=(ONE,)), *specs("b", limits=(full,)))
        await submit_rejected(store, *specs("c", limits=(ONE, full)))
        await submit_rejected(store, JobSpec(id="d", task="t", max_queued=1, limits=(ONE,)))
        assert await states(store, "a") == [State.QUEUED]

    async def test_a_replaced_job_releases_all_its_slots_and_submits_its_follow_ups(self, store: Store) -> None:
        follow = FollowUp(frozenset({State.CANCELLED}), JobSpec(id="", task="follow"))
        second_limit = slot_limit(2, "reject", "mine")
        await submit(store, JobSpec(id="a", task="t", limits=(ONE, second_limit), follow_ups=(follow,)))
        await submit(store, *specs("b", limits=(ONE, second_limit)))
        assert await limit_usage(store) == {"mine/k": (1, 0)}
        assert await states(store, "a.1.0") == [State.QUEUED]

    async def test_a_submit_returns_the_state_of_its_jobs_after_replacement(self, store: Store) -> None:
        records = await submit(store, *specs("a", "b", "c", limits=(ONE,)))
        assert [job.state for job in records] == [State.CANCELLED, State.CANCELLED, State.QUEUED]
        assert records == await store.get(["a", "b", "c"])

    async def test_of_many_submitted_in_one_call_the_last_is_left(self, store: Store) -> None:
        many = [f"j{n}" for n in range(450)]
        await submit(store, *specs(*many, limits=(ONE,)))
        found = [job for job in await store.get(many) if isinstance(job, JobRecord)]
        assert [job.id for job in found if job.state is State.QUEUED] == ["j449"]
        assert ids(await claim(store)) == ["j449"]
        assert await limit_usage(store) == {"few/k": (1, 0)}
