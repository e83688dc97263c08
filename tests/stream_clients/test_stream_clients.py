"""Unmodified clients of event streams: every event once, the end, and one job, although the service is restarted meanwhile."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.browser.nginx import Nginx
from tests.contract.servers import KINDS, RunningServer, free_port
from tests.stream_clients.python_clients import Seen, aiohttp_sse_client, httpx_sse
from tests.system.process_scenario import ProcessScenario
from tests.system.waiting import until

pytestmark = pytest.mark.long

NODE = Path(__file__).parent / "node"
WORDS = 30

Client = Callable[[str], AsyncIterator[Seen]]


def node_client(name: str) -> Client:
    async def run(url: str) -> AsyncIterator[Seen]:
        folder = await asyncio.to_thread(installed)
        process = await asyncio.create_subprocess_exec(
            "node", folder / "clients.mjs", name, url, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        async for line in process.stdout:
            seen = json.loads(line)
            yield seen.get("id") or "", seen["event"], seen["data"]
        assert await process.wait() == 0

    return run


def installed() -> Path:
    """Return the folder of the clients for Node, with their packages."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("nodejs and npm are not installed")
    wanted = hashlib.sha256((NODE / "package.json").read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("VIRTUAL_ENV") or Path(__file__).parents[2] / ".venv") / f"node-{wanted}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            shutil.copy(NODE / "package.json", temporary)
            subprocess.run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=temporary, check=True)
            with suppress(OSError):  # another process of these tests was first
                Path(temporary).rename(folder)
            Path(temporary).mkdir(exist_ok=True)
    shutil.copy(NODE / "clients.mjs", folder)
    return folder


CLIENTS: dict[str, Client] = {
    "httpx-sse": httpx_sse,
    "aiohttp-sse-client": aiohttp_sse_client,
    **{
        name: node_client(name)
        for name in ("fetch-event-source", "eventsource", "eventsource-parser", "fetch-event-stream")
    },
}

EVERY_CLIENT = pytest.mark.parametrize("client", CLIENTS)


async def follow(client: str, url: str, when_started: Callable[[], Coroutine[Any, Any, None]]) -> list[Seen]:
    """Return what a client saw to the end. `when_started` runs after the third token."""
    seen: list[Seen] = []
    meanwhile: asyncio.Task[None] | None = None
    async with asyncio.timeout(60):
        async for event in CLIENTS[client](url):
            seen.append(event)
            if meanwhile is None and sum(name == "token" for _, name, _ in seen) == 3:
                meanwhile = asyncio.create_task(when_started())
        assert meanwhile is not None
        await meanwhile
    return seen


async def assert_every_event_came_once(seen: list[Seen], scenario: ProcessScenario) -> None:
    tokens = [(id_, data["text"]) for id_, name, data in seen if name == "token"]
    assert [text for _, text in tokens] == [f"{word} " for word in range(WORDS)]
    assert len({id_ for id_, _ in tokens}) == WORDS
    assert seen[-1][1] == "end"
    assert {name for _, name, _ in seen} == {"job", "token", "end"}, "a comment was taken for an event"
    assert len(scenario.processes.notes("start")) == 1


@EVERY_CLIENT
@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "behind nginx"])
async def test_client_follows_a_stream_through_a_restart_of_the_service(
    scenario: ProcessScenario, client: str, proxied: bool, request: pytest.FixtureRequest
) -> None:
    await scenario.worker("w1")
    port = free_port()
    api, _ = await scenario.api(port=port)
    public = port
    if proxied:
        nginx = Nginx(scenario.processes.folder / "nginx", port)
        request.addfinalizer(nginx.stop)
        public = nginx.port

    async def restart() -> None:
        api.signal(signal.SIGTERM)
        await until(lambda: api.exited, "the service stops")
        await scenario.api(port=port)

    seen = await follow(client, f"http://127.0.0.1:{public}/stories?words={WORDS}&pace=0.15", restart)
    await assert_every_event_came_once(seen, scenario)


@pytest.mark.parametrize("kind", [KINDS[0]], indirect=True)
@EVERY_CLIENT
async def test_client_follows_a_stream_while_redis_is_away(
    scenario: ProcessScenario, client: str, server: RunningServer, lease: float
) -> None:
    await scenario.worker("w1", SIDELANE_LEASE_DURATION="30")
    port = free_port()
    await scenario.api(port=port)

    async def interrupt() -> None:
        server.stop(signal.SIGKILL)
        await asyncio.sleep(5)
        server.start()

    seen = await follow(client, f"http://127.0.0.1:{port}/stories?words={WORDS}&pace=0.15", interrupt)
    await assert_every_event_came_once(seen, scenario)
