"""Who has submitted much waits for it alone: users take turns, and what is urgent goes first."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from sidelane import JobRecord, State
from sidelane.tasks.task import Call
from tests.system import shop
from tests.system.places import ON_BOTH_STORES
from tests.system.scene import Scene
from tests.system.waiting import until

USERS, EACH, TIMES = 20, 20, 100

MANY = 1000

SLOTS = 4


@ON_BOTH_STORES
async def test_users_with_a_backlog_are_served_alike_though_one_has_submitted_a_hundred_times_as_much(
    scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    jobs = await submit_all(scene, works(EACH * TIMES, "u0", 0.005))
    for number in range(1, USERS):
        jobs += await submit_all(scene, works(EACH, f"u{number}", 0.005))
    await scene.worker("w1", SIDELANE_CONCURRENCY="10")
    others = jobs[EACH * TIMES :]
    await scene.finished(others, within=60)

    started = in_order(await scene.records(jobs))
    last = {record.spec.user: record.started for record in started if record.id in set(others)}
    until_one_has_none_left = min(time or 0.0 for time in last.values())
    served = Counter(record.spec.user for record in started if (record.started or 0.0) <= until_one_has_none_left)
    assert served.total() > USERS * EACH * 0.8
    fairness = jain([served[f"u{number}"] for number in range(USERS)])
    record_property("fairness", round(fairness, 4))
    print(f"Jain's index of {served.total()} starts: {fairness:.4f}")
    assert fairness >= 0.95


@ON_BOTH_STORES
async def test_the_one_job_of_another_user_waits_for_no_more_than_one_of_the_thousand_before_it(scene: Scene) -> None:
    flood = await submit_all(scene, works(MANY, "flooder", 0.2))
    await scene.worker("w1", SIDELANE_CONCURRENCY=str(SLOTS))
    await until(lambda: len(scene.processes.diary("start")) >= SLOTS, "the flood runs")

    (job,) = await scene.submit(shop.work.options(user="another").call(0.0, 1))
    record = await scene.ended(job)
    assert len(between(record, await scene.records(flood))) <= 1


@ON_BOTH_STORES
async def test_an_urgent_job_starts_next_though_its_user_has_a_thousand_that_can_wait(scene: Scene) -> None:
    night = await submit_all(scene, [call.with_options(priority=-10) for call in works(MANY, "u", 0.2)])
    await scene.worker("w1", SIDELANE_CONCURRENCY=str(SLOTS))
    await until(lambda: len(scene.processes.diary("start")) >= SLOTS, "the night's jobs run")

    (urgent,) = await scene.submit(shop.work.options(user="u", priority=10).call(0.0, 1))
    record = await scene.ended(urgent)
    assert between(record, await scene.records(night)) == []


@ON_BOTH_STORES
async def test_who_cancels_999_of_1000_jobs_has_the_last_one_run_in_turn(scene: Scene) -> None:
    await scene.store.pause("default")
    jobs = await submit_all(scene, works(MANY, "u", 0.0))
    others = await submit_all(scene, works(50, "v", 0.0))
    *cancelled, last = jobs
    for first in range(0, len(cancelled), 200):
        await scene.store.cancel(cancelled[first : first + 200])
    await scene.worker("w1", SIDELANE_CONCURRENCY="1")
    await scene.store.pause("default", False)

    await scene.finished([last, *others])
    turns = [note["job"] for note in scene.processes.diary("start")]
    assert turns.index(last) <= 1
    assert {record.state for record in await scene.records(cancelled)} == {State.CANCELLED}


@ON_BOTH_STORES
async def test_a_paused_queue_hands_out_nothing_from_that_moment_on_whoever_asks(scene: Scene) -> None:
    for name in ("w1", "w2"):
        await scene.worker(name, SIDELANE_CONCURRENCY=str(SLOTS))
    jobs = await submit_all(scene, works(MANY // 2, "u", 0.02))
    await until(lambda: len({note["worker"] for note in scene.processes.diary("start")}) == 2, "both workers work")

    await scene.store.pause("default")
    (after,) = await scene.submit(shop.work.call(0.0, 1))  # the store's own time of something after the pause

    async def idle() -> bool:
        return sum(queue.running for queue in await scene.store.stats()) == 0

    async def drained() -> bool:
        return sum(queue.running + queue.queued for queue in await scene.store.stats()) == 0

    await until(idle, "what ran has ended")
    paused = (await scene.record(after)).submitted
    begun = [record.started for record in await scene.records(jobs) if record.started is not None]
    assert len(begun) < len(jobs)
    assert max(begun) <= paused
    await scene.store.pause("default", False)
    await until(drained, "the others are done after the pause", within=30)
    assert {record.state for record in await scene.records([*jobs, after])} == {State.SUCCEEDED}


def works(count: int, user: str, seconds: float) -> list[Call[int]]:
    """Make so many calls of a user."""
    task = shop.work.options(user=user)
    return [task.call(seconds, number) for number in range(count)]


async def submit_all(scene: Scene, calls: Sequence[Call[int]]) -> list[str]:
    """Submit calls in pieces, and give the ids of their jobs."""
    jobs: list[str] = []
    for first in range(0, len(calls), 200):
        jobs += await scene.submit(*calls[first : first + 200])
    return jobs


def in_order(records: Iterable[JobRecord]) -> list[JobRecord]:
    """Give those that have started, in that order."""
    return sorted(
        (record for record in records if record.started is not None), key=lambda record: record.started or 0.0
    )


def between(job: JobRecord, others: Iterable[JobRecord]) -> list[str]:
    """Give those of some jobs that started after this one was submitted and before it started, by the store's own time."""
    assert job.started is not None
    return [each.id for each in in_order(others) if job.submitted < (each.started or 0.0) < job.started]


def jain(shares: Sequence[float]) -> float:
    """Give Jain's index of some shares: 1 when all are alike, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
