"""What a store gave, held against what it should hold."""

import json

from sidelane.model.event import END, Event
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import ClaimRequest
from sidelane.testing.expectation import Expected


def check_record(expected: Expected, found: JobRecord) -> None:
    """Compare one record with what is expected of it."""
    assert found.spec == expected.spec, found
    assert (found.state, found.attempt, found.ends) == (expected.state, expected.attempt, expected.ends), found
    assert (found.result, found.progress) == (expected.result, expected.progress), found
    assert (found.problem is not None) == (expected.state is State.FAILED) or expected.state is State.CANCELLED, found
    if not expected.state.finished:
        assert (found.failures, found.losses) == (expected.failures, expected.losses), found
        assert (found.cancelling, found.worker) == (expected.cancelling, expected.worker), found


def check_log(expected: Expected, events: tuple[Event, ...]) -> None:
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
    request: ClaimRequest, ready: list[Expected], chosen: list[str], ages: dict[str, int], *, born: bool
) -> None:
    """Check that a claim took as many as it could, by priority, and each user's oldest first."""
    room = request.limit
    for queue, slots in (request.queues or dict.fromkeys("xy", request.limit)).items():
        there = {job.spec.id: job.spec for job in ready if job.spec.queue == queue}
        taken = [there[job_id] for job_id in chosen if job_id in there]
        left = [spec for spec in there.values() if spec not in taken]
        assert len(taken) <= min(slots, room)
        assert born or len(taken) == min(slots, room, len(there)), "a claim left what it had room for"
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
