"""Poison jobs, kills and isolation workers, in real processes: whoever kills a worker is alone with it in the end."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from sidelane import State
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec
from sidelane.model.outcome import AttemptResult
from sidelane.model.worker import ClaimRequest
from sidelane.tasks.task import Call
from tests.system import shop
from tests.system.places import ON_EVERY_STORE
from tests.system.processes import alive
from tests.system.scene import Scene
from tests.system.waiting import until
from tests.worker.test_isolation_workers import LOST

WORKERS = ("w1", "w2")


@asynccontextmanager
async def kept_running(scene: Scene, *names: str, slots: int) -> AsyncIterator[None]:
    """Run workers, and start each again whenever it has died, as a supervisor does."""

    async def keep(name: str) -> None:
        while True:
            worker = scene.processes.worker(name, SIDELANE_CONCURRENCY=str(slots))
            await until(lambda: worker.ended, f"{name} dies", within=600)  # noqa: B023 - awaited at once

    keepers = [asyncio.create_task(keep(name)) for name in names]
    yield
    for keeper in keepers:
        keeper.cancel()
    await asyncio.wait(keepers)


def budget(call: Call[Any], losses: int) -> JobSpec:
    return replace(call.spec(), max_worker_losses=losses)


async def isolated(scene: Scene, call: Call[Any]) -> str:
    """Submit a job that lost two workers before any is there."""
    (job,) = await scene.submit(call)
    for _ in range(2):
        claims = await scene.store.claim(ClaimRequest(request=new_nonce(), worker="dead", ids=(job,)))
        await scene.store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=LOST)])
    return job


def starts(scene: Scene) -> Counter[str]:
    """Count how often each job was started."""
    return Counter(note["job"] for note in scene.processes.diary("start"))


def kill_newest(scene: Scene, name: str) -> None:
    with suppress(IndexError):
        scene.processes.named(name)[-1].kill()


@pytest.mark.long
@ON_EVERY_STORE
async def test_poison_jobs_die_alone_among_good_ones_though_operators_kill_workers_too(scene: Scene) -> None:
    dice = random.Random(7)
    good = [budget(shop.work.call(0.2, number), 3) for number in range(200)]
    poison = [budget(shop.die.call(), 3) for _ in range(3)]
    once = [budget(shop.work.call(0.4, number), 0) for number in range(20)]
    everything = [*good, *poison, *once]
    dice.shuffle(everything)
    async with kept_running(scene, *WORKERS, slots=32):
        await scene.submit_specs(*everything[:100])
        await until(lambda: len(starts(scene)) > 20, "jobs run", within=30)
        kill_newest(scene, "w1")
        await scene.submit_specs(*everything[100:])
        await until(lambda: starts(scene).keys() & {spec.id for spec in poison}, "the first poison job runs", within=30)
        kill_newest(scene, "w2")
        ended = await scene.finished([spec.id for spec in everything], within=60)
    states = {record.id: record for record in ended}
    assert _states(states, good) == {State.SUCCEEDED}
    assert _states(states, poison) == {State.FAILED}
    started = starts(scene)
    assert max(started[spec.id] for spec in poison) == 4
    assert max(started[spec.id] for spec in once) == 1
    assert [states[spec.id].worker_losses for spec in poison] == [4, 4, 4]


@ON_EVERY_STORE
@pytest.mark.parametrize(
    "losses", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)]
)
async def test_good_jobs_survive_two_poison_jobs_whatever_the_budget(scene: Scene, losses: int) -> None:
    good = [budget(shop.work.call(0.7, number), losses) for number in range(30)]
    poison = [budget(shop.die.call(), losses) for _ in range(2)]
    async with kept_running(scene, *WORKERS, slots=16):
        await scene.submit_specs(*good)
        await until(lambda: starts(scene), "the first job runs", within=30)
        await scene.submit_specs(poison[0])
        await scene.started(poison[0].id, attempt=min(2, losses + 1), within=30)
        await scene.submit_specs(poison[1])
        ended = await scene.finished([spec.id for spec in (*good, *poison)], within=60)
    states = {record.id: record for record in ended}
    assert _states(states, good) == {State.SUCCEEDED}
    assert _states(states, poison) == {State.FAILED}
    assert [starts(scene)[spec.id] for spec in poison] == [losses + 1, losses + 1]


@pytest.mark.soak
@pytest.mark.timeout(600)
@ON_EVERY_STORE
@pytest.mark.parametrize("losses", [1, 2, 3])
async def test_good_jobs_survive_two_poison_jobs_that_come_long_after_each_other(scene: Scene, losses: int) -> None:
    good = [budget(shop.work.call(5.0, number), losses) for number in range(30)]
    poison = [budget(shop.die.call(), losses) for _ in range(2)]
    async with kept_running(scene, *WORKERS, slots=16):
        await scene.submit_specs(*good[:15], poison[0], *good[15:])
        await asyncio.sleep(25)
        await scene.submit_specs(poison[1])
        ended = await scene.finished([spec.id for spec in (*good, *poison)], within=300)
    states = {record.id: record for record in ended}
    assert _states(states, good) == {State.SUCCEEDED}
    assert _states(states, poison) == {State.FAILED}
    assert [starts(scene)[spec.id] for spec in poison] == [losses + 1, losses + 1]


@ON_EVERY_STORE
async def test_all_jobs_of_a_killed_worker_run_again_at_once_where_slots_are_free(scene: Scene, lease: float) -> None:
    first = await scene.worker("w1", SIDELANE_CONCURRENCY="100")
    jobs = await scene.submit(*(shop.work.call(3.0, number) for number in range(100)))
    await until(lambda: len(starts(scene)) == 100, "all run", within=30)
    await scene.worker("w2", SIDELANE_CONCURRENCY="100")
    first.kill()
    killed = time.clock_gettime(time.CLOCK_MONOTONIC)  # as the workers' own
    again = await until(lambda: _second_starts(scene, 100), "all run again", within=30)
    assert max(again) - killed < lease + 2
    assert {record.state for record in await scene.finished(jobs, within=30)} == {State.SUCCEEDED}


@pytest.mark.soak
@pytest.mark.timeout(600)
@ON_EVERY_STORE
async def test_a_hundred_jobs_whose_worker_is_killed_twice_are_done_in_time(scene: Scene) -> None:
    async with kept_running(scene, "w1", slots=100):
        jobs = await scene.submit(*(shop.work.call(8.0, number) for number in range(100)))
        submitted = time.monotonic()
        for number in range(2):
            await until(lambda: sum(starts(scene).values()) >= 100 * (number + 1), "all run", within=60)  # noqa: B023
            kill_newest(scene, "w1")
        records = await scene.finished(jobs, within=200)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert time.monotonic() - submitted < 200


@ON_EVERY_STORE
async def test_an_isolated_job_outlives_the_worker_that_had_it_started(scene: Scene) -> None:
    job = await isolated(scene, shop.work.call(2.0, 5))
    worker = await scene.worker("w1")
    process = (await scene.started(job, attempt=3, within=30))["pid"]
    assert process != worker.pid
    worker.kill()
    record = await scene.ended(job)
    assert (record.state, record.attempt, record.worker_losses) == (State.SUCCEEDED, 3, 2)
    await until(lambda: not alive(process), "its process ends")


@ON_EVERY_STORE
async def test_a_stopped_worker_leaves_no_isolated_job_behind(scene: Scene) -> None:
    first = await isolated(scene, shop.work.call(1.0, 1))
    worker = await scene.worker("w1")
    await scene.started(first, attempt=3, within=30)
    worker.signal(signal.SIGSTOP)
    second = await isolated(scene, shop.work.call(0.1, 2))
    for record in await scene.finished([first, second]):
        assert (record.state, record.attempt) == (State.SUCCEEDED, 3)


async def test_a_worker_that_drains_ends_with_its_isolation_workers(scene: Scene) -> None:
    job = await isolated(scene, shop.work.call(1.5, 1))
    worker = await scene.worker("w1")
    process = (await scene.started(job, attempt=3, within=30))["pid"]
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.ended, "the worker ends")
    assert worker.status == os.EX_OK
    assert not alive(process)
    assert (await scene.record(job)).state is State.SUCCEEDED


def _second_starts(scene: Scene, count: int) -> list[float]:
    """Give when the second attempts began, once there are so many."""
    times = [note["at"] for note in scene.processes.diary("start") if note["attempt"] == 2]
    return times if len(times) >= count else []


def _states(records: dict[str, JobRecord], specs: list[JobSpec]) -> set[State]:
    return {records[spec.id].state for spec in specs}
