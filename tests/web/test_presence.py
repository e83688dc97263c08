"""Listeners: jobs with `on_disconnect` are cancelled without them; slow readers; resources after a disconnect."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Sequence

import httpx2
import pytest

from sidelane import CancelAfter
from sidelane.model.job import State
from tests.web.clients import Server, run_server
from tests.web.conftest import MakeService
from tests.web.service import GRACE_PERIOD, Service

LONGER_THAN_GRACE = 2.5 * GRACE_PERIOD


async def state_of(service: Service, job_id: str) -> State:
    return (await service.lane.client.record(job_id)).state


async def stopped(service: Service, within: float = 10.0) -> bool:
    try:
        async with asyncio.timeout(within):
            await service.pace.stopped.wait()
    except TimeoutError:
        return False
    return True


@pytest.mark.long
async def test_job_is_cancelled_after_its_last_listener_disconnects(server: Server, service: Service) -> None:
    async with server.stream("/do/watched", "POST") as first:
        (job,) = await first.until("job")
        async with server.stream(job.data["links"]["events"]):
            pass
        assert not await stopped(service, LONGER_THAN_GRACE)  # the first is still connected
        assert await state_of(service, job.data["id"]) is State.RUNNING
    assert await stopped(service)
    async with server.stream(job.data["links"]["events"]) as late:
        assert (await late.rest())[-1].data["state"] == "cancelled"


async def test_grace_period_begins_when_the_last_listener_disconnects(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disconnect is reported at once, long before the next renewal, and the grace period counts from then on."""
    touched: asyncio.Queue[list[str]] = asyncio.Queue()
    store = service.lane.client.store
    touch_listeners = store.touch_listeners

    async def recorded(ids: Sequence[str]) -> None:
        await touch_listeners(ids)
        touched.put_nowait(list(ids))

    monkeypatch.setattr(store, "touch_listeners", recorded)
    call = service.tasks["watched"].options(on_disconnect=CancelAfter(after=600), user="ann").call()
    events = f"/jobs/{(await service.lane.submit(call)).id}/events"
    async with asyncio.timeout(10), server.stream(events) as first:
        (job,) = await first.until("job")
        assert await touched.get() == [job.data["id"]]
        async with server.stream(events) as second:
            await second.until("job")
            assert await touched.get() == [job.data["id"]]
        await first.response.aclose()
        assert await touched.get() == [job.data["id"]]
    assert touched.empty()  # a disconnect that leaves other listeners is not reported


@pytest.mark.long
async def test_websocket_and_waiting_request_count_as_listeners(server: Server, service: Service) -> None:
    from tests.web.test_websocket import open_socket

    waiting = asyncio.create_task(server.client.post("/do/watched?key=it", headers={"Prefer": "wait=60"}))
    await service.pace.running.wait()
    assert not await stopped(service, LONGER_THAN_GRACE)
    job = (await server.client.get("/jobs/current?key=it")).json()
    async with open_socket(server, job["links"]["events"]):
        waiting.cancel()
        assert not await stopped(service, LONGER_THAN_GRACE)
    assert await stopped(service)


@pytest.mark.long
async def test_job_survives_if_its_client_reconnects_in_time(server: Server, service: Service) -> None:
    async with server.stream("/do/watched", "POST", json={"words": 4}) as stream:
        (job,) = await stream.until("job")
    for _ in range(3):
        service.pace.allow()
        async with server.stream(job.data["links"]["events"]) as stream:
            await stream.until("token")
    async with server.stream(job.data["links"]["events"]) as stream:
        service.pace.allow()
        assert (await stream.rest())[-1].data["state"] == "succeeded"


async def test_long_grace_period_of_one_job_does_not_delay_renewals_of_another(
    server: Server, service: Service
) -> None:
    """The renewal interval follows the shortest grace period, even if a job with a long one was first."""
    patient = service.tasks["watched"].options(on_disconnect=CancelAfter(after=600), user="ann").call()
    patient_job = await service.lane.submit(patient)
    async with server.stream(f"/jobs/{patient_job.id}/events"), server.stream("/do/watched", "POST") as stream:
        (job,) = await stream.until("job")
        assert not await stopped(service, LONGER_THAN_GRACE)
        assert await state_of(service, job.data["id"]) is State.RUNNING


async def test_job_with_on_disconnect_continue_runs_without_listeners(server: Server, service: Service) -> None:
    async with server.stream("/do/unwatched", "POST") as stream:
        (job,) = await stream.until("job")
    await service.pace.running.wait()
    assert not await stopped(service, LONGER_THAN_GRACE)
    service.pace.allow()
    async with server.stream(job.data["links"]["events"]) as stream:
        assert (await stream.rest())[-1].data["state"] == "succeeded"


async def test_job_that_never_had_a_listener_is_not_cancelled(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/watched")).json()
    assert not await stopped(service, LONGER_THAN_GRACE)
    service.pace.allow()
    assert '"succeeded"' in (await client.get(job["links"]["events"])).text


async def test_disconnect_is_noticed_at_once_and_leaves_no_subscription(server: Server, service: Service) -> None:
    service.pace.allow()
    async with server.stream("/do/paced", "POST", json={"words": 2}) as stream:
        job_id = (await stream.until("token"))[0].data["id"]
        assert service.is_subscribed(job_id)
    await service.wait_unsubscribed(job_id)


@pytest.mark.long
async def test_slow_readers_use_bounded_memory_and_delay_nobody(make: MakeService) -> None:
    """Some clients open a stream of 15 MB and never read it; another client reads all of it meanwhile."""
    service = make()
    async with run_server(service.app) as server:
        text = "x" * 100_000
        job = (await server.client.post("/do/repeat", json={"text": text, "times": 150})).json()
        async with server.stream(job["links"]["events"]) as stream:
            await stream.rest()
        gc.collect()
        tracemalloc.start()
        slow = [unread(server.port, job["links"]["events"]) for _ in range(10)]
        try:
            async with asyncio.timeout(20), server.stream(job["links"]["events"]) as stream:
                size = 0
                async for frame in stream:
                    size += len(frame.data["text"]) if frame.event == "token" else 0
            assert size == 150 * len(text)
            assert (await server.client.get("/light")).json() == "ok"
            gc.collect()
            allocated, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            for connection in slow:
                connection.close()
        assert allocated < 10 * 4_000_000


def unread(port: int, path: str) -> socket.socket:
    """Request a stream and never read it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("streams", [100])
async def test_hundred_streams_of_one_job_all_receive_the_end(make: MakeService, streams: int) -> None:
    service = make()
    async with run_server(service.app) as server:
        job = (await server.client.post("/do/paced", json={"words": 3})).json()

        async def event_names() -> list[str]:
            async with server.stream(job["links"]["events"]) as stream:
                return [frame.event for frame in await stream.rest()]

        streaming = [asyncio.create_task(event_names()) for _ in range(streams)]
        service.pace.allow(3)
        received = await asyncio.gather(*streaming)
    assert received == [["job", "token", "token", "token", "end"]] * streams
