"""A failing network between workers, HTTP service and server ends no process and no request badly."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from httpx2 import AsyncClient

from examples.stock_chat.demo.server_events import server_events
from sidelane import State
from sidelane.stores.factory import open_store
from tests.contract.servers import RunningServer
from tests.stores.proxy import Proxy, between
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import ROOT, Processes, RunningProcess

SECONDS = float(os.environ.get("SIDELANE_FAULTS", "60"))
"""For how long the network fails: `SIDELANE_FAULTS=600 make test ARGS="-m soak tests/system/test_network_faults.py"` for long."""

CLIENTS, WORKERS = 8, 2

WORDS = 20

LEASE = 2.0

ANSWER = 1.0
"""Seconds until a server that does not answer counts as gone."""

SETTLE_TIMEOUT = 60.0

SEED = 5

GOOD = {(200, "application/json"), (202, "application/json"), (200, "text/event-stream")}
UNAVAILABLE = (503, "application/problem+json")


class Network:
    """Breaks the connections through some proxies, in every way and at any time."""

    def __init__(self, proxies: list[Proxy], rng: random.Random) -> None:
        self._proxies = proxies
        self._rng = rng
        self.faults = Counter[str]()

    async def fail(self) -> None:
        """Go on until cancelled; then everything is well again."""
        ways = {"reset": self._reset, "cut": self._cut, "stall": self._stall, "refuse": self._refuse}
        try:
            while True:
                name = self._rng.choice(list(ways))
                self.faults[name] += 1
                await ways[name](self._rng.choice(self._proxies))
                await asyncio.sleep(self._rng.uniform(0.0, 1.0))
        finally:
            for proxy in self._proxies:
                proxy.refuse()
                proxy.reset()
                await proxy.open()

    async def _reset(self, proxy: Proxy) -> None:
        proxy.reset()

    async def _cut(self, proxy: Proxy) -> None:
        proxy.cut()

    async def _stall(self, proxy: Proxy) -> None:
        proxy.stall()
        await asyncio.sleep(self._rng.uniform(0.0, 2 * ANSWER))

    async def _refuse(self, proxy: Proxy) -> None:
        """Be away, sometimes for longer than a call has patience."""
        proxy.refuse()
        proxy.reset()
        await asyncio.sleep(self._rng.choice([0.05, 0.5, 5.0]))
        await proxy.open()


class Clients:
    """Submits jobs, looks them up and follows them, and counts how the service answers."""

    def __init__(self, http: AsyncClient) -> None:
        self._http = http
        self.answers = Counter[tuple[int, str]]()
        self.taken: list[str] = []

    async def go_on(self, name: int) -> None:
        turn = 0
        while True:
            turn += 1
            await self._sum(f"sum-{name}-{turn}")
            story = await self._ask("POST", "/stories", params={"words": WORDS, "pace": 0.02})
            if story is not None:
                self.taken.append(story["id"])
                await self._follow(story["id"])

    async def _sum(self, job: str) -> None:
        if await self._ask("POST", f"/sums/{job}", params={"a": 1, "b": 2}) is not None:
            self.taken.append(job)
            await self._ask("GET", f"/jobs/{job}")

    async def _ask(self, verb: str, path: str, params: dict[str, float] | None = None) -> dict[str, str] | None:
        answer = await self._http.request(verb, path, params=params)
        if self._counted(answer.status_code, answer.headers["content-type"]) not in GOOD:
            return None
        found: dict[str, str] = answer.json()
        return found

    async def _follow(self, job: str) -> None:
        """Read a stream to its end, coming back as often as it breaks, and check that nothing is missing."""
        numbers: list[int] = []
        last: dict[str, str] = {}
        while True:
            headers = {"Accept": "text/event-stream", **last}
            async with self._http.stream("GET", f"/jobs/{job}/events", headers=headers) as response:
                self._counted(response.status_code, response.headers["content-type"])
                async for event in server_events(response):
                    if event.id:
                        numbers.append(event.number)
                        last = {"Last-Event-ID": event.id}
                    if event.name == "end":
                        assert numbers == list(range(1, len(numbers) + 1)), job
                        return
            await asyncio.sleep(0.1)

    def _counted(self, status: int, content: str) -> tuple[int, str]:
        seen = (status, content.partition(";")[0])
        self.answers[seen] += 1
        return seen


def without_uvloop(folder: Path) -> str:
    """Make a path for Python on which uvloop seems not to be installed."""
    hiding = folder / "hiding"
    hiding.mkdir()
    (hiding / "uvloop.py").write_text("raise ImportError\n")
    return os.pathsep.join([str(hiding), str(ROOT), str(ROOT / "src")])


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 4 * SETTLE_TIMEOUT)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", ["valkey"], indirect=True)
async def test_failing_network_ends_no_worker_and_causes_no_plain_500(
    loop: str, server: RunningServer, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = {} if loop == "uvloop" else {"PYTHONPATH": without_uvloop(tmp_path)}
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(between(server.port)) for _ in range(2)]
        store = await open_store(server.url())
        stack.push_async_callback(store.close)
        near, far = (
            Processes(tmp_path, f"redis://127.0.0.1:{proxy.port}/0?socket_timeout={ANSWER}", lease=LEASE)
            for proxy in proxies
        )
        stack.callback(far.stop)
        stack.callback(near.stop)
        scenario = ProcessScenario(near, store, stack)
        workers = [
            await ProcessScenario(far, store, stack).worker(f"w{number}", **environment) for number in range(WORKERS)
        ]
        assert all(worker.logged(f", {loop}") for worker in workers)
        api, http = await scenario.api(loop=loop)
        network, clients = Network(proxies, random.Random(SEED)), Clients(http)

        going = [asyncio.create_task(clients.go_on(number)) for number in range(CLIENTS)]
        failing = asyncio.create_task(network.fail())
        ended, _ = await asyncio.wait([*going, failing], timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        failing.cancel()
        await asyncio.wait([failing])
        for task in (*going, *ended):
            task.cancel()
        for task in ended:
            task.result()
        await asyncio.wait(going)

        records = await scenario.wait_all_finished(clients.taken, within=SETTLE_TIMEOUT)
        said = {
            "faults": dict(network.faults),
            "jobs": len(records),
            "worker_losses": sum(r.worker_losses for r in records),
        }
        answers = {f"{status} {content}": count for (status, content), count in clients.answers.items()}
        record_property(f"network_faults_{loop}", {**said, "answers": answers})
        assert {record.state for record in records} == {State.SUCCEEDED}
        assert [process.name for process in (*workers, api) if process.exited] == []
        assert clients.answers.keys() <= GOOD | {UNAVAILABLE}
        assert [process.name for process in (*workers, api) if broke(process)] == []


def broke(process: RunningProcess) -> bool:
    """Return whether a process has logged an unexpected error. The log entry of a 503 is expected."""
    return any(map(process.logged, ("Exception in ASGI application", "was never retrieved", "RuntimeError")))
