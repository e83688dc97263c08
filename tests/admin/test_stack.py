"""Stack on demand as operators request it: why there is none, and what a request leaves behind. On both stores."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from sidelane.admin.stack import job_stack
from sidelane.client.client import Client
from sidelane.external.outbox import DISPATCH_TASK, dispatch_id
from sidelane.model.errors import UnknownJob
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobSpec, Lease
from sidelane.model.json_text import dump_json
from sidelane.model.limit import Limit
from sidelane.model.outcome import AttemptResult, Dispatched, Succeeded
from sidelane.model.settings import Settings
from sidelane.model.shared_state import ValueChange
from sidelane.model.stack import STACK_SLOTS, StackRequest
from sidelane.model.worker import ClaimRequest, WorkerInfo
from sidelane.stores.contract import Store, value_topic
from tests.admin.conftest import BOTH_STORES

pytestmark = BOTH_STORES

WORKER = WorkerInfo(id="w1:box:7:1a2b", name="w1", host="box", pid=7, queues={"chat": 8}, tasks={"answer": 1}, slots=8)
LEASE = 60.0


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store, settings=Settings())


async def submitted(store: Store, **fields: Any) -> str:
    spec = JobSpec(**{"id": new_nonce(), "task": "answer", "queue": "chat", **fields})
    await store.submit([spec])
    return spec.id


async def claimed(store: Store, job: str) -> list[Lease]:
    claims = await store.claim(ClaimRequest(request=new_nonce(), worker=WORKER.id, ids=(job,), lease=LEASE))
    return [each.lease for each in claims.jobs]


async def running(store: Store, worker: WorkerInfo | None = WORKER) -> Lease:
    """Start a job on a worker that answers nothing, or that is not alive."""
    (lease,) = await claimed(store, await submitted(store))
    if worker is not None:
        await store.heartbeat(worker, [lease], lease=LEASE)
    return lease


async def requests(store: Store) -> Mapping[str, StackRequest]:
    values = await store.read_values(STACK_SLOTS)
    return {each.name: StackRequest.load(each.text) for each in values if each is not None}


async def test_unknown_job_is_an_error(client: Client) -> None:
    with pytest.raises(UnknownJob):
        await job_stack(client, "nothing")


async def test_job_that_does_not_run_has_no_stack_but_a_reason(client: Client, store: Store) -> None:
    limit = Limit(name="answer", key="ann", max=1, on_limit="wait")
    (first,) = await claimed(store, await submitted(store, limits=(limit,)))
    waiting = await submitted(store, limits=(limit,))
    assert not await claimed(store, waiting)
    delayed = await submitted(store, delay=3600.0)
    await store.finish([AttemptResult(lease=await running(store), outcome=Succeeded("1"))])
    ended = await running(store)
    await store.finish([AttemptResult(lease=ended, outcome=Succeeded("1"))])
    await store.heartbeat(WORKER, [first], lease=LEASE)

    notices = {job: str((await job_stack(client, job)).notice) for job in (waiting, delayed, ended.job_id)}
    assert notices[waiting] == "the job does not run: its state is waiting for limit 'answer/ann'"
    assert notices[delayed].startswith("the job does not run: its state is scheduled until 20")
    assert notices[ended.job_id] == "the job does not run: its state is succeeded"
    await store.pause("chat")
    assert "queue 'chat' is paused" in str((await job_stack(client, waiting)).notice)


async def test_external_job_runs_elsewhere(client: Client, store: Store) -> None:
    lease = await running(store)
    message = {"job": lease.job_id, "attempt": 1, "nonce": lease.nonce, "to": "SQS queue jobs", "arguments": None}
    sending = JobSpec(
        id=dispatch_id(lease), task=DISPATCH_TASK, queue="chat", deadline=600, arguments=dump_json(message)
    )
    await store.finish([AttemptResult(lease=lease, outcome=Dispatched(600, sending))])
    found = await job_stack(client, lease.job_id)
    assert str(found.notice).startswith(
        "the job runs elsewhere (SQS queue jobs): external and remote workers have no access"
    )


async def test_worker_that_is_not_alive_is_not_waited_for(client: Client, store: Store) -> None:
    lease = await running(store, worker=None)
    found = await job_stack(client, lease.job_id, timeout=60)
    assert str(found.notice).startswith("worker 'w1' is no longer alive")


async def test_worker_that_does_not_answer_is_named_and_its_request_removed(client: Client, store: Store) -> None:
    lease = await running(store)
    found = await job_stack(client, lease.job_id, timeout=0.2)
    assert str(found.notice).startswith("the worker did not answer within 0.2 s")
    assert found.document()["worker"]["name"] == "w1"
    assert (found.document()["stack"], found.document()["activity"]) == (None, None)
    assert await requests(store) == {}


async def test_job_that_ends_before_the_answer_ends_the_wait(client: Client, store: Store) -> None:
    lease = await running(store)
    async with store.watch(*map(value_topic, STACK_SLOTS)) as changes:
        asking = asyncio.create_task(job_stack(client, lease.job_id, timeout=60))
        while not await requests(store):
            await changes.wait(1.0)
    await store.finish([AttemptResult(lease=lease, outcome=Succeeded("1"))])
    assert str((await asking).notice) == "attempt 1 ended before its worker answered; the job is now succeeded"
    assert await requests(store) == {}


async def test_cancelled_request_is_removed(client: Client, store: Store) -> None:
    lease = await running(store)
    async with store.watch(*map(value_topic, STACK_SLOTS)) as changes:
        asking = asyncio.create_task(job_stack(client, lease.job_id, timeout=60))
        while not await requests(store):
            await changes.wait(1.0)
    asking.cancel()
    await asyncio.wait([asking])
    assert await requests(store) == {}


async def test_requests_wait_for_a_free_slot_and_the_others_stay_as_they_are(client: Client, store: Store) -> None:
    lease = await running(store)
    for name in STACK_SLOTS:
        other = StackRequest(job_id="other", attempt=1).dump()
        assert await store.set_value(ValueChange(name=name, text=other, replaces=None))
    before = await requests(store)
    assert str((await job_stack(client, lease.job_id, timeout=0.1)).notice).startswith(
        "others request stacks at the moment"
    )
    assert await requests(store) == before
