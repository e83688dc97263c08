"""Requests to workers: who may be asked what, and how far a request is."""

import pytest

from sidelane.admin.actions import Status
from sidelane.admin.findings.evaluation import findings
from sidelane.admin.queues import without_worker
from sidelane.admin.workers import request_workers, requested_changes
from sidelane.client import worker_requests
from sidelane.client.worker_requests import RequestCleanup, read_requests
from sidelane.model.job import JobSpec
from sidelane.model.worker import API, STOPPED, WorkerInfo
from sidelane.model.worker_request import WorkerAction, WorkerRequest
from sidelane.stores.contract import Store
from tests.admin.conftest import BOTH_STORES

CHAT = WorkerInfo(id="chat-1:box:1:a", name="chat-1", queues={"chat": 4}, slots=4, running=2, restartable=True)


async def heartbeat(store: Store, *workers: WorkerInfo) -> None:
    for worker in workers:
        await store.heartbeat(worker, [], lease=60.0)


async def state_of(store: Store) -> str:
    found = await requested_changes(store, await store.workers())
    return found[CHAT.id].state if CHAT.id in found else ""


def changed(**fields: object) -> WorkerInfo:
    return WorkerInfo(id=CHAT.id, name=CHAT.name, queues=CHAT.queues, **fields)  # type: ignore[arg-type]


@BOTH_STORES
async def test_request_is_open_until_the_worker_confirms_it(store: Store) -> None:
    await heartbeat(store, CHAT)
    (result,) = await request_workers(store, ["chat-1"], WorkerAction.DRAIN, by="ann", reason="new disk")
    assert str(result.message) == "asked to drain; 2 jobs still running"
    request = (await read_requests(store))[CHAT.id]
    assert (request.by, request.reason) == ("ann", "new disk")
    assert await state_of(store) == "requested"
    await heartbeat(store, changed(request="drain", health="draining: …", running=1))
    assert await state_of(store) == "draining"
    await heartbeat(store, changed(request="drain", health="drained: …"))
    assert await state_of(store) == "drained"
    (again,) = await request_workers(store, [CHAT.id], WorkerAction.DRAIN)
    assert str(again.message) == "asked to drain already"
    (resumed,) = await request_workers(store, ["chat-1"], None)
    assert str(resumed.message) == "asked to take jobs again"
    assert await state_of(store) == "resuming"
    await heartbeat(store, CHAT)
    assert await state_of(store) == ""
    assert str((await request_workers(store, ["chat-1"], None))[0].message) == "not drained"


@BOTH_STORES
async def test_workers_of_a_queue_are_asked_together(store: Store) -> None:
    others = [WorkerInfo(id=f"w{number}:box:1:a", name="w", queues={"chat": 1}) for number in range(2)]
    mail = WorkerInfo(id="mail:box:1:a", name="mail", queues={"mail": 1})
    await heartbeat(store, CHAT, *others, mail)
    results = await request_workers(store, [], WorkerAction.DRAIN, queue="chat")
    assert {result.name for result in results} == {CHAT.id, "w0:box:1:a", "w1:box:1:a"}
    assert (await read_requests(store)).keys() == {result.name for result in results}
    (unknown,) = await request_workers(store, [], WorkerAction.DRAIN, queue="chta")
    assert unknown.status is Status.NOT_FOUND


@pytest.mark.parametrize(
    ("worker", "action", "message"),
    [
        (WorkerInfo(id="a:b:1:c", name="other"), WorkerAction.DRAIN, "no live worker has this name or id"),
        (WorkerInfo(id="a:b:1:c", name="chat", kind=API), WorkerAction.DRAIN, "no live worker has this name or id"),
        (WorkerInfo(id="a:b:1:c", name="chat"), WorkerAction.RESTART, "inside a process that does other work"),
        (WorkerInfo(id="a:b:1:c", name="chat", isolation=True), WorkerAction.DRAIN, "for another worker"),
    ],
)
async def test_request_that_makes_no_sense_is_refused(
    store: Store, worker: WorkerInfo, action: WorkerAction, message: str
) -> None:
    await heartbeat(store, worker)
    (result,) = await request_workers(store, ["chat"], action)
    assert result.status is not Status.DONE
    assert message in str(result.message)
    assert await read_requests(store) == {}


async def test_name_of_several_workers_is_refused_with_their_ids(store: Store) -> None:
    await heartbeat(store, *(WorkerInfo(id=f"chat:{host}:1:a", name="chat") for host in ("one", "two")))
    (result,) = await request_workers(store, ["chat"], WorkerAction.DRAIN)
    assert "2 workers have this name" in str(result.message)
    assert "chat:two:1:a" in str(result.message)


@BOTH_STORES
async def test_request_to_a_worker_that_is_gone_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await heartbeat(store, CHAT)
    await request_workers(store, ["chat-1"], WorkerAction.DRAIN)
    monkeypatch.setattr(worker_requests, "ABSENCE", 0.0)
    cleanup = RequestCleanup(store)
    await cleanup.run_once()
    assert CHAT.id in await read_requests(store)
    await heartbeat(store, changed(health=STOPPED))
    await cleanup.run_once()
    assert await read_requests(store) == {}


@BOTH_STORES
async def test_request_to_a_worker_outlives_an_outage_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heartbeat(store, CHAT)
    await request_workers(store, ["chat-1"], WorkerAction.DRAIN)
    await heartbeat(store, changed(health=STOPPED))  # as after an outage, no worker seems to be alive
    cleanup = RequestCleanup(store)
    await cleanup.run_once()
    await heartbeat(store, CHAT)
    await cleanup.run_once()
    monkeypatch.setattr(worker_requests, "ABSENCE", 0.0)
    await cleanup.run_once()
    assert CHAT.id in await read_requests(store)


async def test_drained_worker_serves_no_queue_and_is_named(store: Store) -> None:
    await store.submit([JobSpec(id="one", task="t", queue="chat")])
    await heartbeat(store, changed(request="drain", health="drained: …"))
    (queue,) = without_worker(await store.stats(), await store.workers())
    assert queue.name == "chat"
    found = {each.key: each for each in await findings(store)}
    assert str(found["drained-workers"].sentence) == "Worker chat-1 takes no jobs: drained by an operator"
    assert "sidelane workers resume chat-1" in found["drained-workers"].action.command


def test_request_of_a_newer_release_is_read_as_far_as_it_is_known() -> None:
    request = WorkerRequest(action=WorkerAction.DRAIN, by="ann", since=1.0)
    assert WorkerRequest.load(request.dump().replace("{", '{"color":"red",')) == request
    assert WorkerRequest.load(request.dump().replace("drain", "upgrade")) is None
