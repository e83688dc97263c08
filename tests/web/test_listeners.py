"""Who listens: jobs that stop when nobody does any more, readers that are slow, and what they leave behind."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Sequence

import httpx2
import pytest

from sidelane import CancelAfter
from sidelane.model.job import State
from tests.web.clients import Server, served
from tests.web.conftest import MakeService
from tests.web.service import ABANDONED_AFTER, Service

LONG = 2.5 * ABANDONED_AFTER


async def state_of(service: Service, job_id: str) -> State:
    return (await service.lane.client.record(job_id)).state


async def stopped(service: Service, within: float = 10.0) -> bool:
    try:
        async with asyncio.timeout(within):
            await service.pace.stopped.wait()
    except TimeoutError:
        return False
    return True


async def test_a_job_is_cancelled_when_its_last_listener_has_gone(server: Server, service: Service) -> None:
    async with server.stream("/do/watched", "POST") as first:
        (job,) = await first.until("job")
        async with server.stream(job.data["links"]["events"]):
            pass
        assert not await stopped(service, LONG)  # the first still listens
        assert await state_of(service, job.data["id"]) is State.RUNNING
    assert await stopped(service)
    async with server.stream(job.data["links"]["events"]) as late:
        assert (await late.rest())[-1].data["state"] == "cancelled"


async def test_the_wait_begins_when_the_last_listener_goes(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the next renewal the store hears of a listener that goes, and counts from then on."""
    heard: asyncio.Queue[list[str]] = asyncio.Queue()
    store = service.lane.client.store
    listen = store.touch_listeners

    async def overheard(ids: Sequence[str]) -> None:
        await listen(ids)
        heard.put_nowait(list(ids))

    monkeypatch.setattr(store, "touch_listeners", overheard)
    call = service.tasks["watched"].options(on_disconnect=CancelAfter(after=600), user="ann").call()
    events = f"/jobs/{(await service.lane.submit(call)).id}/events"
    async with asyncio.timeout(10), server.stream(events) as first:
        (job,) = await first.until("job")
        assert await heard.get() == [job.data["id"]]
        async with server.stream(events) as second:
            await second.until("job")
            assert await heard.get() == [job.data["id"]]
        await first.response.aclose()
        assert await heard.get() == [job.data["id"]]
    assert heard.empty()  # one that goes before the last says nothing


async def test_a_websocket_and_a_waiting_request_listen_too(server: Server, service: Service) -> None:
    from tests.web.test_sockets import socket as open_socket

    waiting = asyncio.create_task(server.client.post("/do/watched?key=it", headers={"Prefer": "wait=60"}))
    await service.pace.running.wait()
    assert not await stopped(service, LONG)
    job = (await server.client.get("/jobs/current?key=it")).json()
    async with open_socket(server, job["links"]["events"]):
        waiting.cancel()
        assert not await stopped(service, LONG)
    assert await stopped(service)


async def test_a_client_that_comes_back_in_time_keeps_its_job(server: Server, service: Service) -> None:
    async with server.stream("/do/watched", "POST", json={"words": 4}) as stream:
        (job,) = await stream.until("job")
    for _ in range(3):
        service.pace.allow()
        async with server.stream(job.data["links"]["events"]) as stream:
            await stream.until("token")
    async with server.stream(job.data["links"]["events"]) as stream:
        service.pace.allow()
        assert (await stream.rest())[-1].data["state"] == "succeeded"


async def test_the_wait_of_one_job_is_not_that_of_another(server: Server, service: Service) -> None:
    """A listener with a long wait must not make the store hear too late of one with a short wait."""
    patient = service.tasks["watched"].options(on_disconnect=CancelAfter(after=600), user="ann").call()
    patient_job = await service.lane.submit(patient)
    async with server.stream(f"/jobs/{patient_job.id}/events"), server.stream("/do/watched", "POST") as stream:
        (job,) = await stream.until("job")
        assert not await stopped(service, LONG)
        assert await state_of(service, job.data["id"]) is State.RUNNING


async def test_a_job_goes_on_without_listeners_where_nothing_else_is_said(server: Server, service: Service) -> None:
    async with server.stream("/do/unwatched", "POST") as stream:
        (job,) = await stream.until("job")
    await service.pace.running.wait()
    assert not await stopped(service, LONG)
    service.pace.allow()
    async with server.stream(job.data["links"]["events"]) as stream:
        assert (await stream.rest())[-1].data["state"] == "succeeded"


async def test_a_job_that_nobody_has_ever_followed_goes_on(client: httpx2.AsyncClient, service: Service) -> None:
    job = (await client.post("/do/watched")).json()
    assert not await stopped(service, LONG)
    service.pace.allow()
    assert '"succeeded"' in (await client.get(job["links"]["events"])).text


async def test_a_client_that_goes_is_noticed_at_once_and_leaves_nothing_behind(
    server: Server, service: Service
) -> None:
    service.pace.allow()
    async with server.stream("/do/paced", "POST", json={"words": 2}) as stream:
        job_id = (await stream.until("token"))[0].data["id"]
        assert service.is_watched(job_id)
    await service.left(job_id)


async def test_a_slow_reader_takes_bounded_memory_and_holds_nobody_up(make: MakeService) -> None:
    """Some clients open the stream of 20 MB and do not read a byte of it; others read it all meanwhile."""
    service = make()
    async with served(service.app) as server:
        text = "x" * 100_000
        job = (await server.client.post("/do/repeat", json={"text": text, "times": 200})).json()
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
            assert size == 200 * len(text)
            assert (await server.client.get("/light")).json() == "ok"
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            for connection in slow:
                connection.close()
        assert held < 10 * 4_000_000


def unread(port: int, path: str) -> socket.socket:
    """Ask for a stream, and never read it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("streams", [100])
async def test_a_hundred_streams_of_one_job_all_hear_the_end(make: MakeService, streams: int) -> None:
    service = make()
    async with served(service.app) as server:
        job = (await server.client.post("/do/paced", json={"words": 3})).json()

        async def listen() -> list[str]:
            async with server.stream(job["links"]["events"]) as stream:
                return [frame.event for frame in await stream.rest()]

        listening = [asyncio.create_task(listen()) for _ in range(streams)]
        service.pace.allow(3)
        heard = await asyncio.gather(*listening)
    assert heard == [["job", "token", "token", "token", "end"]] * streams
