"""External tasks: jobs that are dispatched to external workers, which finish them with the lease (rules 8 and 12)."""

import math
from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    HINT_TIMEOUT,
    INVALID_SPECS,
    LEASE,
    append_tokens,
    blocking_limits,
    claim,
    claim_job,
    end_event,
    event_texts,
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
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobSpec, Query, State
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    Failed,
    LeaseStatus,
    Outcome,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.worker import Claimed, ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, job_topic, queue_topic

A = JobSpec(id="a", task="t")

TIMEOUT = 3 * LEASE
"""Timeout of an external job, in seconds."""


def dispatch_job(job_id: str) -> JobSpec:
    """Return the dispatch job of a job."""
    return JobSpec(id=f"{job_id}.dispatch", task="send", queue="side", parent=job_id)


def dispatch_result(claimed: Claimed, timeout: float = TIMEOUT) -> AttemptResult:
    return AttemptResult(lease=claimed.lease, outcome=Dispatched(timeout, dispatch_job(claimed.record.id)))


async def dispatch(store: Store, claimed: Claimed, timeout: float = TIMEOUT) -> None:
    """Dispatch a running job."""
    assert await store.finish([dispatch_result(claimed, timeout)]) == [True]


async def start_external(store: Store, spec: JobSpec, timeout: float = TIMEOUT, *, worker: str = "w") -> Claimed:
    """Submit, claim and dispatch a job. Returns the claim, whose lease the external worker uses."""
    claimed = await start(store, spec, worker=worker)
    await dispatch(store, claimed, timeout)
    return claimed


