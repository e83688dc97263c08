"""A batch ends once, whoever dies on the way."""

import pytest

from sidelane import State
from sidelane.model.batch import BatchRecord
from sidelane.model.job import Query
from tests.system.places import ON_BOTH_STORES
from tests.system.scene import Scene
from tests.system.waiting import until

JOBS = 10_000


@pytest.mark.long
@ON_BOTH_STORES
async def test_a_batch_of_10_000_calls_back_once_though_who_submits_it_and_who_runs_it_are_killed(scene: Scene) -> None:
    workers = [await scene.worker(name) for name in ("w1", "w2")]
    submitting = scene.processes.python("first", "tests.system.batching", "b", str(JOBS))
    await until(lambda: batch_with(scene, total=JOBS // 10), "the first of them are there", within=20)
    submitting.kill()
    found = await scene.store.get_batch("b")
    assert found is not None
    assert not found.sealed, "it was killed in the middle"
    again = scene.processes.python("second", "tests.system.batching", "b", str(JOBS))
    await until(lambda: batch_with(scene, succeeded=JOBS // 4), "some of them are done", within=30)
    workers[0].kill()

    await until(lambda: batch_with(scene, ends=1), "the batch ends", within=90)
    await until(lambda: again.ended, "who submitted it has ended")
    assert again.status == 0
    batch = await scene.store.get_batch("b")
    assert batch is not None
    assert (batch.state, batch.total, batch.succeeded, batch.ends) == (State.SUCCEEDED, JOBS, JOBS, 1)

    (callback,) = await scene.store.list_jobs(Query(task="tally", limit=10))
    assert (await scene.ended(callback.id)).result == str(JOBS)
    assert [(note["total"], note["succeeded"]) for note in scene.processes.diary("tally")] == [(JOBS, JOBS)]
    assert len(await scene.store.list_jobs(Query(batch="b", limit=2 * JOBS))) == JOBS


async def batch_with(scene: Scene, **least: int) -> BatchRecord | None:
    """Give the batch once these counts of it are that high."""
    batch = await scene.store.get_batch("b")
    return batch if batch and all(getattr(batch, name) >= count for name, count in least.items()) else None
