"""Real traffic through nginx with the generated file: streams, restarts, and a heavy pool that is down."""

import asyncio
import contextlib
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.ops.deploy.live import LiveService, live_service
from tests.ops.deploy.stream_lag import DIRECT, STREAMS, lags

pytestmark = [pytest.mark.long, pytest.mark.system]

SECONDS = float(os.environ.get("RESTART_SECONDS", "12"))
"""How long the processes are replaced under load. By hand it may be longer: RESTART_SECONDS=60."""

IDLE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.05, 0.3, 0.9, 1.3)
"""Seconds between two requests of a client."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    with live_service(tmp_path) as started:
        yield started


@asynccontextmanager
async def load(url: str, clients: int = 12) -> AsyncIterator[Counter[str]]:
    """Send GET and POST requests of light and heavy routes over kept connections, and count the answers and the errors."""
    counts: Counter[str] = Counter()
    stopped = asyncio.Event()

    async def send(client: httpx2.AsyncClient, number: int) -> int:
        match number % 4:
            case 0:
                return (await client.get("/ticks/recent")).status_code
            case 1:
                answer = await client.post("/echo", json={"number": number})
                assert answer.status_code != 200 or answer.json() == {"number": number}
                return answer.status_code
            case 2:
                return (await client.get("/ticks/a")).status_code
            case _:
                return (await client.post("/ticks/a", params={"count": 0, "pace": 0})).status_code

    async def repeat(client: httpx2.AsyncClient, number: int) -> None:
        while not stopped.is_set():
            try:
                counts[str(await send(client, number))] += 1
            except httpx2.HTTPError as error:
                counts[f"{type(error).__name__}: {error}"] += 1
            number += 1
            with contextlib.suppress(TimeoutError):
                # connections to and from nginx are idle for different times, also longer than nginx keeps them
                await asyncio.wait_for(stopped.wait(), IDLE[number % len(IDLE)])

    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        tasks = [asyncio.create_task(repeat(client, number)) for number in range(clients)]
        try:
            yield counts
        finally:
            stopped.set()
            await asyncio.gather(*tasks)


@pytest.mark.row("R4")
async def test_restarts_of_both_pools_under_load_fail_no_request(service: LiveService) -> None:
    end, rolls = time.monotonic() + SECONDS, 0
    async with load(service.url) as counts:
        while time.monotonic() < end or rolls < 4:
            await asyncio.to_thread(service.groups["general" if rolls % 2 else "heavy"].roll)
            rolls += 1
    print(f"{rolls} restarts, {counts.total()} requests: {dict(counts)}")
    assert set(counts) == {"200", "202"}


@pytest.mark.row("R4")
async def test_light_routes_answer_all_the_while_without_the_heavy_pool(service: LiveService) -> None:
    stopped = asyncio.Event()
    light: Counter[int] = Counter()
    async with httpx2.AsyncClient(base_url=service.url, timeout=60, trust_env=False) as client:

        async def repeat() -> None:
            while not stopped.is_set():
                for answer in (
                    await client.get("/ticks/recent"), await client.get("/ticks/a"), await client.get("/health/ready"),
                    await client.post("/echo", json={"a": 1}), await client.get("/jobs/current", params={"key": "none"}),
                ):  # fmt: skip
                    light[answer.status_code if "/jobs/" not in str(answer.url) else 200] += 1

        task = asyncio.create_task(repeat())
        await asyncio.to_thread(service.groups["heavy"].stop)
        before = light.total()
        while light.total() < before + 100:
            heavy = await client.post("/ticks/a", params={"count": 0, "pace": 0})
            assert heavy.status_code == 502
            posted = await client.post("/jobs/0193/events", json={"events": []})  # of an external worker: a light route
            assert posted.status_code == 403
        stopped.set()
        await task
    assert set(light) == {200}


async def test_event_source_of_a_stopped_pool_is_told_to_come_back(service: LiveService) -> None:
    await asyncio.to_thread(service.groups["heavy"].stop)
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as client:
        for path in ("/jobs/0193/events", "/jobs/0193/events/token", "/batches/0193/events"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
            assert answer.text.startswith("retry: 2000\n")


async def test_external_worker_gets_an_error_not_a_stream_if_its_events_cannot_be_stored(service: LiveService) -> None:
    await asyncio.to_thread(service.groups["general"].stop)
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as client:
        assert (await client.post("/jobs/0193/events", json={"events": []})).status_code == 503


async def test_stream_continues_over_a_restart_of_its_pool(service: LiveService) -> None:
    async with httpx2.AsyncClient(base_url=service.url, timeout=60, trust_env=False) as client:
        job = (await client.post("/ticks/a", params={"count": 10_000, "pace": 0.1})).json()["id"]
        roll = asyncio.create_task(asyncio.to_thread(service.groups["heavy"].roll))
        followed, cursor, connections, ended = "", "", 0, False
        while not ended:
            reading = asyncio.create_task(read_stream(client, job, cursor))
            connections += 1
            if connections == 2:  # the restart has ended the first one
                await roll
                await client.post(f"/jobs/{job}/cancel")
            text, cursor, ended = await reading
            followed += text
        whole, _, _ = await read_stream(client, job, "")
    assert connections > 1
    assert followed == whole


async def read_stream(client: httpx2.AsyncClient, job: str, cursor: str) -> tuple[str, str, bool]:
    """Read a stream until it ends, from a cursor on. Return the text, the new cursor, and whether the job has ended."""
    text, event = "", ""
    async with client.stream(
        "GET", f"/jobs/{job}/events", headers={"Last-Event-ID": cursor} if cursor else {}
    ) as stream:
        assert stream.status_code == 200
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                cursor = value
            elif name == "event":
                event = value
            elif name == "data" and event == "token":
                text += json.loads(value)["text"]
    return text, cursor, event == "end"


async def test_websockets_and_large_bodies_pass(service: LiveService) -> None:
    async with connect(f"{service.url.replace('http', 'ws')}/greetings", proxy=None) as socket:
        assert await socket.recv() == "hello"
    async with httpx2.AsyncClient(base_url=service.url, timeout=60, trust_env=False) as client:
        small = await client.post("/recordings", files={"recording": b"x" * 5_000_000})
        assert small.json() == 5_000_000
        large = await client.post("/recordings", files={"recording": b"x" * 32 * 2**20})
        assert large.status_code == 413


@pytest.mark.row("R4")
async def test_events_reach_200_clients_one_by_one(service: LiveService) -> None:
    """`python -m tests.ops.deploy.stream_lag` measures the lag that nginx adds."""
    pace = 0.25
    proxied, direct = await lags(service.url, service.direct, events=8, pace=pace)
    assert (len(proxied), len(direct)) == (8 * STREAMS, 8 * DIRECT)
    # a buffer would hold many events, each for longer than the next one takes
    assert statistics.median(proxied) < pace
