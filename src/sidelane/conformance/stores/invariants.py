"""Invariants of every job between any two calls, whatever process died in between."""

import json

from sidelane.model.event import END, Event
from sidelane.model.job import JobRecord, State, Tombstone
from sidelane.stores.contract import Store


async def check(store: Store, job_ids: list[str]) -> list[JobRecord]:
    """Check the invariants of jobs and return their records."""
    records = [job for job in await store.get(job_ids) if isinstance(job, JobRecord)]
    for job in records:
        reading = await store.read(job.id, limit=1_000_000)
        assert reading is not None, job.id
        check_record(job)
        check_log(job, reading.events)
        await check_follow_ups(store, job, reading.events)
    return records


def check_record(job: JobRecord) -> None:
    """Check that a record is consistent."""
    assert job.state.finished == (job.ended is not None), job
    assert (job.result is not None) == (job.state is State.SUCCEEDED), job
    assert job.attempt >= job.failures + job.worker_losses, job
    if job.state is State.QUEUED:
        assert (job.cancel_requested, job.worker) == (False, None), job
    if job.waiting_for_limit is not None:
        assert job.state is State.QUEUED, job
        assert job.waiting_for_limit in [limit.id for limit in job.spec.limits if limit.at_start], job
    if job.state is State.RUNNING:
        assert job.attempt > 0, job
        assert (job.worker is None) == (job.external_lease is not None), job
    if job.state is State.FAILED:
        assert job.problem is not None, job
    if not job.state.finished:
        assert job.worker_losses <= job.spec.max_worker_losses, job


def check_log(job: JobRecord, events: tuple[Event, ...]) -> None:
    """Check that the numbers have no gaps, each end has one event, and a finished job's log ends with it."""
    assert [event.number for event in events] == list(range(1, job.last + 1)), job
    ends = [json.loads(event.data) for event in events if event.name == END]
    assert len(ends) == job.ends, (job, ends)
    if job.state.finished:
        assert events[-1].name == END, (job, events)
        assert (ends[-1]["id"], ends[-1]["state"]) == (job.id, job.state), (job, ends)
    epochs = [event.epoch for event in events]
    stretches = [epoch for index, epoch in enumerate(epochs) if index == 0 or epochs[index - 1] != epoch]
    assert len(stretches) == len(set(stretches)), (job, epochs)


async def check_follow_ups(store: Store, job: JobRecord, events: tuple[Event, ...]) -> None:
    """Check that each end has submitted exactly its follow-ups."""
    states = [State(json.loads(event.data)["state"]) for event in events if event.name == END]
    for end, state in enumerate(states, 1):
        for index, follow in enumerate(job.spec.follow_ups):
            (found,) = await store.get([f"{job.id}.{end}.{index}"])
            assert isinstance(found, JobRecord | Tombstone) == (state in follow.on), (job, end, index)
