"""Workers of the old edition and of the new one share a store while a deployment rolls out."""

import asyncio

from sidelane import State
from sidelane.model.job import JobSpec
from tests.system import new_shop
from tests.system.scene import Scene

OLD, NEW = "tests.system.old_shop:lane", "tests.system.new_shop:lane"

QUEUED = 1000


async def test_a_task_renamed_with_1000_jobs_queued_loses_and_fails_none(scene: Scene) -> None:
    specs = [JobSpec(id=f"price-{item}", task="price", arguments=f'{{"item": {item}}}') for item in range(QUEUED)]
    jobs: list[str] = []
    for first in range(0, QUEUED, 100):
        jobs += await scene.submit_specs(*specs[first : first + 100])
    await scene.store.pause("default")
    await asyncio.gather(
        scene.worker("old", OLD, SIDELANE_CONCURRENCY="5"), scene.worker("new", NEW, SIDELANE_CONCURRENCY="5")
    )
    await scene.store.pause("default", False)
    renamed = await scene.submit(*(new_shop.quote.call(item) for item in range(100)))

    records = await scene.finished(jobs + renamed, within=20)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert {record.attempt for record in records} == {1}
    results = {record.id: record.result for record in records}
    assert all(results[f"price-{item}"] in {f'"old {item}"', f'"new {item}"'} for item in range(QUEUED))
    assert [results[job] for job in renamed] == [f'"new {item}"' for item in range(100)]
    ran = scene.processes.diary("ran")
    assert sorted(note["job"] for note in ran) == sorted(jobs + renamed), "each ran once"
    assert {note["worker"] for note in ran} == {"old", "new"}, "and both editions took part"


async def test_workers_of_the_old_version_leave_jobs_of_a_newer_one_alone(scene: Scene) -> None:
    old = await scene.worker("old", OLD)
    newer = await scene.submit(*(new_shop.weigh.call(kilograms) for kilograms in (1.5, 2.5)))
    (own,) = await scene.submit_specs(JobSpec(id="own", task="weigh", version=1, arguments='{"grams": 10}'))
    assert (await scene.ended(own)).result == '"version 1: 10 g"'
    assert [record.state for record in await scene.records(newer)] == [State.QUEUED] * 2
    assert [record.attempt for record in await scene.records(newer)] == [0] * 2

    await scene.worker("new", NEW)
    assert [record.result for record in await scene.finished(newer)] == ['"version 2: 1.5 kg"', '"version 2: 2.5 kg"']
    old.kill()
    (older,) = await scene.submit_specs(JobSpec(id="older", task="weigh", version=1, arguments='{"grams": 20}'))
    assert (await scene.ended(older)).result == '"version 2: 0.02 kg"'
