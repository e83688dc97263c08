"""Pauses of queues, tasks and batches: who, why and until when; a pause that is over ends by itself, once."""

import asyncio

from sidelane.admin.pauses import PauseRequest, pause_text, set_batches_paused, set_tasks_paused
from sidelane.admin.queues import set_paused
from sidelane.client.pauses import PAUSES, Pause, Pauses, end_pauses, load_pauses, read_pauses
from sidelane.model.batch import BatchSpec
from sidelane.model.job import JobSpec
from sidelane.model.shared_state import VersionedValue
from sidelane.model.worker import WorkerInfo
from sidelane.stores.contract import Store
from tests.admin.conftest import BOTH_STORES

ANN = PauseRequest(by="ann", reason="SMTP moves", seconds=3600.0)


async def paused(store: Store) -> list[str]:
    return [queue.name for queue in await store.stats() if queue.paused]


async def with_job(store: Store) -> None:
    await store.submit([JobSpec(id="one", task="send", queue="email")])


@BOTH_STORES
async def test_pause_says_who_why_and_until_when(store: Store) -> None:
    await with_job(store)
    (result,) = await set_paused(store, ["email"], paused=True, request=ANN)
    assert str(result.message) == "paused for 1 h"
    pause = (await read_pauses(store)).queues["email"]
    assert pause_text(pause, pause.since) == 'by ann, "SMTP moves", 1 h left'
    assert await paused(store) == ["email"]
    await set_paused(store, ["email"], paused=False)
    assert await paused(store) == []
    assert (await read_pauses(store)).queues == {}


@BOTH_STORES
async def test_pause_whose_time_is_over_is_ended_by_any_process(store: Store) -> None:
    await with_job(store)
    await set_paused(store, ["email"], paused=True, request=PauseRequest(by="ann", seconds=0.05))
    await end_pauses(store)
    assert await paused(store) == ["email"]
    await asyncio.sleep(0.1)
    await asyncio.gather(*(end_pauses(store) for _ in range(5)))
    assert await paused(store) == []
    assert (await read_pauses(store)).queues == {}


@BOTH_STORES
async def test_pause_without_an_end_lasts(store: Store) -> None:
    await with_job(store)
    await set_paused(store, ["email"], paused=True)
    await end_pauses(store)
    assert await paused(store) == ["email"]


@BOTH_STORES
async def test_queue_that_is_paused_again_while_its_pause_ends_stays_paused(store: Store) -> None:
    await with_job(store)
    await set_paused(store, ["email"], paused=True, request=PauseRequest(seconds=0.01))
    await asyncio.sleep(0.05)
    for _ in range(20):
        await asyncio.gather(
            end_pauses(store), set_paused(store, ["email"], paused=True, request=ANN), end_pauses(store)
        )
        assert await paused(store) == ["email"]
        await set_paused(store, ["email"], paused=True, request=PauseRequest(seconds=0.001))
        await asyncio.sleep(0.005)


@BOTH_STORES
async def test_operators_who_pause_at_the_same_moment_lose_nothing(store: Store) -> None:
    worker = WorkerInfo(id="w", name="w", tasks={f"t{number}": 1 for number in range(5)})
    await store.heartbeat(worker, [], lease=10.0)
    await asyncio.gather(*(set_tasks_paused(store, [name], paused=True, request=ANN) for name in worker.tasks))
    assert set((await read_pauses(store)).tasks) == set(worker.tasks)


async def test_task_that_no_worker_has_cannot_be_paused(store: Store) -> None:
    (result,) = await set_tasks_paused(store, ["typo"], paused=True)
    assert "no live worker has a task of this name" in str(result.message)
    assert (await read_pauses(store)).tasks == {}


async def with_batch(store: Store) -> None:
    await store.open_batch(BatchSpec(id="night", retention=0.0))
    await store.submit([JobSpec(id="one", task="send", batch="night")])


@BOTH_STORES
async def test_paused_batch_says_who_why_and_until_when(store: Store) -> None:
    await with_batch(store)
    (result,) = await set_batches_paused(store, ["night"], paused=True, request=ANN)
    assert str(result.message) == "paused for 1 h; unfinished jobs: 1"
    pause = (await read_pauses(store)).batches["night"]
    assert pause_text(pause, pause.since) == 'by ann, "SMTP moves", 1 h left'
    assert await batch_is_paused(store)
    (result,) = await set_batches_paused(store, ["night"], paused=True)
    assert str(result.message) == "paused already; changed"
    (result,) = await set_batches_paused(store, ["night"], paused=False)
    assert str(result.message) == "resumed; unfinished jobs: 1"
    assert not await batch_is_paused(store)
    assert (await read_pauses(store)).batches == {}


@BOTH_STORES
async def test_pause_of_a_batch_ends_by_itself(store: Store) -> None:
    await with_batch(store)
    await set_batches_paused(store, ["night"], paused=True, request=PauseRequest(by="ann", seconds=0.05))
    await end_pauses(store)
    assert await batch_is_paused(store)
    await asyncio.sleep(0.1)
    await asyncio.gather(*(end_pauses(store) for _ in range(5)))
    assert not await batch_is_paused(store)
    assert (await read_pauses(store)).batches == {}


def test_pauses_of_another_version_are_read() -> None:
    stored = '{"queues": {}, "tasks": {"email": {"by": "ann", "reason": "", "since": 1.0, "until": null}}, "users": {}}'
    value = VersionedValue(name=PAUSES, text=stored, version="1", changed=0.0)
    assert load_pauses(value) == Pauses(tasks={"email": Pause(by="ann", since=1.0)})


async def test_pause_of_a_removed_batch_is_forgotten(store: Store) -> None:
    await store.open_batch(BatchSpec(id="night", retention=0.0))
    await set_batches_paused(store, ["night"], paused=True, request=ANN)
    await store.seal_batch("night")
    await store.sweep(lease=10.0)
    await end_pauses(store)
    assert (await read_pauses(store)).batches == {}


async def test_batch_that_is_unknown_or_has_ended_cannot_be_paused(store: Store) -> None:
    (result,) = await set_batches_paused(store, ["typo"], paused=True)
    assert "no such batch" in str(result.message)
    await store.open_batch(BatchSpec(id="night"))
    await store.seal_batch("night")
    (result,) = await set_batches_paused(store, ["night"], paused=True)
    assert str(result.message) == "not paused: already finished (succeeded)"
    assert (await read_pauses(store)).batches == {}


async def batch_is_paused(store: Store) -> bool:
    found = await store.get_batch("night")
    assert found is not None
    return found.paused


def test_text_of_a_pause_without_details_is_empty() -> None:
    assert pause_text(Pause(since=1.0), 2.0) == ""
