"""Transitions of a job: what happened to it and when, and the times of its events."""

from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    append_tokens,
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
    submit,
    tokens,
)
from sidelane.conformance.stores.external_tasks import dispatch, start_external
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, Query
from sidelane.model.outcome import EventAppend, Failed, Lost, Outcome, Released, Retried, Succeeded
from sidelane.model.transition import (
    MAX_TRANSITIONS,
    Change,
    Transition,
    last_start,
    load_transitions,
    timeline,
)
from sidelane.model.worker import WorkerInfo
from sidelane.stores.clock import NEW_YEAR_2027, ManualClock
from sidelane.stores.contract import Store

ONE = slot_limit(1, "wait")


async def transitions(store: Store, job_id: str) -> list[tuple[Change, float, str, str]]:
    """Return everything that happened to a job, with seconds since the start of the manual clock."""
    found = timeline(await record(store, job_id))
    return [(each.change, round(each.at - NEW_YEAR_2027, 3), each.detail, each.release) for each in found]


async def changes(store: Store, job_id: str) -> list[Change]:
    return [change for change, *_ in await transitions(store, job_id)]


class Transitions(StoreSuite):
    """The timeline of a job."""

    async def test_a_job_keeps_everything_that_happened_to_it(self, store: Store, clock: ManualClock) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        clock.advance(1)
        await submit(store, *specs("a", limits=(ONE,)))
        clock.advance(1)
        assert await claim(store) == []
        clock.advance(1)
        await finish(store, holder, Succeeded("1"))
        clock.advance(1)
        claimed = await claim_job(store, "a", worker="w1", release="r1")
        clock.advance(0.5)
        await append_tokens(store, claimed, 1, "one")
        clock.advance(0.5)
        await append_tokens(store, claimed, 2, "two")
        await finish(store, claimed, Retried(failure()))
        clock.advance(1)
        await finish(store, await claim_job(store, "a", worker="w2", release="r2"), Failed(failure()), *tokens("x"))
        clock.advance(1)
        await store.requeue(["a"])
        clock.advance(1)
        claimed = await claim_job(store, "a", worker="w3")
        clock.advance(1)
        await finish(store, claimed, Succeeded("1"))
        assert await transitions(store, "a") == [
            (Change.SUBMITTED, 1, "", ""),
            (Change.BLOCKED, 2, "few/k", ""),
            (Change.UNBLOCKED, 3, "", ""),
            (Change.STARTED, 4, "w1", "r1"),
            (Change.FIRST_EVENT, 4.5, "", ""),
            (Change.RETRIED, 5, "", ""),
            (Change.STARTED, 6, "w2", "r2"),
            (Change.FIRST_EVENT, 6, "", ""),
            (Change.ENDED, 7 - 1, "failed", ""),
            (Change.REQUEUED, 7, "", ""),
            (Change.STARTED, 8, "w3", ""),
            (Change.ENDED, 9, "succeeded", ""),
        ]

    async def test_a_new_job_has_no_stored_transitions(self, store: Store) -> None:
        (job,) = await submit(store, *specs("a"))
        assert (job.transitions, job.first_event, job.last_event) == ("", None, None)
        assert await changes(store, "a") == [Change.SUBMITTED]

    @pytest.mark.parametrize(
        ("outcome", "change", "detail"),
        [
            (Retried(failure()), Change.RETRIED, ""),
            (Released(5.0), Change.RELEASED, ""),
            (Lost(replace(failure(), error="signal SIGKILL")), Change.LOST, "signal SIGKILL"),
        ],
    )
    async def test_an_attempt_that_another_follows_keeps_how_it_ended(
        self, store: Store, clock: ManualClock, outcome: Outcome, change: Change, detail: str
    ) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(2)
        for _ in range(2):
            await finish(store, claimed, outcome)
        assert (await transitions(store, "a"))[1:] == [(Change.STARTED, 0, "w", ""), (change, 2, detail, "")]

    async def test_a_swept_lease_is_lost_and_says_how_the_worker_died_if_that_is_known(
        self, store: Store, clock: ManualClock
    ) -> None:
        await start(store, *specs("a"), worker="dead")
        await start(store, *specs("b"), worker="silent")
        await store.heartbeat(WorkerInfo(id="dead", name="dead", exit="signal SIGKILL"), [], lease=LEASE)
        await store.sweep(lease=LEASE)
        assert (await transitions(store, "a"))[-1] == (Change.LOST, 0, "signal SIGKILL", "")
        await pass_time(store, clock, 3 * LEASE)
        change, at, detail, _ = (await transitions(store, "b"))[-1]
        assert (change, detail) == (Change.LOST, "")
        assert at >= LEASE

    async def test_a_dispatch_is_kept_once(self, store: Store, clock: ManualClock) -> None:
        claimed = await start_external(store, JobSpec(id="a", task="t"))
        await dispatch(store, claimed)
        assert await changes(store, "a") == [Change.SUBMITTED, Change.STARTED, Change.DISPATCHED]
        clock.advance(3)
        await append_tokens(store, claimed, 1, "one")
        await finish(store, claimed, Succeeded("1"))
        assert (await transitions(store, "a"))[2:] == [
            (Change.DISPATCHED, 0, "", ""),
            (Change.FIRST_EVENT, 3, "", ""),
            (Change.ENDED, 3, "succeeded", ""),
        ]

    @pytest.mark.parametrize("claims", [1, 5])
    async def test_a_job_whose_limit_stays_full_is_blocked_once(self, store: Store, claims: int) -> None:
        await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", limits=(ONE,)))
        for _ in range(claims):
            assert await claim(store) == await claim(store, ids=("a",)) == []
        await store.cancel(["a"])
        assert await changes(store, "a") == [Change.SUBMITTED, Change.BLOCKED, Change.ENDED]

    async def test_a_blocked_job_that_is_claimed_by_id_is_unblocked(self, store: Store) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,)))
        await submit(store, *specs("a", "b", limits=(ONE,)))
        assert await claim(store) == []
        await finish(store, holder, Succeeded("1"))
        assert ids(await claim(store, ids=("b",))) == ["b"]
        assert await changes(store, "b") == [Change.SUBMITTED, Change.BLOCKED, Change.UNBLOCKED, Change.STARTED]

    async def test_the_last_start_names_worker_and_release(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a"), worker="w1", release="r1"), Released())
        await claim_job(store, "a", worker="w2", release="r2")
        assert last_start(await record(store, "a")) == Transition(Change.STARTED, NEW_YEAR_2027, "w2", "r2")

    async def test_the_oldest_transitions_are_dropped_beyond_their_maximum_size(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a"))
        for number in range(200):
            claimed = await claim_job(store, "a", worker=f"wörker-{number}", release="r" * 100)
            await finish(store, claimed, Released())
            clock.advance(1)
        text = (await record(store, "a")).transitions
        assert MAX_TRANSITIONS - 500 < len(text) + text.count("ö") <= MAX_TRANSITIONS + 500
        assert len(text) <= MAX_TRANSITIONS
        found = load_transitions(text)
        assert [each.change for each in found[-2:]] == [Change.STARTED, Change.RELEASED]
        assert found[-2].detail == "wörker-199"
        assert found[-1].at == clock() - 1

    async def test_lists_of_jobs_have_their_transitions(self, store: Store) -> None:
        await start(store, *specs("a"), release="r1")
        (job,) = await store.list_jobs(Query())
        assert job == await record(store, "a")
        assert last_start(job) is not None

    async def test_a_claim_returns_the_transitions_with_its_start(self, store: Store) -> None:
        claimed = await start(store, *specs("a"), release="r1")
        assert claimed.record == await record(store, "a")


class EventTimes(StoreSuite):
    """When an attempt emitted its first and its newest event."""

    async def test_a_record_has_the_times_of_the_first_and_the_newest_event(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        assert await event_times(store, "a") == (None, None)
        for seconds in 1, 2, 3:
            clock.advance(1)
            await append_tokens(store, claimed, seconds, "x")
            assert await event_times(store, "a") == (1, seconds)
        clock.advance(1)
        await append_tokens(store, claimed, 3, "x")
        await store.append([EventAppend(lease=claimed.lease, ordinal=4, entries=())])
        assert await event_times(store, "a") == (1, 3)
        await finish(store, claimed, Succeeded("1"))
        assert await event_times(store, "a") == (1, 3)

    async def test_the_last_events_come_with_the_end(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        clock.advance(2)
        await finish(store, claimed, Succeeded("1"), *tokens("x"))
        assert await event_times(store, "a") == (2, 2)

    @pytest.mark.parametrize("outcome", [Retried(failure()), Released(), Lost(failure())])
    async def test_the_next_attempt_has_its_own_event_times(
        self, store: Store, clock: ManualClock, outcome: Outcome
    ) -> None:
        claimed = await start(store, *specs("a"))
        await finish(store, claimed, outcome, *tokens("x"))
        assert await event_times(store, "a") == (None, None)
        again = await claim_job(store, "a")
        assert (again.record.first_event, again.record.last_event) == (None, None)
        clock.advance(3)
        await append_tokens(store, again, 1, "y")
        assert await event_times(store, "a") == (3, 3)

    async def test_events_beyond_the_size_of_the_log_are_still_signs_of_life(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, JobSpec(id="a", task="t", max_log_size=1))
        for seconds in 1, 2, 3:
            clock.advance(1)
            await append_tokens(store, claimed, seconds, "long")
        assert await event_times(store, "a") == (1, 3)

    async def test_a_lost_lease_changes_no_event_time(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a"))
        await finish(store, claimed, Released())
        await claim_job(store, "a")
        clock.advance(1)
        assert not await append_tokens(store, claimed, 1, "x")
        assert await event_times(store, "a") == (None, None)


async def event_times(store: Store, job_id: str) -> tuple[float | None, float | None]:
    """Return the times of the first and the newest event, in seconds since the start of the manual clock."""
    job = await record(store, job_id)
    first, last = (None if at is None else round(at - NEW_YEAR_2027, 3) for at in (job.first_event, job.last_event))
    return first, last
