"""What a store gave, held against what it should hold."""

import json
from collections import Counter

from sidelane.conformance.model.reference_job import ReferenceBatch, ReferenceJob
from sidelane.conformance.model.reference_store import ReferenceStore
from sidelane.conformance.model.strategies import AT_START
from sidelane.model.batch import BatchRecord
from sidelane.model.event import END, Event
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import ClaimRequest, LimitStats, QueueStats


def check_record(expected: ReferenceJob, found: JobRecord) -> None:
    """Compare one record with what is expected of it."""
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
    """Compare a log line by line; lines of one stretch share an epoch that no other stretch has."""
    epochs: dict[tuple[int, int], int] = {}
    for number, (line, event) in enumerate(zip(expected.log, events, strict=True), 1):
        assert (event.number, event.name) == (number, line.name)
        if line.name == END:
            said = json.loads(event.data)
            assert (said["id"], said["state"]) == (expected.spec.id, line.data)
        else:
            assert event.data == line.data
            assert epochs.setdefault(line.stretch, event.epoch) == event.epoch, "one stretch has two epochs"
    assert len(set(epochs.values())) == len(epochs), "two stretches share an epoch"


def check_choice(
    request: ClaimRequest,
    ready: list[ReferenceJob],
    chosen: list[str],
    ages: dict[str, int],
    *,
    passed_over: set[str],
    born: bool,
) -> None:
    """Check that a claim took as many as it could, by priority, and each user's oldest first.

    Those `passed_over` may have been left behind for a limit; `born` says whether there were others than the `ready` ones.
    """
    room = request.limit
    for queue, slots in (request.queues or dict.fromkeys("xy", request.limit)).items():
        there = {job.spec.id: job.spec for job in ready if job.spec.queue == queue}
        taken = [there[job_id] for job_id in chosen if job_id in there]
        left = [spec for spec in there.values() if spec not in taken and spec.id not in passed_over]
        assert len(taken) <= min(slots, room)
        assert born or not left or len(taken) == min(slots, room), "a claim left what it had room for"
        room -= len(taken)
        if request.ids:
            continue
        priorities = [spec.priority for spec in taken]
        assert priorities == sorted(priorities, reverse=True)
        assert all(spec.priority <= priorities[-1] for spec in left if taken)
        for line in {(spec.user, spec.priority) for spec in taken}:
            mine = [ages[spec.id] for spec in taken if (spec.user, spec.priority) == line]
            others = [ages[spec.id] for spec in left if (spec.user, spec.priority) == line]
            assert mine == sorted(mine), "a user's younger job went first"
            assert all(mine[-1] < age for age in others), "a user's older job was left behind"


def check_batch(expected: ReferenceBatch, counts: Counter[State], found: BatchRecord | None) -> None:
    """Compare a batch and its counts with what is expected of it."""
    assert found is not None
    assert (found.spec, found.sealed, found.ends) == (expected.spec, expected.sealed, expected.ends), found
    assert (found.ended is not None) == expected.ended, found
    ended = counts[State.SUCCEEDED], counts[State.FAILED], counts[State.CANCELLED]
    assert (found.total, found.succeeded, found.failed, found.cancelled) == (counts.total(), *ended), found


def check_limits(expected: ReferenceStore, records: list[JobRecord], found: list[LimitStats]) -> None:
    """Compare what is held and who waits; rates are compared by what they let in."""
    listed = {each.id: each for each in found}
    assert len(listed) == len(found)
    for limit in AT_START:
        waiting = sum(record.waiting_for_limit == limit.id for record in records)
        counted = listed.get(limit.id, LimitStats(id=limit.id, most=limit.most))
        assert counted.waiting == waiting, counted
        if limit.window is None:
            assert counted.held == len(expected.members(limit.id)), counted
            assert (limit.id in listed) == bool(counted.held or waiting), counted


def check_woken(expected: ReferenceStore, records: list[JobRecord]) -> None:
    """After a sweep, as many of those who waited at a limit are ready as it has room for."""
    for limit in AT_START:
        concerned = [record for record in records if limit in record.spec.limits and record.state is State.QUEUED]
        room = limit.most - len(expected.members(limit.id)) if limit.window is None else 1 - expected.full(limit)
        ready = sum(record.waiting_for_limit is None for record in concerned)
        assert ready >= room or all(record.waiting_for_limit != limit.id for record in concerned), (limit, records)


def check_queue(records: list[JobRecord], found: QueueStats) -> None:
    """Compare what a queue counts with the jobs it has."""
    states = Counter(record.state for record in records if record.spec.queue == found.name)
    parked = sum(record.waiting_for_limit is not None for record in records if record.spec.queue == found.name)
    assert (found.queued, found.running, found.waiting_for_limit) == (
        states[State.QUEUED],
        states[State.RUNNING],
        parked,
    ), found
