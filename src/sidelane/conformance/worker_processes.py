"""Worker processes for tests: they race for jobs, tell a story up to their death, or work until they are killed.

Each says "ready" once its store is open and begins when a line comes in. What it does it tells as lines of JSON.
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
from sidelane.model.worker import Claimed, ClaimRequest, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

LEASE = 0.6
"""Short, for their tests live by the wall clock."""

FOLLOW = FollowUp(FINISHED, JobSpec(id="", task="follow"))
BROKEN = Failure(problem=Problem(detail="it broke"))

FEW = Limit(name="few", key="k", most=3, on_limit="wait")
MINE = Limit(name="mine", key="k", most=500, on_limit="reject")
CHATS = Limit(name="chats", key="k", most=2, on_limit="replace")
LIMITS = ((), (FEW,), (MINE,), (MINE, FEW), (CHATS,))


PRELOADED = ("sidelane.conformance.worker_processes", "sidelane.stores.sqlite.store", "sidelane.stores.redis.store")
"""What a process would spend most of its life on loading."""


class Line:
    """The line to the test that has started this process."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def tell(self, **said: object) -> None:
        self._file.write(json.dumps(said) + "\n")
        self._file.flush()

    async def told_to_go(self) -> None:
        await asyncio.to_thread(self._file.readline)


async def claim(store: Store, worker: str, *, limit: int = 1, ids: tuple[str, ...] = ()) -> tuple[Claimed, ...]:
    queues = {} if ids else {"default": limit}
    request = ClaimRequest(request=new_nonce(), worker=worker, queues=queues, ids=ids, limit=limit, lease=LEASE)
    return (await store.claim(request)).jobs


async def race(store: Store, line: Line, name: str, racers: int) -> None:
    """Let so many racers claim until nothing is left, each finishing what it got."""

    async def one(racer: int) -> None:
        while claimed := await claim(store, f"{name}-{racer}", limit=3):
            for each in claimed:
                line.tell(job=each.record.id, attempt=each.lease.attempt)
            await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])

    await asyncio.gather(*map(one, range(racers)))


async def share(store: Store, line: Line, name: str, racers: int) -> None:
    """Let so many racers run jobs that share a limit until all have ended, and tell from when to when each ran."""

    async def one(racer: int) -> None:
        while await store.list_jobs(Query(states=UNFINISHED, limit=1)):
            for each in await claim(store, f"{name}-{racer}"):
                since = time.monotonic()  # one for all processes of a machine
                await asyncio.sleep(0.002)
                line.tell(job=each.record.id, since=since, until=time.monotonic())
                await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1"))])

    await asyncio.gather(*map(one, range(racers)))


async def story(store: Store, _line: Line, name: str, calls: int) -> None:
    """Make the calls of one story one by one, and die by SIGKILL after so many of them."""
    async for _ in told(store, name):
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def told(store: Store, name: str) -> AsyncIterator[None]:
    """Live two jobs of a batch through every verb, pausing after each call."""
    a, b = f"{name}a", f"{name}b"
    mine = Limit(name="mine", key=name, most=2)
    pair = Limit(name="pair", key=name, most=2, on_limit="wait")
    worker = WorkerInfo(id=name, name=name)
    entries = (NewEvent("token", '"one"'), NewEvent("progress", '{"percent": 50}'))
    await store.open_batch(BatchSpec(id=name, follow_ups=(FOLLOW,)))
    yield
    limits, follow_ups = (mine, pair), (FOLLOW,)
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


CALLS_OF_THE_STORY = 16


async def toil(store: Store, line: Line, name: str, seed: int) -> None:
    """Submit, run, cancel, requeue and sweep at random until killed, telling each intent and each answer."""
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
        line.tell(tried=[spec.id for spec in wanted])
        answers = await store.submit(wanted)
        known += [each.record.id for each in answers if isinstance(each, Submission)]
        line.tell(submitted=[each.record.id for each in answers if isinstance(each, Submission)])
        for each in await claim(store, name, limit=4):
            await attempt(store, line, each, dice)
        if dice.random() < 0.3:
            await store.cancel([dice.choice(known)])
        await store.sweep(lease=LEASE)


async def attempt(store: Store, line: Line, claimed: Claimed, dice: random.Random) -> None:
    """Run one job: emit, then end somehow, inside or outside, if at all."""
    said = tuple(NewEvent("token", json.dumps(str(number))) for number in range(dice.randrange(4)))
    await store.append([EventAppend(lease=claimed.lease, ordinal=1, entries=said)])
    if dice.random() < 0.3 and not (await hand_over(store, claimed) and dice.random() < 0.5):
        return
    result = json.dumps(claimed.lease.nonce)
    outcomes: list[Outcome] = [Succeeded(result), Released(), Retried(BROKEN), Failed(BROKEN), Cancelled()]
    (outcome,) = dice.choices(outcomes, weights=[4, 1, 1, 1, 1])
    report = AttemptResult(lease=claimed.lease, outcome=outcome, ordinal=len(said) + 1, entries=said)
    (counted,) = await store.finish([report])
    if counted and isinstance(outcome, Succeeded):
        line.tell(succeeded=claimed.record.id, result=result)


async def hand_over(store: Store, claimed: Claimed) -> bool:
    """Let a job go on outside: whoever is handed it was told. Tells whether it did: one that was to stop has ended instead."""
    sending = JobSpec(id=f"{claimed.record.id}.sent.{claimed.lease.attempt}", task="send")
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Dispatched(LEASE, sending))])
    job, sent = await store.get([claimed.record.id, sending.id])
    outside = isinstance(job, JobRecord) and job.external_lease == claimed.lease
    assert sent is not None or not outside
    return outside


async def act(line: Line, part: str, url: str, name: str, count: int) -> None:
    store = await open_store(url, clock=time.time)
    line.tell(ready=name)
    await line.told_to_go()
    await {"race": race, "share": share, "story": story, "toil": toil}[part](store, line, name, count)
    await store.close()


def main(connection: socket.socket, part: str, url: str, name: str, count: int) -> None:
    with connection, connection.makefile("rw") as file:
        asyncio.run(act(Line(file), part, url, name, count))
