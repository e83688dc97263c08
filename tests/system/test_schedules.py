"""A schedule fires once at each of its times, whoever is there to see to it."""

import asyncio
import random
from collections.abc import Callable

import pytest

from sidelane.model.job import Query
from sidelane.model.schedule import Schedule
from tests.system import shop
from tests.system.places import ON_BOTH_STORES
from tests.system.scene import Scene

EVERY = 0.02

FEW, FIRINGS = 100, 1000
"""The latter: `make test ARGS="-m soak tests/system/test_schedules.py"`."""

TICK = Schedule(name="tick", spec=shop.add.call(1, 2).spec(), every=EVERY, catch_up="all")

KILLS = 2
"""At least."""

SEED = 4


@ON_BOTH_STORES
@pytest.mark.parametrize("firings", [FEW, pytest.param(FIRINGS, marks=pytest.mark.soak)])
async def test_each_firing_is_one_job_though_of_two_who_fire_one_is_killed_again_and_again(
    scene: Scene, firings: int, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(SEED)
    await scene.store.upsert_schedule(TICK)
    (record,) = (await scene.store.list_schedules()).records
    since, kills = record.last, 0
    workers = [await scene.worker(name) for name in ("w0", "w1")]

    async def fired() -> list[float]:
        (record,) = (await scene.store.list_schedules()).records
        return TICK.due(since, record.last, most=100 * firings)

    while kills < KILLS or len(await fired()) < firings:
        await asyncio.sleep(dice.uniform(0.1, 0.6))
        victim = dice.randrange(2)
        workers[victim].kill()
        workers[victim] = await scene.worker(f"w{victim}")
        kills += 1
    await scene.store.set_schedule_enabled(TICK.name, False)

    times = await fired()
    jobs = await scene.store.list_jobs(Query(task=TICK.spec.task, limit=100 * firings))
    assert len(jobs) == len(times)
    assert len(times) >= firings
    await scene.finished([job.id for job in jobs], within=30)
    figures = {"firings": len(times), "jobs": len(jobs), "kills": kills}
    record_property("firings", figures)
    print(figures)
