"""A server loses its last writes again and again while workers, clients and readers are active."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from httpx2 import AsyncClient, HTTPError

from examples.stock_chat.demo.server_events import ServerEvent, server_events
from sidelane import JobRecord, State
from sidelane.model.job import Query
from tests.contract.servers import RunningServer
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_SERVERS
from tests.system.waiting import until

SEED = 14

CRASHES = 5

LOST = 1.0
"""Seconds whose work a crash takes at most; some of it is acknowledged, some not."""

AGAIN = 0.1
"""Seconds after which a client tries again."""


@dataclass
class Reader:
    """A client that follows a job to its end, comes back where its stream breaks, and begins anew at a gap without an id."""

    http: AsyncClient
    job: str
    seen: list[ServerEvent] = field(default_factory=list)
    gaps: int = 0
    unknown: bool = False  # the job was lost

    async def read(self) -> None:
        """Read until the end, or until nobody knows the job."""
        ended = False
        while not ended and not self.unknown:
            try:
                ended = await self.read_once()
            except HTTPError:
                await asyncio.sleep(AGAIN)

    async def read_once(self) -> bool:
        """Read one stream, and tell whether it came to the job's end."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.seen[-1].id} if self.seen else {})}
        async with self.http.stream("GET", f"/jobs/{self.job}/events", headers=headers) as response:
            self.unknown = response.status_code == 404
            if response.status_code != 200:
                await asyncio.sleep(AGAIN)
                return response.status_code == 204
            async for event in server_events(response):
                if event.name == "gap" and not event.id:
                    self.gaps += 1
                    self.seen = []
                elif event.name != "job":
                    self.seen.append(event)
        return bool(self.seen) and self.seen[-1].name == "end"


async def crash_now_and_then(server: RunningServer, rng: random.Random) -> None:
    """Have the server lose up to the last second of what it wrote, in the middle of a command if need be, and come back.

    The file of Redis is written anew before the next crash, as docs/stores.md asks for.
    """
    for _ in range(CRASHES):
        if server.kind == "redis":
            await asyncio.to_thread(server.rewrite)
        marks = [server.written]
        until_then = time.monotonic() + rng.uniform(1.0, 2.0)
        while time.monotonic() < until_then:
            await asyncio.sleep(AGAIN)
            marks.append(server.written)
        left = rng.randrange(marks[-int(LOST / AGAIN)], marks[-1])
        await asyncio.to_thread(server.crash, left)
        await asyncio.to_thread(server.start)


@pytest.fixture
def lease() -> float:
    """Long enough to survive that the last second of heartbeats is forgotten."""
    return 3.0


@pytest.mark.long
@ON_SERVERS
async def test_lost_writes_leave_no_job_stuck_and_every_reader_consistent(
    scenario: ProcessScenario, server: RunningServer, record_property: Callable[[str, object], None]
) -> None:
    for name in ("w1", "w2"):
        await scenario.worker(name)
    _, http = await scenario.api()
    readers: list[Reader] = []
    reading: list[asyncio.Task[None]] = []
    crashing = asyncio.create_task(crash_now_and_then(server, random.Random(SEED)))
    while not crashing.done():
        answer = await http.post("/stories", params={"words": 30, "pace": 0.02})
        if answer.status_code == 202:
            readers.append(Reader(http, answer.json()["id"]))
            reading.append(asyncio.create_task(readers[-1].read()))
        await asyncio.sleep(0.05)
    await crashing

    async def quiet() -> bool:
        return not await scenario.store.list_jobs(Query(states=frozenset({State.QUEUED, State.RUNNING}), limit=1))

    await until(quiet, "nothing is left to do", within=30)
    async with asyncio.timeout(20):
        await asyncio.gather(*reading)
        for reader in readers:
            await reader.read_once()  # who had seen an end that was lost is told so, and what came of it
    found = await scenario.store.get([reader.job for reader in readers])
    for reader, record in zip(readers, found, strict=True):
        assert reader.unknown == (record is None)
        if isinstance(record, JobRecord):
            assert (record.state, record.failures) == (State.SUCCEEDED, 0), record
            log = await scenario.event_log(reader.job)
            assert [(event.name, event.data) for event in reader.seen] == log
            assert [event.number for event in reader.seen] == list(range(1, len(log) + 1))
    (stats,) = await scenario.store.stats()
    assert (stats.ready, stats.delayed, stats.running) == (0, 0, 0)

    kept = [record for record in found if isinstance(record, JobRecord)]
    figures = {
        "jobs": len(found), "lost": len(found) - len(kept), "gaps": sum(reader.gaps for reader in readers),
        "attempts": dict(Counter(record.attempt for record in kept)),
    }  # fmt: skip
    record_property("lost_tails", figures)
    assert figures["lost"]
    assert figures["gaps"]
