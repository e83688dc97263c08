"""A worker that is stopped finishes its jobs, or releases them at no cost."""

import signal
import time

import pytest

from sidelane import State
from sidelane.model.job import Query
from tests.system import shop
from tests.system.process_scenario import ProcessScenario, text_by_attempt
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until


async def test_sigterm_lets_running_jobs_finish_and_claims_no_more(scenario: ProcessScenario) -> None:
    worker = await scenario.worker("w1")
    (running,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(running)
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.logged("drains"), "the worker drains")
    (late,) = await scenario.submit(shop.add.call(1, 2))
    scenario.processes.open_gate("w1")

    record = await scenario.wait_finished(running)
    assert (record.state, record.result, record.attempt) == (State.SUCCEEDED, '"w1"', 1)
    await until(lambda: worker.exited, "the worker has ended", within=5)
    assert worker.status == 0
    assert (await scenario.record(late)).state is State.QUEUED
    assert await scenario.store.workers() == [], "it has said goodbye"


@ON_EVERY_STORE
async def test_job_that_outlasts_the_shutdown_timeout_runs_elsewhere_at_no_cost(scenario: ProcessScenario) -> None:
    worker = await scenario.worker("w1", SIDELANE_SHUTDOWN_TIMEOUT="0.5")
    (job,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(job)
    await scenario.worker("w2")
    scenario.processes.open_gate("w2")
    worker.signal(signal.SIGTERM)

    record = await scenario.wait_finished(job, within=5)
    assert (record.state, record.result) == (State.SUCCEEDED, '"w2"')
    assert (record.attempt, record.worker_losses, record.failures) == (2, 0, 0)
    assert text_by_attempt(await scenario.event_log(job)) == ["before ", "before after "]
    assert [note["worker"] for note in scenario.processes.notes("stopped", job)] == ["w1"], "it could clean up"
    await until(lambda: worker.exited, "the worker has ended", within=5)
    assert worker.status == 0


async def test_second_signal_releases_running_jobs_at_once(scenario: ProcessScenario) -> None:
    worker = await scenario.worker("w1", SIDELANE_SHUTDOWN_TIMEOUT="60")
    (job,) = await scenario.submit(shop.hold.call())
    await scenario.wait_started(job)
    await scenario.worker("w2")
    scenario.processes.open_gate("w2")
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.logged("drains"), "the worker drains")

    again = time.monotonic()
    worker.signal(signal.SIGTERM)
    record = await scenario.wait_finished(job, within=5)
    assert (record.result, record.attempt, record.worker_losses, record.failures) == ('"w2"', 2, 0, 0)
    await until(lambda: worker.exited, "the worker has ended", within=5)
    assert time.monotonic() - again < 30, "well below the time to drain"


@pytest.mark.long
@ON_EVERY_STORE
async def test_replacing_workers_under_load_costs_no_job_an_attempt(scenario: ProcessScenario) -> None:
    jobs: list[str] = []
    for _ in range(20):
        jobs += await scenario.submit(*(shop.work.call(0.02, number) for number in range(100)))
    worker = await scenario.worker("w0", SIDELANE_CONCURRENCY="10")
    for generation in range(1, 5):
        done = len(scenario.processes.notes("start"))
        await until(lambda: len(scenario.processes.notes("start")) > done + 50, "work is being done")  # noqa: B023
        worker.signal(signal.SIGTERM)
        await until(lambda: worker.exited, "the worker has ended", within=5)  # noqa: B023
        running = await scenario.store.list_jobs(Query(states=frozenset({State.RUNNING})))
        assert running == [], "what the worker had claimed it has finished or given back"
        worker = await scenario.worker(f"w{generation}", SIDELANE_CONCURRENCY="10")

    records = await scenario.wait_all_finished(jobs)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert sum(record.worker_losses for record in records) == 0
    assert sum(record.failures for record in records) == 0
