"""Clients that do not read cost little memory, delay no one, and resume from the log."""

import asyncio
import statistics
from collections.abc import Callable
from contextlib import closing
from itertools import islice

import psutil
import pytest
from httpx2 import AsyncClient

from examples.stock_chat.demo.server_events import server_events
from sidelane import State
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import port_of
from tests.system.slow_clients import SlowClient, SlowSocket, SlowStream
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until

MIB = 1024 * 1024

PIECES, DROPS = 20 * MIB // shop.PIECE, 20

EVENTS = PIECES + DROPS + 1
"""All that the job says, and its end."""

SLOW, QUICK = 8, 2

FEW = 40
"""Events that a slow client reads before it breaks off."""

ALLOWED = 40.0
"""MiB that the service may grow by, whatever it sends to quick clients; what the slow ones have not read is 160."""


@pytest.mark.long
@ON_EVERY_STORE
@pytest.mark.parametrize("client", [SlowStream, SlowSocket])
async def test_slow_readers_cost_little_memory_delay_no_one_and_miss_nothing(
    scenario: ProcessScenario, client: Callable[..., SlowClient], record_property: Callable[[str, object], None]
) -> None:
    await scenario.worker("w1")
    api, http = await scenario.api()
    port, memory = port_of(api) or 0, psutil.Process(api.pid).memory_info
    (job,) = await scenario.submit(shop.pour.call(PIECES, DROPS))
    slow = [await asyncio.to_thread(client, port, job) for _ in range(SLOW // 2)]
    quick = [Quick(http, job) for _ in range(QUICK)]
    following = [asyncio.create_task(each.follow()) for each in quick]
    for each in quick:
        await each.begun.wait()
    before = memory().rss

    scenario.processes.open_gate("pour")
    for each in quick:
        await each.poured.wait()
    slow += [await asyncio.to_thread(client, port, job) for _ in range(SLOW // 2)]  # these find all of it there
    scenario.processes.open_gate("drops")
    await asyncio.gather(*following)
    late = [lag for each in quick for lag in each.lags]
    grown = (memory().rss - before) / MIB
    record_property("slow_readers", f"{grown:.0f} MiB more, quick ones {statistics.median(late) * 1000:.0f} ms late")
    assert grown < ALLOWED
    assert statistics.median(late) < 0.5
    assert max(late) < 3
    assert (await scenario.record(job)).state is State.SUCCEEDED

    reading = [asyncio.to_thread(check_all, each) for each in slow[::2]]
    coming_back = [asyncio.to_thread(break_off_and_resume, each, client, port, job) for each in slow[1::2]]
    await asyncio.gather(*reading, *coming_back)
    assert (memory().rss - before) / MIB < ALLOWED

    def let_go() -> bool:
        there = psutil.Process(api.pid).net_connections()
        return not [each for each in there if each.laddr.port == port and each.raddr]

    await http.aclose()
    await until(let_go, "the service has let go of those who broke off")


class Quick:
    """A client that reads a job's stream to its end as it comes."""

    def __init__(self, http: AsyncClient, job: str) -> None:
        self._http = http
        self._job = job
        self.begun, self.poured = asyncio.Event(), asyncio.Event()
        self.lags: list[float] = []
        """By how much each drop was late, in seconds."""

    async def follow(self) -> None:
        numbers: list[int] = []
        headers = {"Accept": "text/event-stream"}
        async with self._http.stream("GET", f"/jobs/{self._job}/events", headers=headers) as response:
            async for event in server_events(response):
                if event.name == "job":
                    self.begun.set()
                    continue
                numbers.append(event.number)
                if event.number == PIECES:
                    self.poured.set()
                if event.name == "token" and event.number > PIECES:
                    self.lags.append(shop.machine_time() - float(event.data["text"]))
        assert numbers == list(range(1, EVENTS + 1))


def check_all(client: SlowClient, first: int = 1) -> None:
    """Check that a client is told the job as it stands, and then everything from event `first` on: in order, once, to the end."""
    with closing(client):
        snapshot, *events = client.read()
    assert (snapshot.name, snapshot.id) == ("job", "")
    numbers = [int(event.id.rpartition(":")[2]) for event in events]
    assert numbers == list(range(first, EVENTS + 1))
    pieces = [event.data["text"] for event in events if event.name == "token"][: max(0, PIECES - first + 1)]
    assert [int(text.partition(" ")[0]) for text in pieces] == list(range(first - 1, PIECES))
    assert {len(text) for text in pieces} == {shop.PIECE}
    assert (events[-1].name, events[-1].data["result"]) == ("end", PIECES)


def break_off_and_resume(slow: SlowClient, client: Callable[..., SlowClient], port: int, job: str) -> None:
    """Read a little, break off, come back with the last id, and have the rest."""
    with closing(slow):
        *_, last = islice(slow.read(), FEW)
    check_all(client(port, job, last.id), first=FEW)  # the first it was told was no event of the log