class Dispatching(StoreSuite):
    """The step that dispatches a job."""

    async def test_a_dispatched_job_keeps_its_lease_and_has_no_worker(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        assert (claimed.record.worker, claimed.record.external_lease) == ("w", None)
        clock.advance(4)
        await dispatch(store, claimed)
        job = await record(store, "a")
        assert job == replace(
            claimed.record, worker=None, last_worker=None, external_lease=claimed.lease, transitions=job.transitions
        )
        assert [each.external_lease for each in await store.list_jobs(Query(states=frozenset({State.RUNNING})))] == [
            claimed.lease
        ]
        assert {each.name: each.running for each in await store.stats()} == {"default": 1, "side": 0}

    async def test_the_dispatch_job_is_submitted_in_the_same_step(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        async with store.watch(job_topic("a")) as wakeups, store.watch(queue_topic("side")) as wakeups_of_queue:
            await dispatch(store, claimed)
            assert await wakeups.wait(HINT_TIMEOUT)
            assert await wakeups_of_queue.wait(HINT_TIMEOUT)
        job = await record(store, "a.dispatch")
        assert (job.spec, job.state, job.submitted) == (dispatch_job("a"), State.QUEUED, clock())
        assert ids(await claim(store, queues={"side": 1})) == ["a.dispatch"]

    async def test_last_entries_are_kept_and_the_external_worker_continues_their_numbers(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await append_tokens(store, claimed, 1, "one")
        report = replace(dispatch_result(claimed), ordinal=2, entries=tokens("two"))
        assert await store.finish([report]) == [True]
        assert await event_texts(store, "a") == ["one", "two"]
        assert await append_tokens(store, claimed, 2, "seen", "three")
        assert await event_texts(store, "a") == ["one", "two", "three"]

    async def test_a_repeated_dispatch_changes_nothing_and_returns_true(self, store: Store, clock: ManualClock) -> None:
        claimed = await start_external(store, A)
        await store.cancel(["a.dispatch"])
        await store.remove(["a.dispatch"])
        await append_tokens(store, claimed, 1, "one")
        await pass_time(store, clock, TIMEOUT / 2)
        before = await store.get(["a", "a.dispatch"])
        await dispatch(store, claimed)
        assert await store.get(["a", "a.dispatch"]) == before
        assert (await pass_time(store, clock, 0.75 * TIMEOUT)).lost == 1

    async def test_an_existing_dispatch_job_is_not_submitted_again(self, store: Store) -> None:
        (there,) = await submit(store, replace(dispatch_job("a"), task="another"))
        await start_external(store, A)
        assert await record(store, "a.dispatch") == there

    async def test_the_dispatch_job_passes_every_limit(self, store: Store) -> None:
        full = slot_limit(1, "reject")
        await submit(store, replace(dispatch_job("b"), limits=(full,)))
        claimed = await start(store, *specs("a"))
        spec_sent = replace(dispatch_job("a"), limits=(full,), max_queued=1)
        assert await finish(store, claimed, Dispatched(TIMEOUT, spec_sent))
        assert (await record(store, "a.dispatch")).spec == spec_sent

    async def test_an_invalid_dispatch_job_fails_its_job_and_no_other(self, store: Store) -> None:
        invalid: list[Outcome] = [
            *(Dispatched(TIMEOUT, replace(spec, id=f"invalid{index}")) for index, spec in enumerate(INVALID_SPECS)),
            Dispatched(TIMEOUT, JobSpec(id="no id", task="send")),
            Dispatched(math.nan, dispatch_job("x")),
        ]
        names = [f"j{index}" for index in range(len(invalid))]
        await submit(store, *specs(*names, "last"))
        claimed = await claim(store)
        reports = [
            AttemptResult(lease=each.lease, outcome=outcome) for each, outcome in zip(claimed, invalid, strict=False)
        ]
        assert await store.finish([*reports, dispatch_result(claimed[-1])]) == [True] * len(claimed)
        for name in names:
            job = await record(store, name)
            assert (job.state, job.problem and job.problem.status) == (State.FAILED, 422)
        assert await states(store, "last", "last.dispatch") == [State.RUNNING, State.QUEUED]
        assert ids(await claim(store, queues={"side": 99, "default": 99})) == ["last.dispatch"]

    async def test_a_repeated_claim_does_not_return_a_dispatched_job(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        request = ClaimRequest(request=new_nonce(), worker="w", queues={"default": 2}, limit=2, lease=LEASE)
        first, second = (await store.claim(request)).jobs
        await dispatch(store, first)
        assert (await store.claim(request)).jobs == (second,)

    async def test_many_jobs_are_dispatched_in_one_call(self, store: Store) -> None:
        many = [f"j{n}" for n in range(250)]
        await submit(store, *specs(*many))
        claimed = await claim(store, limit=250)
        assert await store.finish([dispatch_result(each) for each in claimed]) == [True] * 250
        assert set(await states(store, *(f"{name}.dispatch" for name in many))) == {State.QUEUED}
        assert [each.external_lease for each in await store.list_jobs(Query(task="t", limit=250))] == [
            each.lease for each in reversed(claimed)
        ]


class ExternalJobs(StoreSuite):
    """A job while it is external."""

    async def test_a_caller_with_the_lease_may_append_and_finish(self, store: Store) -> None:
        claimed = await start_external(store, replace(A, follow_ups=(FOLLOW_UP,)))
        assert await append_tokens(store, claimed, 1, "one")
        assert await finish(store, claimed, Succeeded('"done"'), *tokens("two"), ordinal=2)
        job = await record(store, "a")
        assert (job.state, job.result, job.worker, job.external_lease) == (State.SUCCEEDED, '"done"', None, None)
        assert (job.attempt, job.failures, job.worker_losses, job.ends) == (1, 0, 0, 1)
        assert await event_texts(store, "a") == ["one", "two", "end"]
        assert await states(store, "a.1.0") == [State.QUEUED]

    async def test_an_external_job_ends_with_any_outcome(self, store: Store) -> None:
        outcomes: list[tuple[Outcome, State, int]] = [
            (Failed(failure()), State.FAILED, 1),
            (Cancelled(), State.CANCELLED, 0),
            (Retried(failure()), State.QUEUED, 1),
            (Released(), State.QUEUED, 0),
        ]
        for index, (outcome, state, failures) in enumerate(outcomes):
            claimed = await start_external(store, replace(A, id=f"j{index}"))
            assert await finish(store, claimed, outcome)
            job = await record(store, f"j{index}")
            assert (job.state, job.failures) == (state, failures)
            assert (job.worker_losses, job.external_lease) == (0, None)
        await dispatch(store, await claim_job(store, "j2"))
        assert (await record(store, "j2")).attempt == 2

    async def test_a_repeated_finish_returns_true_and_a_late_one_changes_nothing(self, store: Store) -> None:
        claimed = await start_external(store, A)
        assert await finish(store, claimed, Succeeded("1"))
        before = await record(store, "a")
        assert await finish(store, claimed, Succeeded("2"))
        assert await store.finish([dispatch_result(claimed)]) == [True]
        assert not await append_tokens(store, claimed, 1, "late")
        assert await record(store, "a") == before

    async def test_another_lease_changes_nothing(self, store: Store) -> None:
        claimed = await start_external(store, A)
        before = await record(store, "a")
        for lease in replace(claimed.lease, nonce=new_nonce()), replace(claimed.lease, attempt=2):
            forged = replace(claimed, lease=lease)
            assert not await finish(store, forged, Succeeded("1"))
            assert not await append_tokens(store, forged, 1, "one")
            assert await store.finish([dispatch_result(forged)]) == [False]
        assert await record(store, "a") == before

    async def test_a_heartbeat_returns_lost_and_renews_nothing(self, store: Store, clock: ManualClock) -> None:
        claimed = await start_external(store, A)
        for _ in range(8):
            assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.LOST]
            assert (await pass_time(store, clock, LEASE / 3)).lost == 0
            assert (await record(store, "a")).external_lease == claimed.lease
        lost = 0
        for _ in range(3):
            assert await heartbeat(store, "w", claimed.lease) == [LeaseStatus.LOST]
            lost += (await pass_time(store, clock, LEASE / 3)).lost
        assert lost == 1

    async def test_an_external_job_keeps_its_slots_until_it_ends(self, store: Store) -> None:
        limits = slot_limit(1, "wait"), slot_limit(1, "reject", "mine")
        claimed = await start_external(store, replace(A, limits=limits))
        await submit(store, *specs("b", limits=limits[:1]))
        assert await claim(store) == []
        assert await limit_usage(store) == {"few/k": (1, 1), "mine/k": (1, 0)}
        await finish(store, claimed, Succeeded("1"))
        assert await limit_usage(store) == {}
        assert ids(await claim(store)) == ["b"]

    async def test_an_external_job_is_neither_removed_nor_requeued(self, store: Store) -> None:
        await start_external(store, A)
        before = await record(store, "a")
        assert await store.remove(["a"]) == [False]
        assert await store.requeue(["a"]) == [before]
        assert await record(store, "a") == before

    async def test_a_finished_external_job_can_be_requeued(self, store: Store) -> None:
        claimed = await start_external(store, A)
        await finish(store, claimed, Failed(failure()))
        await store.requeue(["a"])
        job = await record(store, "a")
        assert (job.state, job.external_lease, job.failures) == (State.QUEUED, None, 0)
        assert not await finish(store, claimed, Succeeded("late"))
        again = await claim_job(store, "a")
        await finish(store, again, Dispatched(TIMEOUT, JobSpec(id="again", task="send")))
        assert (await record(store, "a")).external_lease == again.lease


class ExternalJobCancellation(StoreSuite):
    """An external worker cannot be asked to stop, so cancellation ends the job at once (rule 8)."""

    async def test_a_job_with_a_cancel_request_is_cancelled_instead_of_dispatched(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        await store.cancel(["a"])
        await dispatch(store, claimed)
        await dispatch(store, claimed)
        assert await states(store, "a") == [State.CANCELLED]
        assert (await end_event(store, "a"))["state"] == "cancelled"
        assert await store.get(["a.dispatch"]) == [None]

    async def test_cancelling_an_external_job_ends_it_at_once(self, store: Store, clock: ManualClock) -> None:
        claimed = await start_external(store, replace(A, follow_ups=(FOLLOW_UP,)))
        await append_tokens(store, claimed, 1, "one")
        clock.advance(3)
        assert await store.cancel(["a"]) == await store.get(["a"])
        job = await record(store, "a")
        assert (job.state, job.ended, job.cancel_requested, job.external_lease) == (
            State.CANCELLED,
            clock(),
            False,
            None,
        )
        assert await event_texts(store, "a") == ["one", "end"]
        assert (await end_event(store, "a"))["state"] == "cancelled"
        assert await states(store, "a.1.0") == [State.QUEUED]
        for outcome in Succeeded("late"), Dispatched(TIMEOUT, dispatch_job("a")):
            assert not await finish(store, claimed, outcome)
        assert await record(store, "a") == job

    async def test_an_abandoned_external_job_is_cancelled_at_once(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start_external(store, replace(A, abandon_after=LEASE / 2))
        await store.touch_listeners(["a"])
        swept = await pass_time(store, clock, LEASE)
        assert (swept.ended, swept.lost) == (1, 0)
        assert await states(store, "a") == [State.CANCELLED]

    async def test_a_job_that_replaces_an_external_one_starts_at_once(self, store: Store) -> None:
        limit = slot_limit(1, "replace")
        await start_external(store, replace(A, limits=(limit,)))
        await submit(store, *specs("b", limits=(limit,)))
        assert await states(store, "a") == [State.CANCELLED]
        assert await blocking_limits(store, "b") == [None]
        assert ids(await claim(store)) == ["b"]
        assert await limit_usage(store) == {"few/k": (1, 0)}

    async def test_an_external_job_and_its_dispatch_job_are_cancelled_with_their_parent(self, store: Store) -> None:
        await submit(store, *specs("parent"))
        claimed = await start(store, JobSpec(id="a", task="t", parent="parent", cascade=True))
        await finish(store, claimed, Dispatched(TIMEOUT, replace(dispatch_job("a"), cascade=True)))
        await store.cancel(["parent"])
        assert await states(store, "a", "a.dispatch") == [State.CANCELLED] * 2


class ExternalJobTimeout(StoreSuite):
    """An external job that is not finished in time is a worker loss (rule 7)."""

    async def test_an_external_job_without_completion_in_time_is_lost_and_runs_again(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start_external(store, A)
        assert (await pass_time(store, clock, 0.95 * TIMEOUT)).lost == 0
        assert (await pass_time(store, clock, LEASE)).lost == 1
        job = await record(store, "a")
        assert (job.state, job.worker_losses, job.failures, job.external_lease) == (State.QUEUED, 1, 0, None)
        assert [(each.attempt, each.problem.status) for each in job.history] == [(1, 504)]
        again = await claim_job(store, "a")
        for outcome in Succeeded("late"), Dispatched(TIMEOUT, dispatch_job("late")):
            assert not await finish(store, claimed, outcome)
        assert not await append_tokens(store, claimed, 1, "late")
        assert (await record(store, "a")).worker == "w"
        assert await store.get(["late.dispatch"]) == [None]
        assert await finish(store, again, Succeeded("1"))

    async def test_an_overdue_external_job_may_still_finish_until_it_is_swept(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start_external(store, A)
        clock.advance(2 * TIMEOUT)
        assert await append_tokens(store, claimed, 1, "one")
        assert await finish(store, claimed, Succeeded("1"))
        assert await states(store, "a") == [State.SUCCEEDED]

    async def test_an_external_job_beyond_its_worker_losses_fails_with_a_reason(
        self, store: Store, clock: ManualClock
    ) -> None:
        await start_external(store, JobSpec(id="never", task="t", max_worker_losses=0, follow_ups=(FOLLOW_UP,)))
        await start_external(store, JobSpec(id="once", task="t", max_worker_losses=1))
        await pass_time(store, clock, TIMEOUT + LEASE)
        assert await states(store, "never", "once") == [State.FAILED, State.QUEUED]
        await dispatch(store, await claim_job(store, "once"))
        await pass_time(store, clock, TIMEOUT + LEASE)
        for name, count in ("never", 1), ("once", 2):
            job = await record(store, name)
            assert (job.state, job.worker_losses, job.failures, len(job.history)) == (State.FAILED, count, 0, count)
            assert job.problem is not None
            assert (await end_event(store, name))["problem"] == job.problem.document()
            assert job.problem.status == 504
        assert await states(store, "never.1.0") == [State.QUEUED]

    async def test_an_external_job_outlives_the_worker_that_dispatched_it(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("b", "c"))
        await claim_job(store, "b", worker="before")
        await pass_time(store, clock, 3 * LEASE)
        claimed = await start_external(store, A, 6 * LEASE)
        for job_id in "bc":
            await claim_job(store, job_id)
        await pass_time(store, clock, 3 * LEASE)
        assert [(await record(store, job_id)).worker_losses for job_id in "abc"] == [0, 2, 1]
        assert (await record(store, "a")).external_lease == claimed.lease
        assert await finish(store, claimed, Succeeded("1"))

    async def test_each_overdue_external_job_is_one_loss(self, store: Store, clock: ManualClock) -> None:
        await start_external(store, A)
        await pass_time(store, clock, TIMEOUT + LEASE)
        await submit(store, *specs("b"))
        for job_id in "ab":
            await finish(store, await claim_job(store, job_id), Dispatched(TIMEOUT, dispatch_job("none")))
        assert (await pass_time(store, clock, TIMEOUT + LEASE)).lost == 2
        assert [(await record(store, job_id)).worker_losses for job_id in "ab"] == [2, 1]

    async def test_a_sweep_expires_at_most_limit_external_jobs(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(25))))
        await store.finish([dispatch_result(each, 1.0) for each in await claim(store)])
        await store.sweep(lease=LEASE, limit=10)
        lost = []
        for _ in range(6):
            clock.advance(LEASE / 4)
            lost.append((await store.sweep(lease=LEASE, limit=10)).lost)
        assert (sum(lost), max(lost)) == (25, 10)

    async def test_a_sweep_returns_when_the_next_external_job_expires(self, store: Store, clock: ManualClock) -> None:
        assert (await store.sweep(lease=LEASE)).next_loss is None
        await start_external(store, A, 2.0)
        clock.advance(0.5)
        assert (await store.sweep(lease=LEASE)).next_loss == pytest.approx(1.5)

    async def test_after_a_long_pause_an_external_job_gets_one_whole_lease(
        self, store: Store, clock: ManualClock
    ) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start_external(store, A)
        clock.advance(100 * LEASE)
        await store.sweep(lease=LEASE)
        assert (await pass_time(store, clock, 0.95 * LEASE)).lost == 0
        assert (await pass_time(store, clock, LEASE)).lost == 1

    async def test_a_clock_step_back_extends_no_external_timeout(self, store: Store, clock: ManualClock) -> None:
        await pass_time(store, clock, 2 * LEASE)
        await start_external(store, A)
        clock.advance(-3600)
        assert (await pass_time(store, clock, 0.95 * TIMEOUT)).lost == 0
        assert (await pass_time(store, clock, 2 * LEASE)).lost == 1

    async def test_a_deadline_that_passes_at_the_external_worker_fails_the_job_at_its_timeout(
        self, store: Store, clock: ManualClock
    ) -> None:
        spec = replace(A, deadline=LEASE, follow_ups=(FOLLOW_UP,))
        await start_external(store, spec)
        completed = await start_external(store, replace(spec, id="b"))
        await pass_time(store, clock, 2 * LEASE)
        assert await states(store, "a", "b") == [State.RUNNING] * 2
        assert await finish(store, completed, Succeeded("1"))
        await pass_time(store, clock, 2 * LEASE)
        assert await states(store, "a", "b") == [State.FAILED, State.SUCCEEDED]
        assert (await end_event(store, "a"))["problem"]["title"] == "Deadline passed"
        assert await states(store, "a.1.0") == [State.QUEUED]
