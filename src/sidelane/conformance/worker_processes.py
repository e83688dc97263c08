"""Worker processes for tests: they claim jobs concurrently, or make calls until they are killed.

Each process sends "ready" once its store is open, and begins when it receives a line. It reports what it does as JSON lines.
"""

import asyncio
import json
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import TextIO

from sidelane.model.batch import BatchSpec
from sidelane.model.event import NewEvent
from sidelane.model.ids import new_id, new_nonce
from sidelane.model.job import FINISHED, UNFINISHED, Failure, FollowUp, JobRecord, JobSpec, Query, Submission
from sidelane.model.limit import Limit
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    EventAppend,
    Failed,
    Outcome,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.problem import Problem
from sidelane.model.shared_state import JournalAppend, ValueChange
from sidelane.model.worker import Claimed, ClaimRequest, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

LEASE = 0.6
"""Seconds; short, because these tests use the wall clock."""

FOLLOW = FollowUp(FINISHED, JobSpec(id="", task="follow"))
BROKEN = Failure(problem=Problem(detail="it broke"))

FEW = Limit(name="few", key="k", max=3, on_limit="wait")
REJECTING = Limit(name="mine", key="k", max=500, on_limit="reject")
CHATS = Limit(name="chats", key="k", max=2, on_limit="replace")
LIMITS = ((), (FEW,), (REJECTING,), (REJECTING, FEW), (CHATS,))

COUNTER = "counter"
COUNTER_CAP = 50

PRELOADED = ("sidelane.conformance.worker_processes", "sidelane.stores.sqlite.store", "sidelane.stores.redis.store")
"""Modules to import before forking."""


