"""A batch ends once, although submitters and workers are killed."""

import pytest

from sidelane import State
from sidelane.model.batch import BatchRecord
from sidelane.model.job import Query
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_BOTH_STORES
from tests.system.waiting import until

JOBS = 10_000


@pytest.mark.long
@ON_BOTH_STORES
async def test_batch_of_10_000_calls_back_once_although_submitter_and_worker_are_killed(
    scenario: ProcessScenario,
) -> None:
    workers = [await scenario.worker(name) for name in ("w1", "w2")]
    submitting = scenario.processes.python("first", "tests.system.batch_submitter", "b", str(JOBS))
    await until(lambda: batch_with(scenario, total=JOBS // 10), "the first of them are there", within=20)
    submitting.kill()
    found = await scenario.store.get_batch("b")
    assert found is not None
    assert not found.sealed, "it was killed in the middle"
    again = scenario.processes.python("second", "tests.system.batch_submitter", "b", str(JOBS))
    await until(lambda: batch_with(scenario, succeeded=JOBS // 4), "some of them are done", within=30)
    workers[0].kill()

    await until(lambda: batch_with(scenario, ends=1), "the batch ends", within=90)
    await until(lambda: again.exited, "who submitted it has ended")
    assert again.status == 0
    batch = await scenario.store.get_batch("b")
    assert batch is not None
    assert (batch.state, batch.total, batch.succeeded, batch.ends) == (State.SUCCEEDED, JOBS, JOBS, 1)

    (callback,) = await scenario.store.list_jobs(Query(task="tally", limit=10))
    assert (await scenario.wait_finished(callback.id)).result == str(JOBS)
    assert [(note["total"], note["succeeded"]) for note in scenario.processes.notes("tally")] == [(JOBS, JOBS)]
    assert len(await scenario.store.list_jobs(Query(batch="b", limit=2 * JOBS))) == JOBS


async def batch_with(scenario: ProcessScenario, **least: int) -> BatchRecord | None:
    """Return the batch once these counts of it are that high."""
    batch = await scenario.store.get_batch("b")
    return batch if batch and all(getattr(batch, name) >= count for name, count in least.items()) else None
