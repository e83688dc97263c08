"""Poison jobs, kills and isolation workers, in real processes."""

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
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import alive
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until
from tests.worker.test_isolation_workers import LOST

WORKERS = ("w1", "w2")


@asynccontextmanager
async def restarted_on_exit(scenario: ProcessScenario, *names: str, slots: int) -> AsyncIterator[None]:
    """Run workers, and start each again whenever it has died, as a supervisor does."""

    async def keep(name: str) -> None:
        while True:
            worker = scenario.processes.worker(name, SIDELANE_CONCURRENCY=str(slots))
            await until(lambda: worker.exited, f"{name} dies", within=600)  # noqa: B023 - awaited at once

    keepers = [asyncio.create_task(keep(name)) for name in names]
    yield
    for keeper in keepers:
        keeper.cancel()
    await asyncio.wait(keepers)


def budget(call: Call[Any], losses: int) -> JobSpec:
    return replace(call.spec(), max_worker_losses=losses)


async def isolated(scenario: ProcessScenario, call: Call[Any]) -> str:
    """Submit a job that lost two workers before any is there."""
    (job,) = await scenario.submit(call)
    for _ in range(2):
        claims = await scenario.store.claim(ClaimRequest(request=new_nonce(), worker="dead", ids=(job,)))
        await scenario.store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=LOST)])
    return job


def starts(scenario: ProcessScenario) -> Counter[str]:
    """Count how often each job was started."""
    return Counter(note["job"] for note in scenario.processes.notes("start"))


def kill_newest(scenario: ProcessScenario, name: str) -> None:
    with suppress(IndexError):
        scenario.processes.named(name)[-1].kill()


@pytest.mark.long
@ON_EVERY_STORE
async def test_only_poison_jobs_fail_although_operators_kill_workers_too(
    scenario: ProcessScenario,
) -> None:
    rng = random.Random(7)
    good = [budget(shop.work.call(0.2, number), 3) for number in range(200)]
    poison = [budget(shop.die.call(), 3) for _ in range(3)]
    once = [budget(shop.work.call(0.4, number), 0) for number in range(20)]
    everything = [*good, *poison, *once]
    rng.shuffle(everything)
    async with restarted_on_exit(scenario, *WORKERS, slots=32):
        await scenario.submit_specs(*everything[:100])
        await until(lambda: len(starts(scenario)) > 20, "jobs run", within=30)
        kill_newest(scenario, "w1")
        await scenario.submit_specs(*everything[100:])
        await until(
            lambda: starts(scenario).keys() & {spec.id for spec in poison}, "the first poison job runs", within=30
        )
        kill_newest(scenario, "w2")
        ended = await scenario.wait_all_finished([spec.id for spec in everything], within=60)
    states = {record.id: record for record in ended}
    assert _states(states, good) == {State.SUCCEEDED}
    assert _states(states, poison) == {State.FAILED}
    started = starts(scenario)
    assert max(started[spec.id] for spec in poison) == 4
    assert max(started[spec.id] for spec in once) == 1
    assert [states[spec.id].worker_losses for spec in poison] == [4, 4, 4]


@pytest.mark.long
@ON_EVERY_STORE
@pytest.mark.parametrize(
    "losses", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)]
)
async def test_good_jobs_survive_two_poison_jobs_with_any_loss_budget(scenario: ProcessScenario, losses: int) -> None:
    good = [budget(shop.work.call(0.7, number), losses) for number in range(30)]
    poison = [budget(shop.die.call(), losses) for _ in range(2)]
    async with restarted_on_exit(scenario, *WORKERS, slots=16):
        await scenario.submit_specs(*good)
        await until(lambda: starts(scenario), "the first job runs", within=30)
        await scenario.submit_specs(poison[0])
        await scenario.wait_started(poison[0].id, attempt=min(2, losses + 1), within=30)
        await scenario.submit_specs(poison[1])
        ended = await scenario.wait_all_finished([spec.id for spec in (*good, *poison)], within=60)
    states = {record.id: record for record in ended}
    assert _states(states, good) == {State.SUCCEEDED}
    assert _states(states, poison) == {State.FAILED}
    assert [starts(scenario)[spec.id] for spec in poison] == [losses + 1, losses + 1]


