"""Isolation workers: a job that lost two workers runs in a process of its own, and there as anywhere else."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sidelane import JobFailed, Sidelane, State
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure
from sidelane.model.outcome import AttemptResult, Lost
from sidelane.model.problem import Problem
from sidelane.model.worker import ClaimRequest
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call
from sidelane.worker import isolation
from sidelane.worker.worker import Worker
from tests.engine import isolation_tasks as tasks
from tests.system.processes import alive
from tests.system.waiting import until

SOON = 30.0
LOST = Lost(Failure(problem=Problem(detail="killed")))


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Sidelane]:
    files = str(tmp_path / "files")
    tasks.lane.configuration.settings.__dict__.update(store=f"sqlite:///{tmp_path / 'jobs.db'}", files=files)
    with tasks.lane.files.use_location(files):
        async with tasks.lane.open():
            yield tasks.lane


@asynccontextmanager
async def working(lane: Sidelane, **options: Any) -> AsyncIterator[Worker]:
    """Run a worker in this process, and let it drain."""
    worker = lane.worker(name="w", **options)
    running = asyncio.create_task(worker.run())
    yield worker
    worker.drain()
    await running


async def lost(lane: Sidelane, call: Call[Any], times: int = 2) -> Job[Any]:
    """Submit a call whose job loses so many workers at once."""
    return await lost_job(lane, await lane.submit(call), times)


async def lost_job(lane: Sidelane, job: Job[Any], times: int = 2) -> Job[Any]:
    store = lane.client.store
    for _ in range(times):
        claims = await store.claim(ClaimRequest(request=new_nonce(), worker="dead", ids=(job.id,)))
        await store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=LOST)])
    return job


async def pid_of(job: Job[Any]) -> int:
    """Wait until a job of `waits` or `hangs_until_stopped` has said in which process it runs."""
    async with aclosing(job.events()) as events:
        async for event in events:
            if event.name == "pid":
                return int(event.data)
    raise AssertionError("it never said")


async def test_an_isolated_job_runs_in_another_process(lane: Sidelane) -> None:
    jobs = [await lost(lane, call) for call in (tasks.where.call(), tasks.where_in_a_thread.call())]
    ordinary = await lane.submit(tasks.where.call())
    async with working(lane):
        assert await ordinary.result(SOON) == os.getpid()
        first, second = [await job.result(SOON) for job in jobs]
    assert os.getpid() != first == second, "one isolation worker ran both, one after the other"


async def test_a_job_that_lost_one_worker_is_not_isolated(lane: Sidelane) -> None:
    job = await lost(lane, tasks.where.call(), times=1)
    async with working(lane):
        assert await job.result(SOON) == os.getpid()


async def test_an_isolated_job_uses_resources_files_events_and_jobs_of_its_own_as_any_other(
    lane: Sidelane, tmp_path: Path
) -> None:
    file = await lane.files.save(b"said", name="said.txt")
    calls: list[Call[Any]] = [
        tasks.with_model.call(), tasks.reads.call(file), tasks.tells.call(2_000), tasks.submits.call(),
        tasks.where_in_a_child.call(), tasks.fails_once.call(),
    ]  # fmt: skip
    jobs = [await lost(lane, call) for call in calls]
    async with working(lane):
        model, read, told, submitted, child, failed = [cast(Any, await job.result(SOON)) for job in jobs]
    isolated = read[0]
    assert os.getpid() != isolated
    assert model == (isolated, f"model of {isolated}")
    assert read[1] == "said"
    assert told == "".join(f"{number} " for number in range(2_000))
    assert len([event async for event in jobs[2].events() if event.name == "token"]) == 2_000
    assert submitted == (isolated, os.getpid()), "what it submits is an ordinary job"
    assert child[1] == isolated
    assert failed == (isolated, 4)


async def test_a_task_with_an_exclusive_resource_is_never_isolated(lane: Sidelane) -> None:
    job = await lost(lane, tasks.on_gpu.call())
    record = await job.record()
    assert (record.worker_losses, record.isolated, record.spec.isolable) == (2, False, False)
    async with working(lane):
        assert await job.result(SOON) == os.getpid()


async def test_a_task_that_another_process_cannot_import_is_never_isolated(lane: Sidelane) -> None:
    @lane.task(name="local")
    async def local() -> int:
        return os.getpid()

    try:
        job = await lost(lane, local.call())
        async with working(lane):
            assert await job.result(SOON) == os.getpid()
    finally:
        del lane.registry.tasks["local"]


async def test_a_task_that_kills_its_process_kills_isolation_workers_alone(lane: Sidelane) -> None:
    poison = await lost(lane, tasks.dies.call())
    async with working(lane) as worker:
        others = [await lane.submit(tasks.waits.call(0.1)) for _ in range(10)]
        assert {await job.result(SOON) for job in others} == {os.getpid()}
        with pytest.raises(JobFailed):
            await poison.result(SOON)
        assert "isolation" not in worker.health
    record = await poison.record()
    assert (record.attempt, record.worker_losses) == (4, 4)


async def test_a_job_whose_resource_does_not_open_waits_in_isolation_too(lane: Sidelane) -> None:
    job = await lost(lane, tasks.with_broken.call())
    beside = await lost(lane, tasks.where.call())
    async with working(lane):
        assert await beside.result(SOON) != os.getpid()
        record = await job.record()
        assert (record.state, record.failures, record.worker_losses) == (State.QUEUED, 0, 2)


async def test_an_isolation_worker_leaves_with_a_task_that_outlives_its_grace(lane: Sidelane) -> None:
    stuck = await lost(lane, tasks.hangs.call())
    later = await lost(lane, tasks.waits.call(0.1))
    async with working(lane):
        with pytest.raises(JobFailed, match="did not end within"):
            await stuck.result(SOON)
        assert await later.result(SOON) != os.getpid()
    assert (await stuck.record()).worker_losses == 2, "its end was reported"


async def test_an_idle_isolation_worker_ends(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "IDLE_TIMEOUT", 0.3)
    job = await lost(lane, tasks.where.call())
    async with working(lane):
        pid = await job.result(SOON)
        await until(lambda: not alive(pid), "it has ended", within=SOON)


async def test_isolated_jobs_run_side_by_side_in_at_most_two_processes_of_a_small_worker(lane: Sidelane) -> None:
    jobs = [await lost(lane, tasks.waits.call(0.5)) for _ in range(6)]
    async with working(lane):
        pids = [await job.result(SOON) for job in jobs]
    assert len({*pids}) == 2


async def test_a_drained_worker_lets_its_isolated_job_finish(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(1.0))
    async with working(lane):
        pid = await pid_of(job)
    assert (await job.record()).state is State.SUCCEEDED
    assert not alive(pid)


async def test_a_worker_that_stops_at_once_gives_its_isolated_job_back(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(60.0))
    async with working(lane) as worker:
        pid = await pid_of(job)
        worker.stop_now()
    await until(lambda: not alive(pid), "it has ended", within=SOON)
    record = await job.record()
    assert (record.state, record.worker_losses, record.isolated) == (State.QUEUED, 2, True)


async def test_a_cancel_reaches_an_isolated_job(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(60.0))
    async with working(lane):
        await pid_of(job)
        await job.cancel()
        await until(lambda: _state_is(job, State.CANCELLED), "it is cancelled", within=SOON)


async def test_a_worker_says_why_it_cannot_start_an_isolation_worker(
    lane: Sidelane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(tasks.where.call().spec(), id="a")
    await lane.client.store.submit([spec])
    await lost_job(lane, tasks.where.job("a"))
    monkeypatch.setattr(tasks.where.function, "__module__", "nowhere")
    for task in {*lane.registry.tasks.values()} - {tasks.where}:
        monkeypatch.setattr(type(task), "isolable", property(lambda each: each is tasks.where))
    async with working(lane) as worker:
        await until(lambda: "isolation worker" in worker.health, "its health says so", within=SOON)
        assert "nowhere" in worker.health


async def _state_is(job: Job[Any], state: State) -> bool:
    return (await job.record()).state is state
