"""A worker that is told to stop finishes its jobs, or gives them back at no cost."""

import signal
import time

import pytest

from sidelane import State
from sidelane.model.job import Query
from tests.system import shop
from tests.system.places import ON_EVERY_STORE
from tests.system.scene import Scene, attempts_of
from tests.system.waiting import until


async def test_sigterm_lets_running_jobs_finish_and_takes_no_more(scene: Scene) -> None:
    worker = await scene.worker("w1")
    (running,) = await scene.submit(shop.hold.call())
    await scene.started(running)
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.said("drains"), "the worker drains")
    (late,) = await scene.submit(shop.add.call(1, 2))
    scene.processes.open_gate("w1")

    record = await scene.ended(running)
    assert (record.state, record.result, record.attempt) == (State.SUCCEEDED, '"w1"', 1)
    await until(lambda: worker.ended, "the worker has ended", within=5)
    assert worker.status == 0
    assert (await scene.record(late)).state is State.QUEUED
    assert await scene.store.workers() == [], "it has said goodbye"


@ON_EVERY_STORE
async def test_what_does_not_finish_in_the_drain_time_runs_elsewhere_at_no_cost(scene: Scene) -> None:
    worker = await scene.worker("w1", SIDELANE_SHUTDOWN_TIMEOUT="0.5")
    (job,) = await scene.submit(shop.hold.call())
    await scene.started(job)
    await scene.worker("w2")
    scene.processes.open_gate("w2")
    worker.signal(signal.SIGTERM)

    record = await scene.ended(job, within=5)
    assert (record.state, record.result) == (State.SUCCEEDED, '"w2"')
    assert (record.attempt, record.worker_losses, record.failures) == (2, 0, 0)
    assert attempts_of(await scene.log(job)) == ["before ", "before after "]
    assert [note["worker"] for note in scene.processes.diary("stopped", job)] == ["w1"], "it could clean up"
    await until(lambda: worker.ended, "the worker has ended", within=5)
    assert worker.status == 0


async def test_a_second_signal_stops_at_once(scene: Scene) -> None:
    worker = await scene.worker("w1", SIDELANE_SHUTDOWN_TIMEOUT="60")
    (job,) = await scene.submit(shop.hold.call())
    await scene.started(job)
    await scene.worker("w2")
    scene.processes.open_gate("w2")
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.said("drains"), "the worker drains")

    again = time.monotonic()
    worker.signal(signal.SIGTERM)
    record = await scene.ended(job, within=5)
    assert (record.result, record.attempt, record.worker_losses, record.failures) == ('"w2"', 2, 0, 0)
    await until(lambda: worker.ended, "the worker has ended", within=5)
    assert time.monotonic() - again < 30, "well below the time to drain"


@pytest.mark.long
@ON_EVERY_STORE
async def test_workers_replaced_in_the_middle_of_much_work_cost_no_job_anything(scene: Scene) -> None:
    jobs: list[str] = []
    for _ in range(20):
        jobs += await scene.submit(*(shop.work.call(0.02, number) for number in range(100)))
    worker = await scene.worker("w0", SIDELANE_CONCURRENCY="10")
    for generation in range(1, 5):
        done = len(scene.processes.diary("start"))
        await until(lambda: len(scene.processes.diary("start")) > done + 50, "work is being done")  # noqa: B023
        worker.signal(signal.SIGTERM)
        await until(lambda: worker.ended, "the worker has ended", within=5)  # noqa: B023
        running = await scene.store.list_jobs(Query(states=frozenset({State.RUNNING})))
        assert running == [], "what the worker had claimed it has finished or given back"
        worker = await scene.worker(f"w{generation}", SIDELANE_CONCURRENCY="10")

    records = await scene.finished(jobs)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert sum(record.worker_losses for record in records) == 0
    assert sum(record.failures for record in records) == 0
