"""Tasks in child processes: what a timeout cannot stop elsewhere, it stops here, and nothing else feels it."""

import signal

import pytest

from sidelane import State
from tests.system import shop
from tests.system.processes import alive
from tests.system.scene import Scene
from tests.system.waiting import until


async def test_a_timeout_kills_a_child_that_does_not_listen(scene: Scene) -> None:
    worker = await scene.worker("w1")
    (job,) = await scene.submit(shop.grind.call())
    child = (await scene.started(job))["pid"]
    assert child != worker.pid

    record = await scene.ended(job, within=6)
    assert (record.state, record.failures, record.worker_losses) == (State.FAILED, 1, 0)
    assert record.problem is not None
    assert (record.problem.status, record.problem.title) == (504, "Timed out")
    await until(lambda: not alive(child), "the child is gone", within=2)
    (after,) = await scene.submit(shop.crunch.call(2, 3))
    assert (await scene.ended(after)).result == "5"
    assert not worker.ended


@pytest.mark.parametrize(("status", "manner"), [(3, "exit status 3"), (-signal.SIGKILL, "signal SIGKILL")])
async def test_a_child_that_dies_is_a_recorded_loss(scene: Scene, status: int, manner: str) -> None:
    worker = await scene.worker("w1")
    (job,) = await scene.submit(shop.exit_child.call(status))

    record = await scene.ended(job)
    assert (record.state, record.failures, record.worker_losses) == (State.FAILED, 0, 4)
    assert [each.problem.title for each in record.history] == ["Process died"] * 4
    assert manner in record.history[0].problem.detail
    (after,) = await scene.submit(shop.crunch.call(2, 3))
    assert (await scene.ended(after)).result == "5"
    assert not worker.ended


async def test_children_die_with_a_killed_worker_and_their_jobs_run_elsewhere(scene: Scene, lease: float) -> None:
    worker = await scene.worker("w1")
    (job,) = await scene.submit(shop.linger.call(60))
    child = (await scene.started(job))["pid"]
    await scene.worker("w2")

    worker.kill()
    await until(lambda: not alive(child), "the child is gone", within=2)
    assert (await scene.started(job, attempt=2, within=lease + 2))["worker"] == "w2"
    record = await scene.ended(job)
    assert (record.result, record.worker_losses) == ("2", 1)
