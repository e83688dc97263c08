"""Servers and surroundings that services have: jobs stream to their ends, and open streams end when the server stops."""

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from examples.stock_chat.demo.server_events import ServerEvent, server_events
from tests.browser.nginx import Nginx
from tests.contract.servers import free_port
from tests.stream_clients.servers import APP, COMMANDS, command
from tests.stream_clients.surrounded_app import ORIGIN
from tests.system.process_scenario import START_TIMEOUT, ProcessScenario
from tests.system.processes import RunningProcess
from tests.system.waiting import until

pytestmark = pytest.mark.long

WORDS = 30
EVENTS = {"Accept": "text/event-stream"}
STOP_TIMEOUT = 2.0
SURROUNDED = "tests.stream_clients.surrounded_app:app"

EVERY_SERVER = pytest.mark.parametrize("server_name", COMMANDS)


async def start(
    scenario: ProcessScenario, server_name: str, port: int, app: str = APP, *options: str
) -> RunningProcess:
    """Start a server and wait until it answers."""
    running = scenario.processes.start("server", *command(server_name, port, app, *options))

    async def answers() -> bool:
        assert not running.exited, running.log_tail()
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                await client.get(f"http://127.0.0.1:{port}/health")
        except httpx2.TransportError:
            return False
        return True

    await until(answers, f"{server_name} answers", within=START_TIMEOUT)
    return running


async def stream(url: str, **headers: str) -> AsyncIterator[ServerEvent]:
    """Yield the events of one response."""
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=20) as client,
        client.stream("POST", url, params={"words": WORDS, "pace": 0.1}, headers={**EVENTS, **headers}) as response,
    ):
        assert response.status_code == 200
        async for event in server_events(response):
            yield event


def words_of(events: list[ServerEvent]) -> list[str]:
    return [event.data["text"] for event in events if event.name == "token"]


@EVERY_SERVER
async def test_open_stream_ends_when_the_server_stops_and_continues_at_the_next(
    scenario: ProcessScenario, server_name: str
) -> None:
    await scenario.worker("w1")
    port = free_port()
    server = await start(scenario, server_name, port)
    url = f"http://127.0.0.1:{port}/stories"
    events: list[ServerEvent] = []
    asked = 0.0
    with suppress(httpx2.RemoteProtocolError):  # hypercorn ends its other workers as soon as one has stopped
        async for event in stream(url):
            events.append(event)
            if event.name == "token" and not asked:
                server.signal(signal.SIGTERM)
                asked = time.monotonic()
    ended = time.monotonic()
    assert events[-1].name == "token"
    await until(lambda: server.exited, "the server stops")
    assert ended - asked < STOP_TIMEOUT
    assert time.monotonic() - asked < 2 * STOP_TIMEOUT
    assert "Traceback" not in server.log.read_text()

    await start(scenario, server_name, port)
    events += [event async for event in stream(url, **{"Last-Event-ID": events[-1].id})]
    assert words_of(events) == [f"{word} " for word in range(WORDS)]
    assert events[-1].name == "end"
    assert len(scenario.processes.notes("start")) == 1


@EVERY_SERVER
async def test_websocket_receives_each_event_at_once_and_is_closed_after_the_end(
    scenario: ProcessScenario, server_name: str
) -> None:
    await scenario.worker("w1")
    port = free_port()
    await start(scenario, server_name, port)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
        links = (await client.post("/holds")).json()["links"]
    await assert_websocket_streams(scenario, f"ws://127.0.0.1:{port}{links['events']}")


async def assert_websocket_streams(scenario: ProcessScenario, url: str) -> None:
    """Follow a job of the task `hold`: its first word comes while the task waits."""
    async with asyncio.timeout(20), connect(url, proxy=None) as connection:
        names = [json.loads(await connection.recv())["event"] for _ in range(2)]
        scenario.processes.open_gate("w1")
        names += [json.loads(message)["event"] async for message in connection]
    assert names == ["job", "token", "token", "end"]
    assert connection.close_code == 1000


async def events_of(client: httpx2.AsyncClient, method: str, url: str, **request: Any) -> list[ServerEvent]:
    """Return the events of a whole stream."""
    async with client.stream(method, url, headers=EVENTS, **request) as response:
        assert response.status_code == 200
        return [event async for event in server_events(response)]


async def first_word(scenario: ProcessScenario, client: httpx2.AsyncClient, url: str) -> httpx2.Response:
    """Return a response of the task `hold` whose first word came while the task waits: nothing holds events back."""
    async with client.stream("POST", url, headers=EVENTS) as response:
        async with asyncio.timeout(10):
            async for event in server_events(response):
                if event.name == "token":
                    break
    scenario.processes.open_gate("w1")
    return response


