"""Why a job is as it is: sentences for the questions that people come with."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelane.admin.job_notices import WorkerLookup, find_worker
from sidelane.admin.limits import changed_limits
from sidelane.admin.why import AGAIN, NOT_SOONER, NOW, Situation, explain, explanation_document
from sidelane.conformance.stores.actions import (
    claim,
    claim_job,
    failure,
    finish,
    record,
    slot_limit,
    specs,
    start,
    submit,
)
from sidelane.model.batch import BatchSpec
from sidelane.model.job import Failure, JobRecord, JobSpec, State
from sidelane.model.limit_override import LimitOverride
from sidelane.model.outcome import Failed, Lost, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.transition import Change, dump_transition
from sidelane.model.worker import LimitStats, QueuePosition, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.sqlite.store import SqliteStore

WORKER = WorkerInfo(
    id="w:host:7", name="w", host="host", queues={"default": 2}, tasks={"t": 1}, slots=2, memory=612 * 10**6
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(":memory:", clock)
    await opened.heartbeat(WORKER, [], lease=10_000)
    yield opened
    await opened.close()


async def why(store: Store, clock: ManualClock, job_id: str = "a") -> dict[str, str]:
    """Return the explanation of a job as text."""
    found = await record(store, job_id)
    situation = Situation(
        record=found, lookup=await find_worker(found, store), position=await store.queue_position(job_id),
        limits=await store.limits(), changed=await changed_limits(store), timeout=180.0,
    )  # fmt: skip
    return {title: " ".join(map(str, texts)) for title, texts in explain(situation, clock()).items()}


async def end_after(store: Store, clock: ManualClock, seconds: float, outcome: Outcome) -> None:
    claimed = await claim_job(store, "a", worker=WORKER.id, release="8ac11e0")
    clock.advance(seconds)
    await finish(store, claimed, outcome)


async def test_job_that_waits_for_a_limit_says_which_and_how_full_it_is(store: Store, clock: ManualClock) -> None:
    limits = (slot_limit(1, "wait"),)
    await start(store, *specs("holder", limits=limits))
    await submit(store, JobSpec(id="a", task="t", limits=limits, expires=60))
    await claim(store)
    clock.advance(29)
    limit = (await record(store, "a")).waiting_for_limit
    assert (await why(store, clock))[NOW] == (
        f"Not started: the limit {limit} is full (1 of 1). Jobs that wait for it: 1. It expires in 31 s unless it starts before."
    )


async def test_job_without_a_worker_says_what_no_worker_knows(store: Store, clock: ManualClock) -> None:
    await submit(store, JobSpec(id="a", task="t", version=2))
    assert (await why(store, clock))[NOW] == (
        "Not started: the live workers know only older versions of task 't': the job waits for version 2."
    )


async def test_job_of_a_paused_queue_says_so(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a"))
    await store.pause("default")
    assert (await why(store, clock))[NOW].startswith("Not started: queue 'default' is paused")


async def test_ready_job_says_how_many_are_before_it(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("first", "second", "a"))
    assert (await why(store, clock))[NOW] == "It waits in queue default. Jobs before it: 2."
    assert (await why(store, clock, "first"))[NOW].startswith("It is the next job of queue default")


async def test_scheduled_job_says_when_it_starts(store: Store, clock: ManualClock) -> None:
    await submit(store, JobSpec(id="a", task="t", delay=3600))
    assert (await why(store, clock))[NOW] == "Starts in 1 h."


async def test_retrying_job_says_why_it_failed_and_when_it_tries_again(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a"))
    await end_after(store, clock, 3, Retried(failure(), 30))
    clock.advance(12)
    found = await why(store, clock)
    assert found[NOW] == "Attempt 1 failed 12 s ago: RuntimeError: it broke. Tries again in 18 s."
    assert found[AGAIN] == "Attempt 1 failed after 3.0 s: RuntimeError: it broke."


async def test_running_job_says_where_it_runs_why_it_was_late_and_why_it_runs_again(
    store: Store, clock: ManualClock
) -> None:
    limits = (slot_limit(1, "wait"),)
    holder = await start(store, *specs("holder", limits=limits))
    await submit(store, *specs("a", limits=limits))
    await claim(store)
    clock.advance(18)
    await finish(store, holder, Succeeded("1"))
    clock.advance(4)
    await end_after(store, clock, 31, Lost(failure()))
    await end_after(store, clock, 2, Released())
    await claim_job(store, "a", worker=WORKER.id)
    clock.advance(42)
    found = await why(store, clock)
    assert found[NOW] == "Attempt 3 has run for 42 s on w at host (612 MB). 2 min 18 s are left of its 3 min."
    limit = limits[0].id
    assert found[NOT_SOONER] == (
        f"It waited 22 s before its first start. 18 s for the limit {limit}. 4.0 s for a free slot of queue default."
    )
    assert found[AGAIN].startswith("Attempt 1 ended after 31 s: its worker w was lost")
    assert "Attempt 2 was handed back after 2.0 s, without counting as a failure." in found[AGAIN]
    assert found[AGAIN].endswith("So far 1 lost worker; its task allows 3.")


async def test_silent_job_says_for_how_long(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a"))
    await claim_job(store, "a", worker=WORKER.id)
    clock.advance(372)
    assert (await why(store, clock))[NOW].endswith("It has sent nothing for 6 min 12 s.")


async def test_job_whose_worker_died_says_when_another_takes_it(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a"))
    await claim_job(store, "a", worker="gone:host:8")
    assert "worker 'gone' is no longer alive" in (await why(store, clock))[NOW]


async def test_ended_jobs_say_how_they_ended(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a", "idle", "dead"))
    await end_after(store, clock, 5, Succeeded("1"))
    await store.cancel(["idle"])
    await finish(store, await claim_job(store, "dead"), Failed(failure()))
    clock.advance(60)
    assert (await why(store, clock))[NOW] == "Succeeded 1 min ago in attempt 1, after 5.0 s."
    assert (await why(store, clock, "idle"))[NOW].startswith("Cancelled 1 min ago, before it started")
    assert (await why(store, clock, "dead"))[NOW] == "Gave up 1 min ago after attempt 1: RuntimeError: it broke."


@pytest.mark.parametrize(("most", "lost"), [(0, "1 lost worker"), (3, "4 lost workers")])
async def test_job_that_gave_up_counts_its_lost_workers(store: Store, clock: ManualClock, most: int, lost: str) -> None:
    await submit(store, JobSpec(id="a", task="t", max_worker_losses=most))
    for _ in range(most + 1):
        (claimed,) = await claim(store, ids=("a",), worker=WORKER.id)
        await finish(store, claimed, Lost(failure()))
    clock.advance(60)
    assert (await why(store, clock))[NOW] == f"Gave up 1 min ago, after {lost}; its task allows {most}."


async def test_requeued_job_says_how_it_had_ended(store: Store, clock: ManualClock) -> None:
    await submit(store, *specs("a"))
    await end_after(store, clock, 5, Failed(failure()))
    await store.requeue(["a"])
    assert (await why(store, clock))[AGAIN] == "Attempt 1 ended the job (failed) after 5.0 s; it was requeued."


def test_document_has_every_part() -> None:
    explanation = explain(
        Situation(record=JobRecord(spec=JobSpec(id="a", task="t"), sequence=1, state=State.QUEUED, submitted=0.0)), 1.0
    )
    assert explanation_document(explanation) == {
        "now": "It waits in queue default.", "why_not_sooner": None, "why_again": None,
    }  # fmt: skip


times = st.floats(0, 2e9, allow_nan=False)
texts = st.text(max_size=20)
maybe_time = st.none() | times
transitions = st.lists(st.builds(dump_transition, st.sampled_from(Change), times, texts, texts), max_size=8).map(
    "".join
)
failures = st.builds(
    Failure, problem=st.builds(Problem, detail=texts), error=texts, attempt=st.integers(0, 9), at=times
)
job_specs = st.builds(
    JobSpec, id=st.just("a"), task=texts, queue=texts, expires=maybe_time, run_at=maybe_time, delay=times,
    abandon_after=maybe_time, max_worker_losses=st.integers(0, 9),
)  # fmt: skip
records = st.builds(
    JobRecord, spec=job_specs, sequence=st.just(1), state=st.sampled_from(State), attempt=st.integers(0, 9),
    failures=st.integers(0, 9), worker_losses=st.integers(0, 9), isolated=st.booleans(), submitted=times, due=maybe_time,
    started=maybe_time, ended=maybe_time, cancel_requested=st.booleans(), waiting_for_limit=st.none() | texts,
    worker=st.none() | texts, last_worker=st.none() | texts, problem=st.none() | st.builds(Problem, detail=texts),
    history=st.lists(failures, max_size=3).map(tuple), first_event=maybe_time, last_event=maybe_time, transitions=transitions,
)  # fmt: skip
situations = st.builds(
    Situation, record=records, position=st.none() | st.builds(QueuePosition, st.integers(0, 1000), maybe_time),
    limits=st.lists(st.builds(LimitStats, id=texts, max=st.integers(0, 9), available_in=maybe_time), max_size=2),
    lookup=st.builds(WorkerLookup, has_worker=st.booleans(), worker=st.none() | st.just(WORKER)),
    timeout=maybe_time,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(situation=situations, now=times)
def test_every_job_has_a_sentence(situation: Situation, now: float) -> None:
    found = explain(situation, now)
    assert found[NOW]
    assert all(str(each) and "{" not in each.text.format_map(dict.fromkeys(each.values, "")) for each in found[NOW])


async def test_job_of_a_paused_batch_waits_for_it(store: Store, clock: ManualClock) -> None:
    await store.open_batch(BatchSpec(id="night"))
    await store.pause_batch("night")
    await submit(store, JobSpec(id="a", task="t", batch="night"))
    text = "Not started: batch night is paused: its jobs wait until it is resumed (sidelane batches resume night)."
    assert await why(store, clock) == {NOW: text}
    await claim(store, worker=WORKER.id)  # which finds that the batch is paused
    assert await why(store, clock) == {NOW: text}
    clock.advance(90)
    await store.pause_batch("night", paused=False)
    await claim_job(store, "a", worker=WORKER.id)
    assert "1 min 30 s while its batch was paused." in (await why(store, clock))[NOT_SOONER]


async def test_job_whose_workers_are_all_drained_waits_for_one(store: Store, clock: ManualClock) -> None:
    await store.heartbeat(replace(WORKER, request="drain"), [], lease=10_000)
    await submit(store, *specs("a"))
    assert "operators have drained all live workers of queue 'default'" in (await why(store, clock))[NOW]


async def test_job_that_waits_for_a_changed_limit_says_who_changed_it(store: Store, clock: ManualClock) -> None:
    limits = (slot_limit(2, "wait"),)
    await start(store, *specs("holder", limits=limits))
    await store.override_limit(LimitOverride(name="few", max=1, since=clock() - 120, by="ann"))
    await submit(store, *specs("a", limits=limits))
    assert await claim(store) == []
    now = "Not started: the limit few/k is full (1 of 1). Jobs that wait for it: 1. The limit was changed to 1 by ann 2 min ago."
    assert (await why(store, clock))[NOW] == now
