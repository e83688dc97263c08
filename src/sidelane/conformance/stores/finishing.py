"""Finishing attempts in one atomic step (rule 8)."""

import json
from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    LEASE,
    append_tokens,
    claim,
    claim_job,
    end_event,
    event_texts,
    failure,
    finish,
    pass_time,
    read_log,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.event import END
from sidelane.model.history import MAX_USAGE, NO_USAGE, Usage
from sidelane.model.job import FINISHED, FollowUp, JobSpec, Query, State
from sidelane.model.outcome import AttemptResult, Cancelled, Failed, Lost, Outcome, Released, Retried, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class AttemptOutcomes(StoreSuite):
    """The effect of each outcome."""

    async def test_a_success_stores_its_result(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(7)
        assert await finish(store, claimed, Succeeded('{"n": 1}'))
        job = await record(store, "a")
        assert (job.state, job.result, job.problem) == (State.SUCCEEDED, '{"n": 1}', None)
        assert (job.ended, job.ends, job.failures) == (clock(), 1, 0)
        assert await end_event(store, "a") == {"id": "a", "state": "succeeded", "result": {"n": 1}}

    async def test_a_failure_stores_its_problem_and_history(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(7)
        assert await finish(store, claimed, Failed(failure("upstream is down", status=502)))
        job = await record(store, "a")
        problem = failure("upstream is down", status=502).problem
        assert (job.state, job.result, job.problem, job.ended) == (State.FAILED, None, problem, clock())
        (entry,) = job.history
        assert (entry.problem, entry.error, entry.traceback) == (problem, "RuntimeError: it broke", "line 1")
        assert (entry.attempt, entry.at) == (1, clock())
        assert await end_event(store, "a") == {"id": "a", "state": "failed", "problem": problem.document()}

    async def test_the_end_event_never_contains_the_error_or_traceback(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Failed(failure()))
        assert "RuntimeError" not in str(await read_log(store, "a"))
        assert "line 1" not in str(await read_log(store, "a"))

    async def test_a_retry_costs_one_failure_and_writes_no_event(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        assert await finish(store, claimed, Retried(failure(), delay=30))
        job = await record(store, "a")
        assert (job.state, job.failures, job.worker_losses, job.attempt, job.ends) == (State.QUEUED, 1, 0, 1, 0)
        assert (job.worker, job.problem, job.due) == (None, None, clock() + 30)
        assert [(entry.attempt, entry.problem) for entry in job.history] == [(1, failure().problem)]
        assert await read_log(store, "a") == []

    async def test_a_release_keeps_what_was_emitted(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Released(), *tokens("one"))
        assert await event_texts(store, "a") == ["one"]

    async def test_last_entries_come_before_the_end_and_the_end_is_the_last_event(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        await finish(store, claimed, Succeeded("1"), *tokens("two", "three"), ordinal=2)
        assert await event_texts(store, "a") == ["one", "two", "three", "end"]
        assert (await record(store, "a")).last == 4

    async def test_nothing_is_appended_after_the_end(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await finish(store, claimed, Succeeded("1"))
        assert not await append_tokens(store, claimed, 1, "late")
        assert await event_texts(store, "a") == ["end"]

    async def test_every_kind_of_end_writes_one_end_event(self, store: Store, clock: ManualClock) -> None:
        outcomes: dict[str, Outcome] = {"s": Succeeded("1"), "f": Failed(failure()), "c": Cancelled()}
        for job_id, outcome in outcomes.items():
            await finish(store, await start(store, *specs(job_id)), outcome)
        await submit(store, *specs("queued"))
        await store.cancel(["queued"])
        await start(store, JobSpec(id="lost", task="t", max_worker_losses=0))
        await submit(store, JobSpec(id="late", task="t", expires=1))
        await pass_time(store, clock, 3 * LEASE)
        for job_id in *outcomes, "queued", "lost", "late":
            await end_event(store, job_id)
            assert [event.name for event in await read_log(store, job_id)] == [END]
            assert (await record(store, job_id)).ends == 1

    async def test_many_finishes_in_one_call_have_an_answer_each(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(500))))
        claimed = await claim(store, limit=500)
        reports = [AttemptResult(lease=each.lease, outcome=Succeeded(f'"{each.record.id}"')) for each in claimed]
        assert await store.finish(reports) == [True] * 500
        assert (await record(store, "j499")).result == '"j499"'

    async def test_a_stale_result_does_not_affect_the_others_of_its_call(
        self, store: Store, clock: ManualClock
    ) -> None:
        stale = await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        fresh = await start(store, *specs("b"))
        reports = [AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in (stale, fresh)]
        assert await store.finish(reports) == [False, True]
        assert (await record(store, "b")).state is State.SUCCEEDED


class UsageOfJobs(StoreSuite):
    """A job keeps what its attempts used together."""

    async def test_a_new_job_has_used_nothing(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"))
        assert (await record(store, "a")).usage == NO_USAGE

    @pytest.mark.parametrize(
        "outcome", [Succeeded("1"), Failed(failure()), Cancelled(), Retried(failure()), Released(), Lost(failure())]
    )
    async def test_every_outcome_counts_once(self, store: Store, outcome: Outcome) -> None:
        used = Usage(input_tokens=10, output_tokens=3, cost=0.25)
        claimed = await start(store, *specs("a"))
        for _ in range(2):  # a repeated call adds nothing
            assert await finish(store, claimed, outcome, usage=used)
        assert (await record(store, "a")).usage == used
        assert [job.usage for job in await store.list_jobs(Query())] == [used]

    async def test_attempts_are_added_up_across_a_requeue(self, store: Store) -> None:
        used = Usage(input_tokens=10, output_tokens=3, cost=0.25)
        await finish(store, await start(store, *specs("a")), Retried(failure()), usage=used)
        await finish(store, await claim_job(store, "a"), Failed(failure()), usage=used)
        await store.requeue(["a"])
        claimed = await claim_job(store, "a")
        assert claimed.record.usage == Usage(input_tokens=20, output_tokens=6, cost=0.5)
        await finish(store, claimed, Succeeded("1"), usage=Usage(cost=0.000001))
        assert (await record(store, "a")).usage == Usage(input_tokens=20, output_tokens=6, cost=0.500001)

    async def test_a_lost_lease_adds_nothing(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        assert not await finish(store, claimed, Succeeded("1"), usage=Usage(input_tokens=7))
        assert (await record(store, "a")).usage == NO_USAGE

    async def test_sums_end_at_the_maximum(self, store: Store) -> None:
        largest = Usage(input_tokens=MAX_USAGE, output_tokens=MAX_USAGE, cost=MAX_USAGE)
        await finish(store, await start(store, *specs("a")), Retried(failure()), usage=largest)
        await finish(store, await claim_job(store, "a"), Succeeded("1"), usage=largest)
        assert (await record(store, "a")).usage == largest


class FollowUps(StoreSuite):
    """Follow-ups are submitted in the step that finishes their parent (rule 9)."""

    async def test_each_final_state_submits_its_follow_ups(self, store: Store) -> None:
        follow_ups = (
            FollowUp(FINISHED, JobSpec(id="", task="call_back")),
            FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="then")),
            FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="on_failure")),
            FollowUp(frozenset({State.CANCELLED}), JobSpec(id="", task="on_cancel")),
        )
        outcomes: dict[str, Outcome] = {"s": Succeeded("1"), "f": Failed(failure()), "c": Cancelled()}
        for job_id, outcome in outcomes.items():
            claimed = await start(store, JobSpec(id=job_id, task="t", follow_ups=follow_ups))
            await finish(store, claimed, outcome)
        for job_id, expected in {"s": {0, 1}, "f": {0, 2}, "c": {0, 3}}.items():
            found = await store.get([f"{job_id}.1.{index}" for index in range(4)])
            assert {index for index, job in enumerate(found) if job is not None} == expected

    async def test_a_follow_up_is_its_template_with_id_and_parent_filled_in(
        self, store: Store, clock: ManualClock
    ) -> None:
        last = FollowUp(FINISHED, JobSpec(id="", task="last"))
        template = JobSpec(
            id="",
            task="call_back",
            arguments='{"to": "x"}',
            queue="callbacks",
            user="u",
            priority=3,
            labels={"a": "b"},
            delay=30,
            trace="t",
            retention=5.0,
            max_worker_losses=1,
            follow_ups=(last,),
        )
        claimed = await start(store, JobSpec(id="a", task="t", follow_ups=(FollowUp(FINISHED, template),)))
        await finish(store, claimed, Succeeded("1"))
        job = await record(store, "a.1.0")
        assert job.spec == replace(template, id="a.1.0", parent="a")
        assert (job.state, job.submitted, job.due) == (State.QUEUED, clock(), clock() + 30)

    async def test_nothing_but_id_and_parent_is_filled_into_a_template(self, store: Store) -> None:
        template = JobSpec(id="", task="call_back")
        parent = JobSpec(
            id="a",
            task="t",
            user="u",
            queue="x",
            priority=5,
            key="k",
            labels={"a": "b"},
            trace="t",
            delay=0.0,
            retention=9.0,
        )
        await finish(
            store, await start(store, replace(parent, follow_ups=(FollowUp(FINISHED, template),))), Cancelled()
        )
        assert (await record(store, "a.1.0")).spec == replace(template, id="a.1.0", parent="a")

    async def test_a_cancelled_queued_job_submits_its_follow_ups(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="t", follow_ups=(FOLLOW_UP,)))
        await store.cancel(["a"])
        assert (await record(store, "a.1.0")).state is State.QUEUED

    async def test_a_job_beyond_its_worker_losses_submits_its_follow_ups(
        self, store: Store, clock: ManualClock
    ) -> None:
        follow = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="follow"))
        await start(store, JobSpec(id="a", task="t", max_worker_losses=0, follow_ups=(follow,)))
        await pass_time(store, clock, 3 * LEASE)
        assert (await record(store, "a.1.0")).state is State.QUEUED

    async def test_a_retry_or_release_submits_no_follow_ups(self, store: Store) -> None:
        for job_id, outcome in ("a", Retried(failure())), ("b", Released()):
            await finish(store, await start(store, JobSpec(id=job_id, task="t", follow_ups=(FOLLOW_UP,))), outcome)
        assert await store.get(["a.0.0", "a.1.0", "b.0.0", "b.1.0"]) == [None] * 4

    async def test_a_follow_up_can_be_claimed_and_has_its_own_follow_ups(self, store: Store) -> None:
        last = FollowUp(FINISHED, JobSpec(id="", task="last"))
        follow = FollowUp(FINISHED, JobSpec(id="", task="follow", follow_ups=(last,)))
        await finish(store, await start(store, JobSpec(id="a", task="t", follow_ups=(follow,))), Succeeded("1"))
        (claimed,) = await claim(store)
        assert claimed.record.id == "a.1.0"
        await finish(store, claimed, Succeeded("1"))
        assert (await record(store, "a.1.0.1.0")).spec.parent == "a.1.0"

    async def test_last_events_and_follow_ups_are_written_together(self, store: Store) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", follow_ups=(FOLLOW_UP,)))
        await finish(store, claimed, Succeeded("1"), *tokens("one"))
        assert await event_texts(store, "a") == ["one", "end"]
        assert json.loads((await read_log(store, "a"))[-1].data)["state"] == "succeeded"
        assert (await record(store, "a.1.0")).spec.parent == "a"