@pytest.mark.soak
@pytest.mark.timeout(600)
@ON_EVERY_STORE
@pytest.mark.parametrize("losses", [1, 2, 3])
async def test_good_jobs_survive_two_poison_jobs_far_apart(scenario: ProcessScenario, losses: int) -> None:
    good = [budget(shop.work.call(5.0, number), losses) for number in range(30)]
    poison = [budget(shop.die.call(), losses) for _ in range(2)]
    async with restarted_on_exit(scenario, *WORKERS, slots=16):
        await scenario.submit_specs(*good[:15], poison[0], *good[15:])
        await asyncio.sleep(25)
        await scenario.submit_specs(poison[1])
        ended = await scenario.wait_all_finished([spec.id for spec in (*good, *poison)], within=300)
    states = {record.id: record for record in ended}
    assert _states(states, good) == {State.SUCCEEDED}
    assert _states(states, poison) == {State.FAILED}
    assert [starts(scenario)[spec.id] for spec in poison] == [losses + 1, losses + 1]


@pytest.mark.long
@ON_EVERY_STORE
async def test_all_jobs_of_a_killed_worker_run_again_at_once_on_free_slots(
    scenario: ProcessScenario, lease: float
) -> None:
    first = await scenario.worker("w1", SIDELANE_CONCURRENCY="100")
    jobs = await scenario.submit(*(shop.work.call(12.0, number) for number in range(100)))
    await until(lambda: len(starts(scenario)) == 100, "all run", within=30)
    await scenario.worker("w2", SIDELANE_CONCURRENCY="100")  # which starts while the jobs run
    first.kill()
    killed = time.clock_gettime(time.CLOCK_MONOTONIC)  # as the workers' own
    again = await until(lambda: _second_starts(scenario, 100), "all run again", within=30)
    assert max(again) - killed < lease + 2
    assert {record.state for record in await scenario.wait_all_finished(jobs, within=30)} == {State.SUCCEEDED}


@pytest.mark.soak
@pytest.mark.timeout(600)
@ON_EVERY_STORE
async def test_a_hundred_jobs_finish_in_time_although_their_worker_is_killed_twice(scenario: ProcessScenario) -> None:
    async with restarted_on_exit(scenario, "w1", slots=100):
        jobs = await scenario.submit(*(shop.work.call(8.0, number) for number in range(100)))
        submitted = time.monotonic()
        for number in range(2):
            await until(lambda: sum(starts(scenario).values()) >= 100 * (number + 1), "all run", within=60)  # noqa: B023
            kill_newest(scenario, "w1")
        records = await scenario.wait_all_finished(jobs, within=200)
    assert {record.state for record in records} == {State.SUCCEEDED}
    assert time.monotonic() - submitted < 200


@pytest.mark.long
@ON_EVERY_STORE
async def test_isolated_job_outlives_the_parent_of_its_isolation_worker(scenario: ProcessScenario) -> None:
    job = await isolated(scenario, shop.work.call(2.0, 5))
    worker = await scenario.worker("w1")
    process = (await scenario.wait_started(job, attempt=3, within=30))["pid"]
    assert process != worker.pid
    worker.kill()
    record = await scenario.wait_finished(job)
    assert (record.state, record.attempt, record.worker_losses) == (State.SUCCEEDED, 3, 2)
    await until(lambda: not alive(process), "its process ends")


@ON_EVERY_STORE
async def test_stopped_parent_leaves_no_isolated_job_unfinished(scenario: ProcessScenario) -> None:
    first = await isolated(scenario, shop.work.call(1.0, 1))
    worker = await scenario.worker("w1")
    await scenario.wait_started(first, attempt=3, within=30)
    worker.signal(signal.SIGSTOP)
    second = await isolated(scenario, shop.work.call(0.1, 2))
    for record in await scenario.wait_all_finished([first, second]):
        assert (record.state, record.attempt) == (State.SUCCEEDED, 3)


@pytest.mark.long
async def test_drained_worker_exits_after_its_isolation_workers(scenario: ProcessScenario) -> None:
    job = await isolated(scenario, shop.work.call(1.5, 1))
    worker = await scenario.worker("w1")
    process = (await scenario.wait_started(job, attempt=3, within=30))["pid"]
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.exited, "the worker ends")
    assert worker.status == os.EX_OK
    assert not alive(process)
    assert (await scenario.record(job)).state is State.SUCCEEDED


def _second_starts(scenario: ProcessScenario, count: int) -> list[float]:
    """Return when the second attempts began, once there are so many."""
    times = [note["at"] for note in scenario.processes.notes("start") if note["attempt"] == 2]
    return times if len(times) >= count else []


def _states(records: dict[str, JobRecord], specs: list[JobSpec]) -> set[State]:
    return {records[spec.id].state for spec in specs}
