"""Paused tasks: workers leave them out of what they claim, and go on with the others."""

import asyncio

from sidelane import Sidelane
from sidelane.admin.findings.evaluation import findings
from sidelane.admin.pauses import set_tasks_paused
from sidelane.client.pauses import Pause, pause_task, resume_task
from sidelane.model.job import JobRecord, State


async def state_of(lane: Sidelane, job_id: str) -> State:
    (record,) = await lane.client.store.get([job_id])
    assert isinstance(record, JobRecord)
    return record.state


async def test_paused_task_starts_no_job_until_it_is_resumed(lane: Sidelane) -> None:
    async def answer() -> int:
        return 1

    first, second = lane.task(name="first")(answer), lane.task(name="second")(answer)
    async with lane.open():
        store = lane.client.store
        await pause_task(store, "first", Pause(since=0.0))  # before the worker starts
        held = await first.submit()
        async with asyncio.timeout(20):
            worker = lane.worker()
            running = asyncio.create_task(worker.run())
            await (await second.submit()).result()
            assert await state_of(lane, held.id) is State.QUEUED
            assert not [each for each in await findings(store) if each.key.startswith("unserved")]
            await resume_task(store, "first")
            assert await held.result() == 1
            while not any("second" in each.tasks for each in await store.workers()):
                await asyncio.sleep(0.05)
            (result,) = await set_tasks_paused(store, ["second"], paused=True)
            assert str(result.message) == "paused"
            await asyncio.sleep(1.0)  # the time in which workers learn of it
            other = await second.submit()
            await (await first.submit()).result()
            assert await state_of(lane, other.id) is State.QUEUED
            worker.drain()
            await running


async def test_paused_task_is_left_out_by_its_former_names_too(lane: Sidelane) -> None:
    async def answer() -> int:
        return 1

    task = lane.task(name="new", aliases=["old"])(answer)
    async with lane.open(workers=1), asyncio.timeout(20):
        store = lane.client.store
        await pause_task(store, "new", Pause(since=0.0))
        await asyncio.sleep(1.0)
        held = await task.submit()
        (record,) = await store.get([held.id])
        assert isinstance(record, JobRecord)
        assert record.state is State.QUEUED
