"""Limits with `on_limit="reject"`: a job has its slot from submit to end (rule 14)."""

from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    blocking_limits,
    claim,
    claim_job,
    failure,
    finish,
    ids,
    limit_usage,
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
from sidelane.model.job import FINISHED, FollowUp, JobRecord, JobSpec, Query, Rejection, State, Submission
from sidelane.model.limit import LimitHit
from sidelane.model.outcome import Cancelled, Failed, Outcome, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store

ONE = slot_limit(1, "reject")
TWO = slot_limit(2, "reject")
PATIENT = slot_limit(1, "wait")
"""The same limit for a follow-up."""


class RejectingLimits(StoreSuite):
    """Rejected submits."""

    async def test_a_job_beyond_the_limit_is_rejected_and_the_limit_is_named(self, store: Store) -> None:
        await submit(store, *specs("a", "b", limits=(TWO,)))
        refused = await submit_rejected(store, *specs("c", limits=(TWO,)))
        assert (refused.problem.status, refused.problem.extra["violated-policies"]) == (429, ["few"])
        assert refused.reached == (LimitHit(TWO),)
        assert refused.retry_after is not None
        assert refused.retry_after > 0
        assert await store.get(["c"]) == [None]
        assert await limit_usage(store) == {"few/k": (2, 0)}

    async def test_a_limit_counts_only_jobs_of_its_own_name_and_key(self, store: Store) -> None:
        await submit(store, *specs("a", limits=(ONE,)))
        await submit(store, *specs("b", limits=(slot_limit(1, "reject", key="other"),)))
        await submit(store, *specs("c", limits=(slot_limit(1, "reject", name="fewer"),)), *specs("d"))
        assert await limit_usage(store) == {"few/k": (1, 0), "few/other": (1, 0), "fewer/k": (1, 0)}

    async def test_jobs_of_one_limit_count_together_whatever_their_user_task_and_queue(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="answer", queue="x", user="u", limits=(ONE,)))
        await submit_rejected(store, JobSpec(id="b", task="speak", queue="y", user="v", limits=(ONE,)))

    async def test_waiting_delayed_and_running_jobs_all_count(self, store: Store) -> None:
        limit = slot_limit(3, "reject")
        await submit(store, *specs("a", "b", limits=(limit,)), JobSpec(id="c", task="t", delay=60, limits=(limit,)))
        await claim_job(store, "a")
        assert await limit_usage(store) == {"few/k": (3, 0)}
        await submit_rejected(store, *specs("d", limits=(limit,)))

    async def test_jobs_of_one_call_are_admitted_up_to_the_limit(self, store: Store) -> None:
        answers = await store.submit([*specs("a", "b", "c", limits=(TWO,)), *specs("d")])
        assert [isinstance(answer, Submission) for answer in answers] == [True, True, False, True]

    async def test_all_limits_hit_are_named_and_no_other_limit_is_used(self, store: Store) -> None:
        full, free, fuller = (
            slot_limit(1, "reject", "full"),
            slot_limit(1, "reject", "room"),
            slot_limit(2, "reject", "fuller"),
        )
        await submit(store, *specs("a", limits=(full, fuller)), *specs("b", limits=(fuller,)))
        refused = await submit_rejected(store, *specs("c", limits=(full, free, fuller)))
        assert refused.problem.extra["violated-policies"] == ["full", "fuller"]
        assert [each.limit for each in refused.reached] == [full, fuller]
        assert await limit_usage(store) == {"full/k": (1, 0), "fuller/k": (2, 0)}
        await submit(store, *specs("d", limits=(free,)))

    async def test_a_rejected_job_may_be_submitted_again(self, store: Store) -> None:
        claimed = await start(store, *specs("a", limits=(ONE,)))
        await submit_rejected(store, JobSpec(id="b", task="t", unique="only", limits=(ONE,)))
        await submit(store, JobSpec(id="c", task="t", unique="only"))
        await store.cancel(["c"])
        await finish(store, claimed, Succeeded("1"))
        await submit(store, JobSpec(id="b", task="t", unique="only", limits=(ONE,)))
        assert ids(await claim(store)) == ["b"]

    async def test_a_repeated_submit_is_not_rejected_by_its_own_slot(self, store: Store) -> None:
        spec = JobSpec(id="a", task="t", unique="only", limits=(ONE,))
        await submit(store, spec)
        for again in spec, JobSpec(id="b", task="t", unique="only", limits=(ONE,)):
            (answer,) = await store.submit([again])
            assert isinstance(answer, Submission)
            assert (answer.created, answer.record.id) == (False, "a")
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_a_repeated_submit_of_a_finished_job_returns_it_though_its_limit_is_full(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a", limits=(ONE,))), Succeeded("1"))
        await submit(store, *specs("b", limits=(ONE,)))
        (answer,) = await store.submit(specs("a", limits=(ONE,)))
        assert isinstance(answer, Submission)
        assert (answer.created, answer.record.result) == (False, "1")

    async def test_a_follow_up_acquires_the_slot_that_its_parent_releases(self, store: Store) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", limits=(PATIENT,)))
        claimed = await start(store, JobSpec(id="a", task="t", limits=(ONE,), follow_ups=(follow,)))
        await finish(store, claimed, Succeeded("1"))
        assert ids(await claim(store)) == ["a.1.0"]
        await submit_rejected(store, *specs("b", limits=(ONE,)))

    async def test_a_follow_up_whose_limit_is_full_waits(self, store: Store) -> None:
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", limits=(PATIENT,)))
        claimed = await start(store, JobSpec(id="a", task="t", follow_ups=(follow,)))
        await submit(store, *specs("b", limits=(ONE,)))
        await finish(store, claimed, Succeeded("1"))
        (holder,) = await claim(store)
        assert (holder.record.id, await blocking_limits(store, "a.1.0")) == ("b", ["few/k"])
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store)) == ["a.1.0"]


