"""Workers of the old and the new version share a store during a deployment."""

import asyncio

from sidelane import State
from sidelane.model.job import JobSpec
from tests.system import new_version
from tests.system.process_scenario import ProcessScenario

OLD, NEW = "tests.system.old_version:lane", "tests.system.new_version:lane"

QUEUED = 1000


async def test_renaming_a_task_with_1000_queued_jobs_loses_none(scenario: ProcessScenario) -> None:
    specs = [JobSpec(id=f"price-{item}", task="price", arguments=f'{{"item": {item}}}') for item in range(QUEUED)]
    jobs: list[str] = []
    for first in range(0, QUEUED, 100):
        jobs += await scenario.submit_specs(*specs[first : first + 100])
    await scenario.store.pause("default")
    await asyncio.gather(
        scenario.worker("old", OLD, SIDELANE_CONCURRENCY="5"), scenario.worker("new", NEW, SIDELANE_CONCURRENCY="5")
    )
    await scenario.store.pause("default", False)
    renamed = await scenario.submit(*(new_version.quote.call(item) for item in range(100)))

    records = await scenario.wait_all_finished(jobs + renamed, within=20)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert {record.attempt for record in records} == {1}
    results = {record.id: record.result for record in records}
    assert all(results[f"price-{item}"] in {f'"old {item}"', f'"new {item}"'} for item in range(QUEUED))
    assert [results[job] for job in renamed] == [f'"new {item}"' for item in range(100)]
    ran = scenario.processes.notes("ran")
    assert sorted(note["job"] for note in ran) == sorted(jobs + renamed), "each ran once"
    assert {note["worker"] for note in ran} == {"old", "new"}, "and both editions took part"


async def test_old_workers_do_not_run_jobs_of_a_newer_version(scenario: ProcessScenario) -> None:
    old = await scenario.worker("old", OLD)
    newer = await scenario.submit(*(new_version.weigh.call(kilograms) for kilograms in (1.5, 2.5)))
    (own,) = await scenario.submit_specs(JobSpec(id="own", task="weigh", version=1, arguments='{"grams": 10}'))
    assert (await scenario.wait_finished(own)).result == '"version 1: 10 g"'
    assert [record.state for record in await scenario.records(newer)] == [State.QUEUED] * 2
    assert [record.attempt for record in await scenario.records(newer)] == [0] * 2

    await scenario.worker("new", NEW)
    assert [record.result for record in await scenario.wait_all_finished(newer)] == [
        '"version 2: 1.5 kg"',
        '"version 2: 2.5 kg"',
    ]
    old.kill()
    (older,) = await scenario.submit_specs(JobSpec(id="older", task="weigh", version=1, arguments='{"grams": 20}'))
    assert (await scenario.wait_finished(older)).result == '"version 2: 0.02 kg"'
