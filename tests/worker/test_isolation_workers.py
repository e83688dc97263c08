"""Isolation workers: a job that lost two workers runs in a separate process."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sidelane import JobFailed, Sidelane, State
from sidelane.admin.stack import job_stack
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure
from sidelane.model.outcome import AttemptResult, Lost
from sidelane.model.problem import Problem
from sidelane.model.worker import ClaimRequest
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call
from sidelane.worker import isolation
from sidelane.worker.worker import Worker
from tests.system.processes import alive
from tests.system.waiting import until
from tests.worker import isolation_tasks as tasks

TIMEOUT = 30.0
LOST = Lost(Failure(problem=Problem(detail="killed")))


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Sidelane]:
    files = str(tmp_path / "files")
    tasks.lane.configuration.settings.__dict__.update(store=f"sqlite:///{tmp_path / 'jobs.db'}", file_storage=files)
    with tasks.lane.files.use_location(files):
        async with tasks.lane.open():
            yield tasks.lane


@asynccontextmanager
async def working(lane: Sidelane, **options: Any) -> AsyncIterator[Worker]:
    """Run a worker in this process, then drain it."""
    worker = lane.worker(name="w", **options)
    running = asyncio.create_task(worker.run())
    yield worker
    worker.drain()
    await running


async def lost(lane: Sidelane, call: Call[Any], times: int = 2) -> Job[Any]:
    """Submit a job and have it lose so many workers."""
    return await lost_job(lane, await lane.submit(call), times)


async def lost_job(lane: Sidelane, job: Job[Any], times: int = 2) -> Job[Any]:
    store = lane.client.store
    for _ in range(times):
        claims = await store.claim(ClaimRequest(request=new_nonce(), worker="dead", ids=(job.id,)))
        await store.finish([AttemptResult(lease=claims.jobs[0].lease, outcome=LOST)])
    return job


async def pid_of(job: Job[Any]) -> int:
    """Wait until a job of `waits` has emitted the process that it runs in."""
    async with aclosing(job.events()) as events:
        async for event in events:
            if event.name == "pid":
                return int(event.data)
    raise AssertionError("no event had its process")


async def test_isolated_job_runs_in_another_process(lane: Sidelane) -> None:
    jobs = [await lost(lane, call) for call in (tasks.where.call(), tasks.where_in_a_thread.call()) * 2]
    ordinary = await lane.submit(tasks.where.call())
    async with working(lane):
        assert await ordinary.result(TIMEOUT) == os.getpid()
        processes = {await job.result(TIMEOUT) for job in jobs}
    assert os.getpid() not in processes
    assert len(processes) <= isolation.MIN_PROCESSES, "an isolation worker runs one job after another"


async def test_isolated_job_shows_its_stack(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(60.0))
    async with working(lane):
        process = await pid_of(job)

        async def listed() -> bool:
            return any(each.pid == process for each in await lane.client.store.workers())

        await until(listed, "the isolation worker has sent a heartbeat")
        found = await job_stack(lane.client, job.id)
        assert found.stack is not None, found.notice
        assert "in waits\n    await asyncio.sleep(seconds)\n" in found.stack.text
        assert found.lookup.worker is not None
        assert found.lookup.worker.pid == process != os.getpid()
        await job.cancel()


async def test_job_that_lost_one_worker_is_not_isolated(lane: Sidelane) -> None:
    job = await lost(lane, tasks.where.call(), times=1)
    async with working(lane):
        assert await job.result(TIMEOUT) == os.getpid()


async def test_isolated_job_uses_resources_files_events_and_submits_like_any_other(
    lane: Sidelane, tmp_path: Path
) -> None:
    file = await lane.files.save(b"said", name="said.txt")
    calls: list[Call[Any]] = [
        tasks.with_model.call(), tasks.reads.call(file), tasks.tells.call(2_000), tasks.submits.call(),
        tasks.where_in_a_child.call(), tasks.fails_once.call(),
    ]  # fmt: skip
    jobs = [await lost(lane, call) for call in calls]
    async with working(lane):
        model, read, told, submitted, child, failed = [cast(Any, await job.result(TIMEOUT)) for job in jobs]
    assert model == (model[0], f"model of {model[0]}")
    assert read[1] == "said"
    assert told == "".join(f"{number} " for number in range(2_000))
    assert len([event async for event in jobs[2].events() if event.name == "token"]) == 2_000
    assert submitted[1] == os.getpid(), "what it submits is an ordinary job"
    assert failed[1] == 4
    # A job that waits for half a second may get a second isolation worker, so the processes may differ.
    assert os.getpid() not in {model[0], read[0], submitted[0], child[1], failed[0]}


async def test_task_with_an_exclusive_resource_is_never_isolated(lane: Sidelane) -> None:
    job = await lost(lane, tasks.on_gpu.call())
    record = await job.record()
    assert (record.worker_losses, record.isolated, record.spec.isolable) == (2, False, False)
    async with working(lane):
        assert await job.result(TIMEOUT) == os.getpid()


async def test_task_that_another_process_cannot_import_is_never_isolated(lane: Sidelane) -> None:
    @lane.task(name="local")
    async def local() -> int:
        return os.getpid()

    try:
        job = await lost(lane, local.call())
        async with working(lane):
            assert await job.result(TIMEOUT) == os.getpid()
    finally:
        del lane.registry.tasks["local"]


async def test_isolated_poison_job_kills_only_isolation_workers(lane: Sidelane) -> None:
    poison = await lost(lane, tasks.dies.call())
    async with working(lane) as worker:
        others = [await lane.submit(tasks.waits.call(0.1)) for _ in range(10)]
        assert {await job.result(TIMEOUT) for job in others} == {os.getpid()}
        with pytest.raises(JobFailed):
            await poison.result(TIMEOUT)
        assert "isolation" not in worker.health
    record = await poison.record()
    assert (record.attempt, record.worker_losses) == (4, 4)


async def test_isolated_job_whose_resource_fails_to_open_waits(lane: Sidelane) -> None:
    job = await lost(lane, tasks.with_broken.call())
    beside = await lost(lane, tasks.where.call())
    async with working(lane):
        assert await beside.result(TIMEOUT) != os.getpid()
        record = await job.record()
        assert (record.state, record.failures, record.worker_losses) == (State.QUEUED, 0, 2)


async def test_isolation_worker_exits_with_a_task_that_outlives_its_grace(lane: Sidelane) -> None:
    stuck = await lost(lane, tasks.hangs.call())
    later = await lost(lane, tasks.waits.call(0.1))
    async with working(lane):
        with pytest.raises(JobFailed, match="did not end within"):
            await stuck.result(TIMEOUT)
        assert await later.result(TIMEOUT) != os.getpid()
    assert (await stuck.record()).worker_losses == 2, "its end was reported"


async def test_idle_isolation_worker_exits(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "IDLE_TIMEOUT", 0.3)
    job = await lost(lane, tasks.where.call())
    async with working(lane):
        pid = await job.result(TIMEOUT)
        await until(lambda: not alive(pid), "it has ended", within=TIMEOUT)


@pytest.mark.long
async def test_small_worker_runs_isolated_jobs_in_at_most_two_processes(lane: Sidelane) -> None:
    jobs = [
        await lost(lane, tasks.waits.call(1.5)) for _ in range(6)
    ]  # one would take long enough for a second to start
    async with working(lane):
        pids = [await job.result(TIMEOUT) for job in jobs]
    assert len({*pids}) == 2


async def test_drained_worker_lets_its_isolated_job_finish(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(1.0))
    async with working(lane):
        pid = await pid_of(job)
    assert (await job.record()).state is State.SUCCEEDED
    assert not alive(pid)


async def test_worker_that_stops_now_releases_its_isolated_job(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(60.0))
    async with working(lane) as worker:
        pid = await pid_of(job)
        worker.stop_now()
    await until(lambda: not alive(pid), "it has ended", within=TIMEOUT)
    record = await job.record()
    assert (record.state, record.worker_losses, record.isolated) == (State.QUEUED, 2, True)


async def test_cancel_reaches_an_isolated_job(lane: Sidelane) -> None:
    job = await lost(lane, tasks.waits.call(60.0))
    async with working(lane):
        await pid_of(job)
        await job.cancel()
        await until(lambda: _state_is(job, State.CANCELLED), "it is cancelled", within=TIMEOUT)


async def test_worker_health_says_why_no_isolation_worker_can_be_started(
    lane: Sidelane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(tasks.where.call().spec(), id="a")
    await lane.client.store.submit([spec])
    await lost_job(lane, tasks.where.job("a"))
    monkeypatch.setattr(tasks.where.function, "__module__", "nowhere")
    for task in {*lane.registry.tasks.values()} - {tasks.where}:
        monkeypatch.setattr(type(task), "isolable", property(lambda each: each is tasks.where))
    async with working(lane) as worker:
        await until(lambda: "isolation worker" in worker.health, "its health says so", within=TIMEOUT)
        assert "nowhere" in worker.health


async def _state_is(job: Job[Any], state: State) -> bool:
    return (await job.record()).state is state
