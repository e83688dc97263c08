"""A bulk action whose worker is killed goes on in another, and changes each job of its set once."""

import pytest

from sidelane.admin import bulk
from sidelane.client.bulk_actions import BulkKind
from sidelane.model.job import JobSpec, State
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until

JOBS = 500


@pytest.mark.long
@ON_EVERY_STORE
async def test_bulk_action_goes_on_after_its_worker_is_killed(scenario: ProcessScenario) -> None:
    store = scenario.store
    ids = [f"job-{number}" for number in range(JOBS)]
    for first in range(0, JOBS, 100):
        await store.submit([JobSpec(id=each, task="unknown", queue="q") for each in ids[first : first + 100]])
    action = await bulk.capture(
        store, BulkKind.CANCEL, bulk.chosen_jobs(store, ids[:400]), filter_text="a test", by="ann"
    )
    first_worker = await scenario.worker("w1")
    await bulk.begin(store, action.id, by="ann", pace=100)
    await scenario.submit(shop.lane.registry.tasks["sidelane.bulk_action"].options(id=action.job_id).call(action.id))

    async def handled() -> int:
        return (await bulk.read_action(store, action.id)).action.handled

    async def begun() -> bool:
        return await handled() >= 100

    await until(begun, "the action has begun", within=20)
    first_worker.kill()
    assert await handled() < 400
    await scenario.worker("w2")
    (job,) = await scenario.wait_all_finished([action.job_id], within=30)
    assert job.state is State.SUCCEEDED
    assert job.worker_losses == 1
    done = (await bulk.read_action(store, action.id)).action
    assert (done.done, done.skipped, done.failed) == (400, 0, 0)
    states = [record.state for record in await scenario.records(ids)]
    assert states == [State.CANCELLED] * 400 + [State.QUEUED] * 100