class RejectingLimitRelease(StoreSuite):
    """A slot is released when its job ends, and no sooner."""

    @pytest.mark.parametrize(
        "outcome", [Succeeded("1"), Failed(failure()), Cancelled()], ids=lambda outcome: type(outcome).__name__
    )
    async def test_a_finished_job_releases_its_slot(self, store: Store, outcome: Outcome) -> None:
        await finish(store, await start(store, *specs("a", limits=(ONE,))), outcome)
        assert await limit_usage(store) == {}
        await submit(store, *specs("b", limits=(ONE,)))

    async def test_a_job_that_never_ran_releases_its_slot(self, store: Store, clock: ManualClock) -> None:
        limit = slot_limit(4, "reject")
        await submit(store, *specs("cancelled", limits=(limit,)))
        await submit(store, JobSpec(id="late", task="t", expires=5, limits=(limit,)))
        await submit(store, JobSpec(id="too-late", task="t", deadline=5, limits=(limit,)))
        await submit(store, JobSpec(id="abandoned", task="t", abandon_after=5, limits=(limit,)))
        await store.touch_listeners(["abandoned"])
        await store.cancel(["cancelled"])
        assert await limit_usage(store) == {"few/k": (3, 0)}
        await pass_time(store, clock, 3 * LEASE)
        assert await limit_usage(store) == {}

    async def test_a_job_returned_to_its_queue_keeps_its_slot(self, store: Store, clock: ManualClock) -> None:
        limit = slot_limit(3, "reject")
        for job_id, outcome in ("retried", Retried(failure(), 60)), ("released", Released()):
            await finish(store, await start(store, *specs(job_id, limits=(limit,))), outcome)
        await start(store, *specs("lost", limits=(limit,)))
        await pass_time(store, clock, 3 * LEASE)
        assert await states(store, "retried", "released", "lost") == [State.QUEUED] * 3
        assert await limit_usage(store) == {"few/k": (3, 0)}
        await submit_rejected(store, *specs("another", limits=(limit,)))

    async def test_a_job_beyond_its_worker_losses_releases_its_slot(self, store: Store, clock: ManualClock) -> None:
        await start(store, JobSpec(id="a", task="t", max_worker_losses=0, limits=(ONE,)))
        await pass_time(store, clock, 3 * LEASE)
        assert await limit_usage(store) == {}

    async def test_a_running_job_with_a_cancel_request_keeps_its_rejecting_slot_until_it_ends(
        self, store: Store
    ) -> None:
        claimed = await start(store, *specs("a", limits=(ONE,)))
        await store.cancel(["a"])
        await submit_rejected(store, *specs("b", limits=(ONE,)))
        await finish(store, claimed, Cancelled())
        await submit(store, *specs("b", limits=(ONE,)))

    async def test_a_repeated_or_stale_finish_releases_no_slot(self, store: Store) -> None:
        claimed = await start(store, *specs("a", limits=(ONE,)))
        await finish(store, claimed, Succeeded("1"))
        await submit(store, *specs("b", limits=(ONE,)))
        await finish(store, claimed, Succeeded("1"))
        await store.cancel(["a"])
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_requeue_acquires_the_slots_of_its_limits_again(self, store: Store) -> None:
        other = slot_limit(1, "reject", "other")
        await finish(store, await start(store, *specs("a", limits=(ONE, other))), Failed(failure()))
        await store.requeue(["a"])
        assert await limit_usage(store) == {"few/k": (1, 0), "other/k": (1, 0)}
        await store.requeue(["a"])
        await submit_rejected(store, *specs("b", limits=(other,)))

    async def test_requeue_is_rejected_with_409_while_a_limit_is_full_and_acquires_nothing(self, store: Store) -> None:
        other = slot_limit(1, "reject", "other")
        await finish(store, await start(store, *specs("a", limits=(other, ONE))), Failed(failure()))
        await finish(store, await start(store, *specs("free")), Failed(failure()))
        await submit(store, *specs("b", limits=(ONE,)))
        before = await record(store, "a")
        refused, back = await store.requeue(["a", "free"])
        assert isinstance(refused, Rejection)
        assert refused.problem.status == 409
        assert refused.problem.extra["violated-policies"] == ["few"]
        assert [each.limit for each in refused.reached] == [ONE]
        assert isinstance(back, JobRecord)
        assert await record(store, "a") == before
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_the_message_of_a_limit_is_the_detail_of_its_refusals_and_is_kept_with_the_job(
        self, store: Store
    ) -> None:
        worded = replace(ONE, message='한 번에 하나만\n"가능합니다".')
        follow_up = JobSpec(id="", task="t", limits=(replace(PATIENT, message="다음"),))
        spec = JobSpec(id="a", task="t", limits=(worded,), follow_ups=(FollowUp(FINISHED, follow_up),))
        await finish(store, await start(store, spec), Failed(failure()))
        assert (await record(store, "a")).spec == spec
        (child,) = await store.list_jobs(Query(parent="a"))
        assert child.spec.limits == follow_up.limits
        await submit(store, *specs("b", limits=(ONE,)))
        (refused,) = await store.requeue(["a"])
        assert isinstance(refused, Rejection)
        assert refused.problem.detail == worded.message
        assert (await submit_rejected(store, *specs("c", limits=(worded,)))).problem.detail == worded.message

    async def test_limits_that_differ_in_their_message_share_their_slots(self, store: Store) -> None:
        first, second = (replace(ONE, message=message) for message in ("eins", "zwei"))
        await submit(store, *specs("a", limits=(first,)))
        refused = await submit_rejected(store, *specs("b", limits=(second, slot_limit(9, "reject", "free"))))
        assert refused.problem.detail == "zwei"
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_a_message_stands_alone_beside_limits_without_one(self, store: Store) -> None:
        plain, worded = slot_limit(1, "reject", "plain"), replace(ONE, message="하나만.")
        await submit(store, *specs("a", limits=(plain, worded)))
        refused = await submit_rejected(store, *specs("b", limits=(plain, worded)))
        assert refused.problem.detail == "하나만."
        assert refused.problem.extra["violated-policies"] == ["plain", "few"]

    async def test_jobs_requeued_together_return_up_to_the_limit(self, store: Store) -> None:
        for job_id in "abc":
            await finish(store, await start(store, *specs(job_id, limits=(TWO,))), Failed(failure()))
        answers = await store.requeue(["a", "b", "c"])
        assert [isinstance(answer, JobRecord) for answer in answers] == [True, True, False]
        assert await limit_usage(store) == {"few/k": (2, 0)}
