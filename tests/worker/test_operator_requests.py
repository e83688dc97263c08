"""Requests of operators to a worker: it drains and takes jobs again, and a worker of another process ends to be restarted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sidelane import Sidelane
from sidelane.admin.actions import Status
from sidelane.admin.pauses import set_batches_paused
from sidelane.admin.workers import request_workers, requested_changes
from sidelane.client.worker_requests import read_requests
from sidelane.model.job import JobRecord, State
from sidelane.model.worker_request import WorkerAction
from sidelane.worker.worker import Worker


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.02)


async def request(lane: Sidelane, action: WorkerAction | None) -> Status:
    """Make a request to the worker, which has perhaps not sent its first heartbeat yet."""
    while True:
        (result,) = await request_workers(lane.client.store, ["worker"], action)
        if result.status is not Status.NOT_FOUND:
            return result.status
        await asyncio.sleep(0.02)


async def state_of(lane: Sidelane, job_id: str) -> State:
    (record,) = await lane.client.store.get([job_id])
    assert isinstance(record, JobRecord)
    return record.state


@asynccontextmanager
async def working(lane: Sidelane, *, own_process: bool = True) -> AsyncIterator[tuple[Worker, "asyncio.Task[None]"]]:
    """Run a worker of the open lane, as if its process ran nothing else."""
    worker = lane.worker(exit_when_stuck=own_process)
    running = asyncio.create_task(worker.run())
    try:
        yield worker, running
    finally:
        worker.drain()
        await running


async def test_drained_worker_finishes_its_jobs_and_takes_no_more_until_it_is_resumed(lane: Sidelane) -> None:
    released = asyncio.Event()

    async def slow() -> int:
        await released.wait()
        return 1

    async def quick() -> int:
        return 2

    slow_task, quick_task = lane.task(name="slow")(slow), lane.task(name="quick")(quick)
    async with lane.open(), asyncio.timeout(20), working(lane) as (worker, _):
        store = lane.client.store

        async def is_in(state: str) -> bool:
            found = await requested_changes(store, await store.workers())
            return worker.id in found and found[worker.id].state == state

        first = await slow_task.submit()
        await until(lambda: is_running(lane, first.id))
        assert await request(lane, WorkerAction.DRAIN) is Status.DONE
        await until(lambda: is_in("draining"))
        assert not worker.can_claim
        held = await quick_task.submit()
        released.set()
        assert await first.result() == 1
        await until(lambda: is_in("drained"))
        assert await state_of(lane, held.id) is State.QUEUED
        assert not await lane.client.workers.has_worker((await lane.client.record(held.id)).spec)
        assert await request(lane, None) is Status.DONE
        assert await held.result() == 2


async def is_running(lane: Sidelane, job_id: str) -> bool:
    return await state_of(lane, job_id) is State.RUNNING


async def test_worker_whose_process_runs_nothing_else_ends_after_its_jobs_to_be_restarted(lane: Sidelane) -> None:
    async def quick() -> int:
        return 2

    task = lane.task(name="quick")(quick)
    async with lane.open(), asyncio.timeout(20), working(lane) as (_, running):
        assert await (await task.submit()).result() == 2
        assert await request(lane, WorkerAction.RESTART) is Status.DONE
        await running


async def test_worker_inside_a_web_process_does_not_end(lane: Sidelane) -> None:
    async def quick() -> int:
        return 2

    task = lane.task(name="quick")(quick)
    async with lane.open(), asyncio.timeout(20), working(lane, own_process=False):
        assert await (await task.submit()).result() == 2
        assert await request(lane, WorkerAction.RESTART) is Status.FAILED
        assert await read_requests(lane.client.store) == {}
        assert await (await task.submit()).result() == 2


async def test_jobs_of_a_paused_batch_start_when_it_is_resumed(lane: Sidelane) -> None:
    async def quick(number: int) -> int:
        return number

    task = lane.task(name="quick")(quick)
    async with lane.open(), asyncio.timeout(20):
        batch = await lane.submit_many([task.call(number) for number in range(3)])
        await set_batches_paused(lane.client.store, [batch.id], paused=True)
        async with working(lane):
            assert await (await task.submit(7)).result() == 7
            record = await lane.client.store.get_batch(batch.id)
            assert record is not None
            assert (record.paused, record.succeeded) == (True, 0)
            await set_batches_paused(lane.client.store, [batch.id], paused=False)
            assert (await batch.wait(10)).succeeded == 3
