"""Tasks in child processes: timeouts kill them, and no other job is affected."""

import signal

import pytest

from sidelane import State
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import alive
from tests.system.waiting import until


@pytest.mark.long
async def test_timeout_kills_a_child_that_does_not_stop(scenario: ProcessScenario) -> None:
    worker = await scenario.worker("w1")
    (job,) = await scenario.submit(shop.grind.call())
    child = (await scenario.wait_started(job))["pid"]
    assert child != worker.pid

    record = await scenario.wait_finished(job, within=6)
    assert (record.state, record.failures, record.worker_losses) == (State.FAILED, 1, 0)
    assert record.problem is not None
    assert (record.problem.status, record.problem.title) == (504, "Timed out")
    await until(lambda: not alive(child), "the child is gone", within=2)
    (after,) = await scenario.submit(shop.crunch.call(2, 3))
    assert (await scenario.wait_finished(after)).result == "5"
    assert not worker.exited


@pytest.mark.long
@pytest.mark.parametrize(("status", "manner"), [(3, "exit status 3"), (-signal.SIGKILL, "signal SIGKILL")])
async def test_child_that_dies_is_recorded_as_a_worker_loss(
    scenario: ProcessScenario, status: int, manner: str
) -> None:
    worker = await scenario.worker("w1")
    (job,) = await scenario.submit(shop.exit_child.call(status))

    record = await scenario.wait_finished(job)
    assert (record.state, record.failures, record.worker_losses) == (State.FAILED, 0, 4)
    assert [each.problem.title for each in record.history] == ["Process died"] * 4
    assert manner in record.history[0].problem.detail
    (after,) = await scenario.submit(shop.crunch.call(2, 3))
    assert (await scenario.wait_finished(after)).result == "5"
    assert not worker.exited


async def test_children_of_a_killed_worker_die_and_their_jobs_run_elsewhere(
    scenario: ProcessScenario, lease: float
) -> None:
    worker = await scenario.worker("w1")
    (job,) = await scenario.submit(shop.linger.call(60))
    child = (await scenario.wait_started(job))["pid"]
    await scenario.worker("w2")

    worker.kill()
    await until(lambda: not alive(child), "the child is gone", within=2)
    assert (await scenario.wait_started(job, attempt=2, within=lease + 2))["worker"] == "w2"
    record = await scenario.wait_finished(job)
    assert (record.result, record.worker_losses) == ("2", 1)
