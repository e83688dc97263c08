"""WebSocket: the same events as an event stream, one JSON message each."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sidelane.model.errors import StoreUnavailable
from tests.web.clients import EVENT_STREAM, Server, frames_of
from tests.web.service import Service


@asynccontextmanager
async def open_socket(server: Server, path: str, user: str | None = None) -> AsyncIterator[ClientConnection]:
    headers = {"X-User": user} if user else {}
    async with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers) as connection:
        yield connection


async def messages(connection: ClientConnection) -> list[dict[str, Any]]:
    return [json.loads(text) async for text in connection]


async def messages_until_closed(connection: ClientConnection) -> list[dict[str, Any]]:
    received: list[dict[str, Any]] = []
    with suppress(ConnectionClosed):
        while True:
            received.append(json.loads(await connection.recv()))
    return received


async def submitted(server: Server, name: str, **arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = (await server.client.post(f"/do/{name}", json=arguments)).json()
    return document


async def test_websocket_sends_the_same_events_as_an_event_stream(server: Server) -> None:
    job = await submitted(server, "draw", points=2)
    streamed = await server.client.get(job["links"]["events"])
    async with open_socket(server, job["links"]["events"]) as connection:
        received = await messages(connection)
    frames = [frame for frame in frames_of(streamed.text) if frame.data is not None]
    assert [(frame.event, frame.id, frame.data) for frame in frames[1:]] == [
        (message["event"], message["id"], message["data"]) for message in received[1:]
    ]
    assert received[0]["event"] == "job"
    assert "id" not in received[0]
    assert connection.close_code == 1000


async def test_websocket_sends_each_event_immediately(server: Server, service: Service) -> None:
    job = await submitted(server, "paced", words=2)
    async with open_socket(server, f"{job['links']['self']}/events", user="ann") as connection:
        assert json.loads(await connection.recv())["event"] == "job"
        for number in range(2):
            service.pace.allow()
            assert json.loads(await connection.recv())["data"] == {"text": f"word{number} "}
        assert [message["event"] for message in await messages(connection)] == ["end"]


async def test_websocket_resumes_after_a_cursor(server: Server) -> None:
    job = await submitted(server, "talk", words=4)
    async with open_socket(server, job["links"]["events"]) as connection:
        whole = await messages(connection)
    async with open_socket(server, f"{job['links']['events']}?after={whole[2]['id']}") as connection:
        assert (await messages(connection))[1:] == whole[3:]
    async with open_socket(server, f"{job['links']['events']}?after={whole[-1]['id']}") as connection:
        assert [message["event"] for message in await messages(connection)] == ["job"]


async def test_websocket_messages_from_the_client_are_ignored(server: Server, service: Service) -> None:
    job = await submitted(server, "held")
    async with open_socket(server, job["links"]["events"]) as connection:
        await connection.send("hello")
        await connection.send(b"\x00")
        await connection.recv()
        service.pace.allow()
        assert [message["event"] for message in await messages(connection)] == ["end"]


async def closed_with(server: Server, path: str, user: str | None = None) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed) as closed:
        async with open_socket(server, path, user) as connection:
            await connection.recv()
    frame = closed.value.rcvd
    return (frame.code, frame.reason) if frame else (None, None)


async def test_refused_websocket_is_closed_with_the_status_of_its_problem(server: Server) -> None:
    job = await submitted(server, "echo")
    own, others = f"/jobs/{job['id']}/events", "/jobs/00ff/events"
    assert (await closed_with(server, others, "ann"))[0] == 4404
    assert (await closed_with(server, own, "bob"))[0] == 4404
    assert (await closed_with(server, own))[0] == 4404
    assert (await closed_with(server, f"{own}/forged"))[0] == 4404
    code, reason = await closed_with(server, f"{own}?after={'%F0%9F%A6%86' * 40}", "ann")
    assert (code, (reason or "")[:13]) == (4400, "Last-Event-ID")


async def test_websocket_does_not_reveal_a_store_error(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*args: object, **options: object) -> None:
        raise StoreUnavailable("The store /secret/path is unavailable.")

    job = await submitted(server, "held")
    with monkeypatch.context() as patch:
        patch.setattr(service.lane.client.store, "get", unavailable)
        code, reason = await closed_with(server, job["links"]["events"])
    assert code == 4503
    assert "secret" not in (reason or "")


async def test_websocket_closes_with_try_again_later_if_the_log_is_unavailable(
    server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*args: object, **options: object) -> None:
        raise StoreUnavailable("The store /secret/path is unavailable.")

    job = await submitted(server, "paced", words=2)
    async with open_socket(server, job["links"]["events"]) as connection:
        service.pace.allow()
        seen = [json.loads(await connection.recv()) for _ in range(2)][-1]
        with monkeypatch.context() as patch:
            patch.setattr(service.lane.client.store, "read", unavailable)
            service.pace.allow()
            assert await messages_until_closed(connection) == []
    assert (connection.close_code, connection.close_reason) == (1013, "")
    async with open_socket(server, f"{job['links']['events']}?after={seen['id']}") as connection:
        assert [message["event"] for message in await messages(connection)] == ["job", "token", "end"]


async def test_websocket_disconnect_leaves_no_subscription(server: Server, service: Service) -> None:
    service.pace.allow()
    job = await submitted(server, "paced", words=2)
    async with open_socket(server, job["links"]["events"]) as connection:
        for _ in range(2):
            await connection.recv()
        assert service.is_subscribed(job["id"])
    await service.wait_unsubscribed(job["id"])


async def test_get_at_the_websocket_path_is_an_event_stream(
    client: httpx2.AsyncClient,
) -> None:
    job = (await client.post("/do/echo")).json()
    answer = await client.get(job["links"]["events"], headers=EVENT_STREAM)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
