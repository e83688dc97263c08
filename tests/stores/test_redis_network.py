"""Network faults between a store and its server: calls are retried, hints come again, leases are kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from sidelane import Sidelane
from sidelane.conformance.stores.actions import claim, claim_job, specs, submit
from sidelane.model.errors import StoreUnavailable
from sidelane.model.job import Submission
from sidelane.stores.contract import Store, job_topic, queue_topic
from sidelane.stores.factory import open_store
from sidelane.stores.redis import notifications
from sidelane.worker.worker import run_in_background
from tests.contract.servers import EVERY_KIND, RunningServer
from tests.stores.proxy import Proxy, between
from tests.stores.short_timeouts import short_timeouts

RESPONSE_TIMEOUT = 0.5
"""Seconds until a server that does not respond counts as unavailable, set in the URL."""


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path).start()
    yield running
    running.stop()


@pytest.fixture
async def proxy(server: RunningServer) -> AsyncIterator[Proxy]:
    async with between(server.port) as proxy:
        yield proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0?socket_timeout={RESPONSE_TIMEOUT}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    yield store
    await store.close()


async def test_a_stalled_connection_is_replaced(store: Store, proxy: Proxy) -> None:
    await submit(store, *specs("a"))
    proxy.stall()
    (answer,) = await store.submit(specs("b"))
    assert isinstance(answer, Submission)


@pytest.mark.parametrize("breaks", [Proxy.reset, Proxy.cut])
async def test_broken_idle_connections_are_replaced(
    store: Store, proxy: Proxy, breaks: Callable[[Proxy], None]
) -> None:
    for number in range(10):
        await asyncio.gather(*(store.get([f"j{each}"]) for each in range(20)))
        breaks(proxy)
        await asyncio.sleep(0.002 * number)  # the loop notices before the call or during it
        await submit(store, *specs(f"j{number}"))


async def test_many_stalled_connections_are_replaced_together(store: Store, proxy: Proxy) -> None:
    await asyncio.gather(*(store.get([f"j{number}"]) for number in range(50)))
    proxy.stall()
    began = time.monotonic()
    await asyncio.gather(*(submit(store, *specs(f"j{number}")) for number in range(50)))
    assert time.monotonic() - began < 10 * RESPONSE_TIMEOUT, (
        "connections must be replaced concurrently, not one after another"
    )


async def test_a_task_that_calls_repeatedly_can_be_cancelled_at_any_moment(store: Store) -> None:
    async def call_on() -> None:
        while True:
            await store.get(["a"])

    for moment in range(400):
        calling = asyncio.create_task(call_on())
        for _ in range(moment % 40):
            await asyncio.sleep(0)
        calling.cancel()
        ended, _ = await asyncio.wait([calling], timeout=1)
        calling.cancel()
        assert ended, f"the cancel was swallowed after {moment % 40} iterations of the loop"


async def test_calls_on_reset_connections_take_effect_once(store: Store, proxy: Proxy) -> None:
    submitting = [asyncio.create_task(store.submit(specs(f"j{number}"))) for number in range(200)]
    await asyncio.wait(submitting, return_when=asyncio.FIRST_COMPLETED)
    proxy.reset()
    assert all(isinstance(answer, Submission) for (answer,) in await asyncio.gather(*submitting))
    assert len(await claim(store, limit=1000)) == 200


async def test_a_server_that_refuses_connections_is_unavailable(store: Store, proxy: Proxy) -> None:
    proxy.refuse()
    proxy.reset()
    with short_timeouts(), pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.submit(specs("a"))
    await proxy.open()
    await submit(store, *specs("a"))


async def test_a_slow_network_only_delays_calls(proxy: Proxy, url: str) -> None:
    proxy.latency = 0.02
    store = await open_store(url)
    async with store.watch(queue_topic("default")) as wakeups:
        await submit(store, *specs("a"))
        assert await wakeups.wait(10)
    assert len(await claim(store)) == 1
    await store.close()


@pytest.mark.long
async def test_a_stalled_notification_connection_is_replaced(
    store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL", 0.2)
    await submit(store, *specs("a"))
    async with store.watch(job_topic("a")) as wakeups:
        proxy.stall()
        assert await wakeups.wait(10), "watches are woken because hints may have been missed"
        while await wakeups.wait(0.5):
            pass
        await claim_job(store, "a")
        assert await wakeups.wait(10)


@pytest.mark.long
async def test_a_worker_with_stalled_connections_keeps_its_job(server: RunningServer, url: str, proxy: Proxy) -> None:
    settings = {"lease_duration": 3.0}
    away, near = Sidelane(store=url, settings=settings), Sidelane(store=server.url(), settings=settings)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @away.task
    async def hold() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    async with near.open(), away.open(), run_in_background(away.worker(name="w1")):  # the near one sweeps
        job = await hold.submit()
        await begun.wait()
        proxy.stall()
        await asyncio.sleep(1.2 * settings["lease_duration"])  # there is no event to wait for
        go_on.set()
        assert await job.result(10) == "done"
        record = await job.record()
        assert (record.attempt, record.worker_losses) == (1, 0)
