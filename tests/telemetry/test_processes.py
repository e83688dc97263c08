"""What processes report about themselves: API processes in heartbeats, workers with their release, and worker exits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI

from sidelane import Sidelane
from sidelane.client.maintenance import report_worker_exit
from sidelane.model.transition import last_start
from sidelane.model.worker import API, MAX_WORKER_EXITS, WORKER, WORKER_EXITS, WorkerInfo
from sidelane.telemetry import StreamKind
from sidelane.web import Jobs
from tests.system.waiting import until


@pytest.fixture
def lane(tmp_path: Path) -> Sidelane:
    return Sidelane(
        store=f"sqlite:///{tmp_path / 'jobs.db'}", settings={"lease_duration": 0.6, "release": "2026-07-01"}
    )


async def api_processes(lane: Sidelane) -> list[WorkerInfo]:
    return [each for each in await lane.client.store.workers() if each.kind == API]


async def test_application_with_its_own_lifespan_reports_its_process(lane: Sidelane) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lane.open():
            yield

    app, jobs = FastAPI(lifespan=lifespan), Jobs(lane, user=None)
    app.include_router(jobs.router, prefix="/jobs")
    async with lane.open():  # keeps the store open beyond the application
        pass
    async with app.router.lifespan_context(app):
        (process,) = await until(lambda: api_processes(lane), "the process is known")
        assert (process.name, process.release, process.slots, process.queues) == ("api", "2026-07-01", 0, {})
        assert process.memory > 1_000_000
        with lane.services.api_process.streams.track(StreamKind.SSE, job="j1"):

            async def has_stream() -> bool:
                return [(each.streams, each.listeners) for each in await api_processes(lane)] == [(1, {"j1": 1})]

            await until(has_stream, "the open stream is reported")
    async with lane.open():
        assert await api_processes(lane) == []


async def test_lifespan_of_the_lane_and_of_two_routers_report_one_process(lane: Sidelane) -> None:
    app = FastAPI(lifespan=lane.lifespan)
    for prefix in ("/jobs", "/admin/jobs"):
        app.include_router(Jobs(lane, user=None).router, prefix=prefix)
    async with app.router.lifespan_context(app):
        await until(lambda: api_processes(lane), "the process is known")
        assert len(await api_processes(lane)) == 1


async def test_router_of_a_lane_that_is_not_open_starts_nothing(lane: Sidelane) -> None:
    app = FastAPI()
    app.include_router(Jobs(lane, user=None).router)
    async with app.router.lifespan_context(app), lane.open():
        assert await api_processes(lane) == []


async def test_jobs_wait_for_a_worker_although_an_api_process_lives(lane: Sidelane) -> None:
    @lane.task
    async def greet() -> str:
        return "hello"

    async with lane.lifespan():
        await until(lambda: api_processes(lane), "the process is known")
        job = await greet.submit()
        record = await job.record()
        assert not await lane.client.workers.has_worker(record.spec)


async def test_release_of_a_worker_is_in_its_description_and_in_the_starts_of_its_jobs(lane: Sidelane) -> None:
    @lane.task
    async def greet() -> str:
        return "hello"

    async with lane.open(workers=1):
        job = await greet.submit()
        await job.result(timeout=10)
        (worker,) = await until(lane.client.store.workers, "the worker is known")
        assert (worker.kind, worker.release) == (WORKER, "2026-07-01")
        started = last_start(await job.record())
        assert started is not None
        assert started.release == "2026-07-01"


async def test_worker_exit_is_noted_in_a_journal(lane: Sidelane) -> None:
    async with lane.open():
        store = lane.client.store
        info = WorkerInfo(id="w:host:7:abc", name="w", host="host", pid=7, release="r7", memory=123)
        await store.heartbeat(info, [], lease=5)
        await report_worker_exit(store, info.id, "signal SIGKILL, out of memory", lease=5)
        await report_worker_exit(store, "unknown", "exit status 3", lease=5)
        entries = [json.loads(entry.text) for entry in await store.read_journal(WORKER_EXITS)]
        assert entries == [
            {"worker": "unknown", "host": "", "release": "", "reason": "exit status 3", "memory": 0, "jobs": []},
            {
                "worker": info.id, "host": "host", "release": "r7", "reason": "signal SIGKILL, out of memory",
                "memory": 123, "jobs": [],
            },
        ]  # fmt: skip
        assert MAX_WORKER_EXITS == 1000