class TestConnection:
    """Connection to the test that has started this process."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def send(self, **message: object) -> None:
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    async def wait_for_start(self) -> None:
        await asyncio.to_thread(self._file.readline)


async def claim(store: Store, worker: str, *, limit: int = 1, ids: tuple[str, ...] = ()) -> tuple[Claimed, ...]:
    queues = {} if ids else {"default": limit}
    request = ClaimRequest(request=new_nonce(), worker=worker, queues=queues, ids=ids, limit=limit, lease=LEASE)
    return (await store.claim(request)).jobs


async def claim_all(store: Store, test: TestConnection, name: str, workers: int) -> None:
    """Claim and finish jobs with concurrent workers until none is left."""

    async def one(number: int) -> None:
        while claimed := await claim(store, f"{name}-{number}", limit=3):
            for each in claimed:
                test.send(job=each.record.id, attempt=each.lease.attempt)
            await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])

    await asyncio.gather(*map(one, range(workers)))


async def run_limited(store: Store, test: TestConnection, name: str, workers: int) -> None:
    """Run jobs that share a limit with concurrent workers until all have ended, and report when each ran."""

    async def one(number: int) -> None:
        while await store.list_jobs(Query(states=UNFINISHED, limit=1)):
            for each in await claim(store, f"{name}-{number}"):
                since = time.monotonic()  # the same clock in all processes
                await asyncio.sleep(0.002)
                test.send(job=each.record.id, since=since, until=time.monotonic())
                await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1"))])

    await asyncio.gather(*map(one, range(workers)))


async def count_up(store: Store, test: TestConnection, name: str, count: int) -> None:
    """Increment one value, and append each new number to a journal: `count` times, or until killed if it is 0."""
    done = 0
    while done < count or not count:
        (found,) = await store.read_values([COUNTER])
        number = int(found.text) + 1 if found else 1
        change = ValueChange(name=COUNTER, text=str(number), replaces=found.version if found else None)
        if await store.set_value(change):
            done += 1
            test.send(counted=number)
            append = JournalAppend(journal=COUNTER, texts=[f"{name}:{number}"], cap=COUNTER_CAP)
            test.send(appended=await store.append_entries(append))


async def scripted_calls(store: Store, _test: TestConnection, name: str, calls: int) -> None:
    """Make the calls of the story one by one, and die by SIGKILL after `calls` of them."""
    async for _ in story(store, name):
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def story(store: Store, name: str) -> AsyncIterator[None]:
    """Drive two jobs of a batch through every call, yielding after each."""
    a, b = f"{name}a", f"{name}b"
    rejecting = Limit(name="mine", key=name, max=2)
    pair = Limit(name="pair", key=name, max=2, on_limit="wait")
    worker = WorkerInfo(id=name, name=name)
    entries = (NewEvent("token", '"one"'), NewEvent("progress", '{"percent": 50}'))
    await store.open_batch(BatchSpec(id=name, follow_ups=(FOLLOW,)))
    yield
    limits, follow_ups = (rejecting, pair), (FOLLOW,)
    await store.submit(
        [JobSpec(id=each, task="t", follow_ups=follow_ups, limits=limits, batch=name) for each in (a, b)]
    )
    yield
    await store.seal_batch(name)
    yield
    jobs = {each.record.id: each for each in await claim(store, name, ids=(a, b), limit=2)}
    yield
    await store.append([EventAppend(lease=each.lease, ordinal=1, entries=entries) for each in jobs.values()])
    yield
    await store.heartbeat(worker, [each.lease for each in jobs.values()], lease=LEASE)
    yield
    await store.append([EventAppend(lease=jobs[a].lease, ordinal=2, entries=entries)])
    yield
    await store.finish(
        [
            AttemptResult(lease=jobs[a].lease, outcome=Succeeded("1"), ordinal=4, entries=entries),
            AttemptResult(lease=jobs[b].lease, outcome=Retried(BROKEN), ordinal=3, entries=entries),
        ]
    )
    yield
    await store.requeue([a])
    yield
    jobs = {each.record.id: each for each in await claim(store, name, ids=(a, b), limit=2)}
    yield
    await store.cancel([b])
    yield
    await store.append([EventAppend(lease=each.lease, ordinal=1, entries=entries) for each in jobs.values()])
    yield
    await store.finish(
        [
            AttemptResult(
                lease=jobs[a].lease, outcome=Dispatched(LEASE, JobSpec(id=f"{name}.sending", task="send")), ordinal=3
            ),
            AttemptResult(lease=jobs[b].lease, outcome=Released()),
        ]
    )
    yield
    await store.finish([AttemptResult(lease=jobs[a].lease, outcome=Failed(BROKEN), ordinal=3, entries=entries)])
    yield
    await store.requeue([a, b])
    yield
    await store.cancel([a])
    yield


STORY_CALLS = 16


async def random_work(store: Store, test: TestConnection, name: str, seed: int) -> None:
    """Submit, run, cancel and sweep at random until killed, reporting each call and each result."""
    dice = random.Random(seed)
    known: list[str] = []
    while True:
        wanted = [
            JobSpec(
                id=new_id(), task="t", user=dice.choice("uvw"), follow_ups=(FOLLOW,), limits=dice.choice(LIMITS),
                parent=dice.choice([None, *known[-5:]]), cascade=True,
            )
            for _ in range(3)
        ]  # fmt: skip
        test.send(tried=[spec.id for spec in wanted])
        answers = await store.submit(wanted)
        known += [each.record.id for each in answers if isinstance(each, Submission)]
        test.send(submitted=[each.record.id for each in answers if isinstance(each, Submission)])
        for each in await claim(store, name, limit=4):
            await attempt(store, test, each, dice)
        if dice.random() < 0.3:
            await store.cancel([dice.choice(known)])
        await store.sweep(lease=LEASE)


async def attempt(store: Store, test: TestConnection, claimed: Claimed, dice: random.Random) -> None:
    """Run one job: append, perhaps dispatch, and finish with a random outcome."""
    entries = tuple(NewEvent("token", json.dumps(str(number))) for number in range(dice.randrange(4)))
    await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=entries)])
    if dice.random() < 0.3 and not (await dispatch(store, claimed) and dice.random() < 0.5):
        return
    result = json.dumps(claimed.lease.nonce)
    outcomes: list[Outcome] = [Succeeded(result), Released(), Retried(BROKEN), Failed(BROKEN), Cancelled()]
    (outcome,) = dice.choices(outcomes, weights=[4, 1, 1, 1, 1])
    report = AttemptResult(lease=claimed.lease, outcome=outcome, ordinal=len(entries) + 1, entries=entries)
    (accepted,) = await store.finish([report])
    if accepted and isinstance(outcome, Succeeded):
        test.send(succeeded=claimed.record.id, result=result)


async def dispatch(store: Store, claimed: Claimed) -> bool:
    """Dispatch a job, and check its dispatch job. Returns False if a cancel request ended it instead."""
    dispatch_job = JobSpec(id=f"{claimed.record.id}.sent.{claimed.lease.attempt}", task="send")
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Dispatched(LEASE, dispatch_job))])
    job, found = await store.get([claimed.record.id, dispatch_job.id])
    external = isinstance(job, JobRecord) and job.external_lease == claimed.lease
    assert found is not None or not external
    return external


async def run(test: TestConnection, role: str, url: str, name: str, count: int) -> None:
    store = await open_store(url, clock=time.time)
    test.send(ready=name)
    await test.wait_for_start()
    await {
        "claim_all": claim_all,
        "run_limited": run_limited,
        "count_up": count_up,
        "scripted_calls": scripted_calls,
        "random_work": random_work,
    }[role](store, test, name, count)
    await store.close()


def main(connection: socket.socket, role: str, url: str, name: str, count: int) -> None:
    with connection, connection.makefile("rw") as file:
        asyncio.run(run(TestConnection(file), role, url, name, count))
