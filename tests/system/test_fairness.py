"""Users share a queue fairly, and urgent jobs go first."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from sidelane import JobRecord, State
from sidelane.tasks.task import Call
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_BOTH_STORES
from tests.system.waiting import until

USERS, EACH, TIMES = 20, 20, 100

MANY = 1000

SLOTS = 4


@ON_BOTH_STORES
async def test_users_get_equal_shares_although_one_submitted_a_hundred_times_as_much(
    scenario: ProcessScenario, record_property: Callable[[str, object], None]
) -> None:
    jobs = await submit_all(scenario, works(EACH * TIMES, "u0", 0.005))
    for number in range(1, USERS):
        jobs += await submit_all(scenario, works(EACH, f"u{number}", 0.005))
    await scenario.worker("w1", SIDELANE_CONCURRENCY="10")
    others = jobs[EACH * TIMES :]
    await scenario.wait_all_finished(others, within=60)

    started = in_order(await scenario.records(jobs))
    last = {record.spec.user: record.started for record in started if record.id in set(others)}
    until_one_has_none_left = min(time or 0.0 for time in last.values())
    served = Counter(record.spec.user for record in started if (record.started or 0.0) <= until_one_has_none_left)
    assert served.total() > USERS * EACH * 0.8
    fairness = jain([served[f"u{number}"] for number in range(USERS)])
    record_property("fairness", round(fairness, 4))
    print(f"Jain's index of {served.total()} starts: {fairness:.4f}")
    assert fairness >= 0.95


@ON_BOTH_STORES
async def test_single_job_of_another_user_waits_for_at_most_one_of_a_thousand(
    scenario: ProcessScenario,
) -> None:
    flood = await submit_all(scenario, works(MANY, "flooder", 0.2))
    await scenario.worker("w1", SIDELANE_CONCURRENCY=str(SLOTS))
    await until(lambda: len(scenario.processes.notes("start")) >= SLOTS, "the flood runs")

    (job,) = await scenario.submit(shop.work.options(user="another").call(0.0, 1))
    record = await scenario.wait_finished(job)
    assert len(between(record, await scenario.records(flood))) <= 1


@ON_BOTH_STORES
async def test_urgent_job_starts_before_a_thousand_of_low_priority(
    scenario: ProcessScenario,
) -> None:
    night = await submit_all(scenario, [call.with_options(priority=-10) for call in works(MANY, "u", 0.2)])
    await scenario.worker("w1", SIDELANE_CONCURRENCY=str(SLOTS))
    await until(lambda: len(scenario.processes.notes("start")) >= SLOTS, "the night's jobs run")

    (urgent,) = await scenario.submit(shop.work.options(user="u", priority=10).call(0.0, 1))
    record = await scenario.wait_finished(urgent)
    assert between(record, await scenario.records(night)) == []


@ON_BOTH_STORES
async def test_cancelled_jobs_do_not_count_against_a_user(scenario: ProcessScenario) -> None:
    await scenario.store.pause("default")
    jobs = await submit_all(scenario, works(MANY, "u", 0.0))
    others = await submit_all(scenario, works(50, "v", 0.0))
    *cancelled, last = jobs
    for first in range(0, len(cancelled), 200):
        await scenario.store.cancel(cancelled[first : first + 200])
    await scenario.worker("w1", SIDELANE_CONCURRENCY="1")
    await scenario.store.pause("default", False)

    await scenario.wait_all_finished([last, *others])
    turns = [note["job"] for note in scenario.processes.notes("start")]
    assert turns.index(last) <= 1
    assert {record.state for record in await scenario.records(cancelled)} == {State.CANCELLED}


@ON_BOTH_STORES
async def test_no_worker_claims_from_a_queue_after_it_was_paused(scenario: ProcessScenario) -> None:
    for name in ("w1", "w2"):
        await scenario.worker(name, SIDELANE_CONCURRENCY=str(SLOTS))
    jobs = await submit_all(scenario, works(MANY // 2, "u", 0.02))
    await until(lambda: len({note["worker"] for note in scenario.processes.notes("start")}) == 2, "both workers work")

    await scenario.store.pause("default")
    (after,) = await scenario.submit(shop.work.call(0.0, 1))  # the store's own time of something after the pause

    async def idle() -> bool:
        return sum(queue.running for queue in await scenario.store.stats()) == 0

    async def drained() -> bool:
        return sum(queue.running + queue.queued for queue in await scenario.store.stats()) == 0

    await until(idle, "what ran has ended")
    paused = (await scenario.record(after)).submitted
    begun = [record.started for record in await scenario.records(jobs) if record.started is not None]
    assert len(begun) < len(jobs)
    assert max(begun) <= paused
    await scenario.store.pause("default", False)
    await until(drained, "the others are done after the pause", within=30)
    assert {record.state for record in await scenario.records([*jobs, after])} == {State.SUCCEEDED}


def works(count: int, user: str, seconds: float) -> list[Call[int]]:
    """Make so many calls of a user."""
    task = shop.work.options(user=user)
    return [task.call(seconds, number) for number in range(count)]


async def submit_all(scenario: ProcessScenario, calls: Sequence[Call[int]]) -> list[str]:
    """Submit calls in pieces, and give the ids of their jobs."""
    jobs: list[str] = []
    for first in range(0, len(calls), 200):
        jobs += await scenario.submit(*calls[first : first + 200])
    return jobs


def in_order(records: Iterable[JobRecord]) -> list[JobRecord]:
    """Return those that have started, in that order."""
    return sorted(
        (record for record in records if record.started is not None), key=lambda record: record.started or 0.0
    )


def between(job: JobRecord, others: Iterable[JobRecord]) -> list[str]:
    """Return those of some jobs that started after this one was submitted and before it started, by the store's own time."""
    assert job.started is not None
    return [each.id for each in in_order(others) if job.submitted < (each.started or 0.0) < job.started]


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of some shares: 1 when all are alike, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
