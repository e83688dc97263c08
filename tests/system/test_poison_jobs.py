"""A task that kills its process fails without taking good jobs with it."""

import asyncio

import pytest

from sidelane import State
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until

GOOD = 200


@pytest.mark.long
@ON_EVERY_STORE
async def test_poison_job_fails_within_its_loss_budget_and_200_good_jobs_succeed(
    scenario: ProcessScenario,
) -> None:
    first = await scenario.submit(*(shop.work.call(0.2, number) for number in range(GOOD // 2)))
    (poison,) = await scenario.submit(shop.die.call())
    jobs = first + await scenario.submit(*(shop.work.call(0.2, number) for number in range(GOOD // 2, GOOD)))

    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(_keep_running(scenario, name)) for name in ("w1", "w2")]
        record = await scenario.wait_finished(poison, within=22)
        good = await scenario.wait_all_finished(jobs, within=15)
        for keeper in keepers:
            keeper.cancel()

    assert record.state is State.FAILED
    assert (record.worker_losses, record.failures, record.attempt) == (4, 0, 4)
    assert record.problem is not None
    assert record.problem.title
    assert "worker" in record.problem.detail
    assert len(record.history) == 4
    assert [each.state for each in good] == [State.SUCCEEDED] * GOOD
    assert [each.result for each in good] == [str(shop.square(number)) for number in range(GOOD)]
    assert max(each.worker_losses for each in good) <= 2, (
        "a good job dies with the killer by chance once or twice, and no more"
    )


async def _keep_running(scenario: ProcessScenario, name: str) -> None:
    """Run a worker, and start it again whenever it has died, as a supervisor does."""
    while True:
        worker = scenario.processes.worker(name, SIDELANE_CONCURRENCY="32")
        await until(lambda: worker.exited, f"{name} dies", within=60)  # noqa: B023 - awaited at once
