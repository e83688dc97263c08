"""Queues against their targets, and the users in line, from made-up values."""

import pytest

from sidelane.admin.figures import History, Period
from sidelane.admin.queue_overview import QueueOverview, queue_overviews, read_line
from sidelane.model.durations import HOUR
from sidelane.model.history import Count, HistoryCell, Series
from sidelane.model.job import JobRecord, JobSpec, State
from sidelane.model.worker import ClaimRequest, QueueStats, WorkerInfo
from sidelane.stores.factory import open_store

NOW = 1_700_000_000.0


def waiting(queue: str, limit: str | None) -> JobRecord:
    spec = JobSpec(id="1", task="answer", queue=queue)
    return JobRecord(spec=spec, sequence=1, state=State.QUEUED, submitted=NOW, waiting_for_limit=limit)


def overview_of(
    stats: QueueStats, *held: str, target: float | None = 10.0, counts: dict[int, int] | None = None
) -> QueueOverview:
    period = Period.last(HOUR, NOW)
    cell = HistoryCell(period.times[-3], Series(stats.name, "answer", "r1"), counts or {})
    slots = {stats.name: 4}
    workers = [WorkerInfo(id="w", name="w", queues=slots), WorkerInfo(id="i", name="i", queues=slots, isolation=True)]
    (found,) = queue_overviews(
        [stats],
        workers,
        History(period, [cell]),
        target_waits={} if target is None else {stats.name: target},
        waiting=[waiting(stats.name, each) for each in held],
    )
    return found


@pytest.mark.parametrize(
    ("stats", "target", "misses"),
    [
        (QueueStats(name="chat", head_wait=10.1), 10.0, True),
        (QueueStats(name="chat", head_wait=9.9), 10.0, False),
        (QueueStats(name="chat", head_wait=10.1), None, False),
        (QueueStats(name="chat", oldest=99.0, paused=True), 10.0, False),
        (QueueStats(name="chat", oldest=99.0), 10.0, False),  # it waits for a limit
    ],
)
def test_queue_misses_its_target_if_a_job_that_could_start_waits_longer(
    stats: QueueStats, target: float | None, misses: bool
) -> None:
    assert overview_of(stats, target=target).misses_target is misses


def test_limits_that_hold_most_jobs_come_first() -> None:
    found = overview_of(QueueStats(name="chat"), "vllm/all", "one-each/ann", "one-each/bo")
    assert found.held_by == ["one-each", "vllm"]


def test_queue_has_the_slots_of_workers_that_are_not_for_isolated_jobs() -> None:
    assert overview_of(QueueStats(name="chat")).slots == 4


def test_queue_is_clear_when_more_jobs_start_than_arrive() -> None:
    busy = QueueStats(name="chat", ready=60)
    shrinks = overview_of(busy, counts={Count.STARTED: 60, Count.SUBMITTED: 30})
    assert shrinks.clear_in == pytest.approx(60 / (shrinks.starts - shrinks.arrivals))
    assert overview_of(busy, counts={Count.STARTED: 30, Count.SUBMITTED: 60}).clear_in is None


def test_queues_with_a_target_come_first_and_internal_ones_are_left_out() -> None:
    stats = [QueueStats(name=name) for name in ("a", "sidelane.files", "z")]
    found = queue_overviews(stats, [], History(Period.last(HOUR, NOW), []), target_waits={"z": 5.0}, waiting=[])
    assert [each.stats.name for each in found] == ["z", "a"]


async def test_users_in_line_are_those_with_most_jobs_and_the_newest_that_started() -> None:
    store = await open_store("sqlite://:memory:")
    try:
        users = ["flooder", "flooder", "other", None]
        specs = [JobSpec(id=f"{number:032x}", task="t", user=user) for number, user in enumerate(users)]
        await store.submit(specs)
        await store.claim(ClaimRequest(request="r", worker="w", ids=(specs[0].id,)))
        (record,) = await store.get([specs[0].id])
        assert isinstance(record, JobRecord)
        line = await read_line(store, "default", record.submitted + 1)
    finally:
        await store.close()
    assert [(each.user, each.waiting, each.running, each.started) for each in line.users] == [
        ("flooder", 1, 1, 1), (None, 1, 0, 0), ("other", 1, 0, 0),
    ]  # fmt: skip
    assert (line.jobs, line.complete) == (4, True)
