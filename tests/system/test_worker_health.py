"""A worker that cannot work reports it, and recovers or leaves its jobs to another."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sidelane import State
from sidelane.worker.heartbeat import EXIT_STUCK
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.waiting import until


async def test_worker_with_a_blocked_event_loop_exits_and_its_job_runs_elsewhere(
    scenario: ProcessScenario, lease: float
) -> None:
    worker = await scenario.worker("w1")
    (job,) = await scenario.submit(shop.block.call(60))
    await scenario.wait_started(job)
    await scenario.worker("w2")

    await until(lambda: worker.exited, "the stuck worker has ended itself", within=3 * lease)
    assert worker.status == EXIT_STUCK
    assert worker.logged("the event loop has been stuck")
    record = await scenario.wait_finished(job, within=lease + 3)
    assert (record.state, record.result) == (State.SUCCEEDED, "2")
    assert (record.worker_losses, record.failures) == (1, 0)


@pytest.mark.long
async def test_other_jobs_of_a_blocked_worker_are_released_and_the_log_names_the_blocking_job(
    scenario: ProcessScenario, lease: float
) -> None:
    worker = await scenario.worker("w1")
    held, told = await scenario.submit(shop.hold.call(), shop.tell.call(40, 0.2))
    for job in (held, told):
        await scenario.wait_started(job)
    (blocking,) = await scenario.submit(shop.block.call(60))
    await until(lambda: worker.exited, "the stuck worker has ended itself", within=4 * lease)
    assert worker.status == EXIT_STUCK

    log = worker.log.read_text()
    assert f"job {blocking} (block) blocks it; these wait:" in log
    assert "time.sleep(" in log, "the stack is logged"
    assert f"{held} (hold)" in log
    await scenario.worker("w2")
    scenario.processes.open_gate("w2")
    records = [await scenario.wait_finished(job, within=30) for job in (held, told, blocking)]
    assert [record.state for record in records] == [State.SUCCEEDED] * 3
    assert [record.worker_losses for record in records] == [0, 0, 1]
    assert [record.attempt for record in records] == [2, 2, 2]


@pytest.mark.long
@pytest.mark.parametrize("lease", [6.0])
async def test_event_loop_that_is_blocked_for_a_second_is_logged_once_with_its_stack(
    scenario: ProcessScenario, lease: float
) -> None:
    worker = await scenario.worker("w1")
    (job,) = await scenario.submit(shop.block.call(3.0))
    await scenario.wait_finished(job)
    log = worker.log.read_text()
    assert log.count(f"the event loop is blocked: job {job} (block) blocks it. Declare such a task with `def`") == 1
    assert "time.sleep(" in log
    assert "stuck" not in log
    assert not worker.exited


async def test_event_loop_blocked_for_less_than_a_lease_costs_nothing(scenario: ProcessScenario, lease: float) -> None:
    worker = await scenario.worker("w1")
    await scenario.worker("w2")
    (job,) = await scenario.submit(shop.block.call(lease * 0.6))

    record = await scenario.wait_finished(job)
    assert (record.state, record.attempt, record.worker_losses) == (State.SUCCEEDED, 1, 0)
    assert not worker.exited


@pytest.mark.long
async def test_worker_that_cannot_reach_the_store_logs_it_and_recovers_without_loss(
    scenario: ProcessScenario, tmp_path: Path
) -> None:
    worker = await scenario.worker("w1")
    held, told = await scenario.submit(shop.hold.call(), shop.tell.call(60, 0.1))
    for job in (held, told):
        await scenario.wait_started(job)
    with locked(tmp_path / "jobs.db"):
        scenario.processes.open_gate("w1")  # a job ends while nobody can write it down
        await until(
            lambda: worker.logged("keep trying") or worker.logged("keeps trying"), "the worker complains", within=12
        )
        assert await scenario.store.workers() == [], "nobody takes it for alive"
    (after,) = await scenario.submit(shop.add.call(1, 2))

    for job, result in ((after, "3"), (held, '"w1"'), (told, None)):
        record = await scenario.wait_finished(job, within=20)
        assert (record.state, record.attempt, record.worker_losses) == (State.SUCCEEDED, 1, 0)
        assert result in (None, record.result)
    assert [data["text"] for name, data in await scenario.event_log(told) if name == "token"] == [
        f"{n} " for n in range(60)
    ]
    (info,) = await scenario.store.workers()
    assert info.health == "ok"
    assert not worker.exited


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the database's write lock, as a careless program beside ours might."""
    connection = apsw.Connection(str(file))
    connection.set_busy_timeout(5000)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_store_whose_file_was_moved_away_accepts_no_job_until_it_is_back(
    scenario: ProcessScenario, tmp_path: Path
) -> None:
    worker = await scenario.worker("w1")
    _, client = await scenario.api()
    with moved_away(tmp_path / "jobs.db"):
        answer = await client.post("/sums/meanwhile", params={"a": 1, "b": 2})
        assert answer.status_code == 503
        await until(lambda: worker.logged("keeps trying"), "the worker complains")
    (after,) = await scenario.submit(shop.add.call(1, 2))

    assert (await scenario.wait_finished(after)).result == "3"
    assert not worker.exited


@contextlib.contextmanager
def moved_away(file: Path) -> Iterator[None]:
    """Take the database away from under the processes that have it open."""
    parts = [Path(f"{file}{suffix}") for suffix in ("", "-wal", "-shm")]
    for part in parts:
        part.rename(f"{part}.moved")
    try:
        yield
    finally:
        for part in parts:
            Path(f"{part}.moved").rename(part)
