"""Comparisons of a store's results with the reference store."""

import json
from collections import Counter

from sidelane.conformance.model.reference_job import ReferenceBatch, ReferenceJob
from sidelane.conformance.model.reference_store import ReferenceStore
from sidelane.conformance.model.strategies import AT_START
from sidelane.model.batch import BatchRecord
from sidelane.model.event import END, Event
from sidelane.model.history import Count, HistoryCell, merged
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import ClaimRequest, LimitStats, QueueStats


def check_record(expected: ReferenceJob, found: JobRecord) -> None:
    """Compare one record with its reference."""
    assert found.spec == expected.spec, found
    assert (found.state, found.attempt, found.ends) == (expected.state, expected.attempt, expected.ends), found
    assert (found.result, found.progress) == (expected.result, expected.progress), found
    assert (found.problem is not None) == (expected.state is State.FAILED) or expected.state is State.CANCELLED, found
    assert found.waiting_for_limit is None or found.waiting_for_limit in [
        limit.id for limit in expected.spec.limits if limit.at_start
    ], found
    assert found.waiting_for_limit is None or expected.state is State.QUEUED, found
    assert found.external_lease == (None if expected.external_lease is None else expected.lease), found
    if not expected.state.finished:
        assert (found.failures, found.worker_losses) == (expected.failures, expected.worker_losses), found
        assert found.isolated == expected.isolated, found
        assert (found.cancel_requested, found.worker) == (expected.cancel_requested, expected.worker), found
    if expected.state is State.RUNNING:
        assert found.ordinal == expected.seen, found


def check_log(expected: ReferenceJob, events: tuple[Event, ...]) -> None:
    """Compare a log event by event; events with one epoch key share an epoch that no others have."""
    epochs: dict[tuple[int, int], int] = {}
    for number, (expected_event, event) in enumerate(zip(expected.log, events, strict=True), 1):
        assert (event.number, event.name) == (number, expected_event.name)
        if expected_event.name == END:
            data = json.loads(event.data)
            assert (data["id"], data["state"]) == (expected.spec.id, expected_event.data)
        else:
            assert event.data == expected_event.data
            assert epochs.setdefault(expected_event.epoch_key, event.epoch) == event.epoch, (
                "one epoch key has two epochs"
            )
    assert len(set(epochs.values())) == len(epochs), "two epoch keys share an epoch"


def check_choice(
    request: ClaimRequest,
    ready: list[ReferenceJob],
    chosen: list[str],
    ages: dict[str, int],
    *,
    skippable: set[str],
    has_new: bool,
) -> None:
    """Check that a claim took as many jobs as possible, by priority, and each user's oldest first.

    Jobs in `skippable` may be left behind because of a limit. `has_new` is True if jobs besides `ready` became claimable.
    """
    free = request.limit
    for queue, slots in (request.queues or dict.fromkeys("xy", request.limit)).items():
        candidates = {job.spec.id: job.spec for job in ready if job.spec.queue == queue}
        taken = [candidates[job_id] for job_id in chosen if job_id in candidates]
        left = [spec for spec in candidates.values() if spec not in taken and spec.id not in skippable]
        assert len(taken) <= min(slots, free)
        assert has_new or not left or len(taken) == min(slots, free), "a claim left jobs although it had free slots"
        free -= len(taken)
        if request.ids:
            continue
        priorities = [spec.priority for spec in taken]
        assert priorities == sorted(priorities, reverse=True)
        assert all(spec.priority <= priorities[-1] for spec in left if taken)
        for group in {(spec.user, spec.priority) for spec in taken}:
            group_ages = [ages[spec.id] for spec in taken if (spec.user, spec.priority) == group]
            others = [ages[spec.id] for spec in left if (spec.user, spec.priority) == group]
            assert group_ages == sorted(group_ages), "a user's younger job went first"
            assert all(group_ages[-1] < age for age in others), "a user's older job was left behind"


def check_batch(expected: ReferenceBatch, counts: Counter[State], found: BatchRecord | None) -> None:
    """Compare a batch and its counts with their reference."""
    assert found is not None
    assert (found.spec, found.sealed, found.ends) == (expected.spec, expected.sealed, expected.ends), found
    assert (found.ended is not None) == expected.ended, found
    ended = counts[State.SUCCEEDED], counts[State.FAILED], counts[State.CANCELLED]
    assert (found.total, found.succeeded, found.failed, found.cancelled) == (counts.total(), *ended), found


def check_limits(expected: ReferenceStore, records: list[JobRecord], found: list[LimitStats]) -> None:
    """Compare used slots and waiting jobs. Rates are checked by the jobs that they admit."""
    listed = {each.id: each for each in found}
    assert len(listed) == len(found)
    for limit in AT_START:
        waiting = sum(record.waiting_for_limit == limit.id for record in records)
        counted = listed.get(limit.id, LimitStats(id=limit.id, max=limit.max))
        assert counted.waiting == waiting, counted
        if limit.window is None:
            assert counted.used == len(expected.members(limit.id)), counted
            assert (limit.id in listed) == bool(counted.used or waiting), counted


def check_unblocked(expected: ReferenceStore, records: list[JobRecord]) -> None:
    """Check that after a sweep as many blocked jobs are ready as their limit admits."""
    for limit in AT_START:
        jobs = [record for record in records if limit in record.spec.limits and record.state is State.QUEUED]
        slots = limit.window is None
        capacity = expected.slots(limit) - len(expected.members(limit.id)) if slots else 1 - expected.is_full(limit)
        ready = sum(record.waiting_for_limit is None for record in jobs)
        assert ready >= capacity or all(record.waiting_for_limit != limit.id for record in jobs), (limit, records)


def check_history(expected: ReferenceStore, totals: list[HistoryCell]) -> None:
    """Compare what was counted with the jobs."""
    counts, jobs = merged(cell.counts for cell in totals), expected.jobs.values()
    ends = sum(counts.get(end, 0) for end in (Count.SUCCEEDED, Count.FAILED, Count.CANCELLED))
    assert ends == sum(job.ends for job in jobs), counts
    assert counts.get(Count.STARTED, 0) == sum(job.attempt for job in jobs), counts
    assert counts.get(Count.SUBMITTED, 0) == len(jobs), counts


def check_queue(records: list[JobRecord], found: QueueStats) -> None:
    """Compare the counts of a queue with its jobs."""
    states = Counter(record.state for record in records if record.spec.queue == found.name)
    blocked = sum(record.waiting_for_limit is not None for record in records if record.spec.queue == found.name)
    assert (found.queued, found.running, found.waiting_for_limit) == (
        states[State.QUEUED],
        states[State.RUNNING],
        blocked,
    ), found