async def test_gzip_and_cors_middlewares_hold_no_event_back(scenario: ProcessScenario) -> None:
    await scenario.worker("w1")
    port = free_port()
    await start(scenario, "uvicorn", port, SURROUNDED)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
        client.headers["Origin"] = ORIGIN
        response = await first_word(scenario, client, "/shop/holds")
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Content-Encoding" not in response.headers

        accepted = await client.post("/shop/stories", params={"words": 3, "pace": 0})
        assert accepted.headers["Content-Encoding"] == "gzip"
        assert "Location" in accepted.headers["Access-Control-Expose-Headers"]


async def test_links_contain_the_path_under_which_an_application_is_mounted(scenario: ProcessScenario) -> None:
    await scenario.worker("w1")
    port = free_port()
    await start(scenario, "uvicorn", port, SURROUNDED)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
        links = (await client.post("/shop/stories", params={"words": 3, "pace": 0})).json()["links"]
        assert links["self"].startswith("/shop/jobs/")
        events = await events_of(client, "GET", links["events"])
        assert words_of(events) == ["0 ", "1 ", "2 "]
        assert (await client.get(links["result"])).status_code == 200


async def test_two_lanes_in_one_application_stream_their_own_jobs(scenario: ProcessScenario) -> None:
    await scenario.worker("w1")
    port = free_port()
    await start(scenario, "uvicorn", port, SURROUNDED)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
        letters = (await client.post("/letters", params={"word": "abc"})).json()["links"]
        words = (await client.post("/shop/stories", params={"words": 2, "pace": 0})).json()["links"]
        assert words_of(await events_of(client, "GET", letters["events"])) == ["a", "b", "c"]
        assert words_of(await events_of(client, "GET", words["events"])) == ["0 ", "1 "]
        foreign = words["self"].replace("/shop/jobs/", "/letter-jobs/")
        assert (await client.get(foreign)).status_code == 404


async def test_links_contain_the_prefix_of_a_proxy_that_root_path_names(
    scenario: ProcessScenario, request: pytest.FixtureRequest
) -> None:
    await scenario.worker("w1")
    port, public = free_port(), free_port()
    await start(scenario, "uvicorn", port, APP, "--root-path", "/api")
    upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
    location = f"location /api/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_set_header Host $http_host; {upgrade} }}"
    server = f"server {{ listen 127.0.0.1:{public}; {location} }}"
    nginx = Nginx(scenario.processes.folder / "nginx", port, http=f"access_log off; {server}")
    request.addfinalizer(nginx.stop)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{public}", trust_env=False, timeout=20) as client:
        await first_word(scenario, client, "/api/holds")
        links = (await client.post("/api/stories", params={"words": 2, "pace": 0})).json()["links"]
        assert links["self"].startswith("/api/jobs/")
        assert words_of(await events_of(client, "GET", links["events"])) == ["0 ", "1 "]
        scenario.processes.close_gate("w1")
        links = (await client.post("/api/holds")).json()["links"]
        await assert_websocket_streams(scenario, f"ws://127.0.0.1:{public}{links['events']}")


async def test_many_streams_share_one_connection_of_http_2(scenario: ProcessScenario) -> None:
    await scenario.worker("w1")
    port = free_port()
    await start(scenario, "hypercorn", port)
    limits = httpx2.Limits(max_connections=1)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", http1=False, http2=True, limits=limits, trust_env=False, timeout=20
    ) as client:
        response = await first_word(scenario, client, "/holds")
        assert response.http_version == "HTTP/2"
        streams = [events_of(client, "POST", "/stories", params={"words": 5, "pace": 0.1}) for _ in range(10)]
        for events in await asyncio.gather(*streams):
            assert words_of(events) == [f"{number} " for number in range(5)]
            assert events[-1].name == "end"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_shows_each_event_at_once_and_ends_with_the_stream(scenario: ProcessScenario) -> None:
    await scenario.worker("w1")
    port = free_port()
    await start(scenario, "uvicorn", port)
    arguments = ["-sN", "--noproxy", "*", "-X", "POST", "-H", "Accept: text/event-stream"]
    process = await asyncio.create_subprocess_exec(
        "curl", *arguments, f"http://127.0.0.1:{port}/holds", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline()]
    while b'"before "' not in lines[-1]:
        lines.append(await asyncio.wait_for(process.stdout.readline(), 10))
    scenario.processes.open_gate("w1")
    async with asyncio.timeout(10):
        lines += [line async for line in process.stdout]
        assert await process.wait() == 0
    assert [line for line in lines if line.startswith(b"event: ")][-1] == b"event: end\n"
