"""A schedule submits one job at each of its times, whichever processes are killed."""

import asyncio
import random
from collections.abc import Callable

import pytest

from sidelane.model.job import Query
from sidelane.model.schedule import Schedule
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_BOTH_STORES

EVERY = 0.02

FEW, FIRINGS = 100, 1000
"""The latter: `make test ARGS="-m soak tests/system/test_schedules.py"`."""

TICK = Schedule(name="tick", spec=shop.add.call(1, 2).spec(), every=EVERY, catch_up="all")

KILLS = 2
"""At least."""

SEED = 4


@ON_BOTH_STORES
@pytest.mark.parametrize("firings", [FEW, pytest.param(FIRINGS, marks=pytest.mark.soak)])
@pytest.mark.row("R20")
async def test_schedule_submits_one_job_per_tick_although_workers_are_killed(
    scenario: ProcessScenario, firings: int, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(SEED)
    await scenario.store.upsert_schedule(TICK)
    (record,) = (await scenario.store.list_schedules()).records
    since, kills = record.last, 0
    workers = [await scenario.worker(name) for name in ("w0", "w1")]

    async def fired() -> list[float]:
        (record,) = (await scenario.store.list_schedules()).records
        return TICK.due(since, record.last, most=100 * firings)

    while kills < KILLS or len(await fired()) < firings:
        await asyncio.sleep(rng.uniform(0.1, 0.6))
        victim = rng.randrange(2)
        workers[victim].kill()
        workers[victim] = await scenario.worker(f"w{victim}")
        kills += 1
    await scenario.store.set_schedule_enabled(TICK.name, False)

    times = await fired()
    jobs = await scenario.store.list_jobs(Query(task=TICK.spec.task, limit=100 * firings))
    assert len(jobs) == len(times)
    assert len(times) >= firings
    await scenario.wait_all_finished([job.id for job in jobs], within=30)
    figures = {"firings": len(times), "jobs": len(jobs), "kills": kills}
    record_property("firings", figures)
    print(figures)
