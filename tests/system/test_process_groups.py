"""Process groups under load: a restart or a replacement fails no request, loses no job, and runs none twice."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from sidelane.model.job import State
from tests.contract.servers import free_port
from tests.exporters.facts import read
from tests.processes.running_group import TIMEOUT, RunningGroup
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import SHOP, RunningProcess, alive
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until


class Group(RunningGroup):
    """A group and its parent process."""

    def __init__(self, parent: RunningProcess, control: Path) -> None:
        super().__init__(control)
        self.parent = parent


async def start(scenario: ProcessScenario, name: str, *command: str, **environment: str) -> Group:
    control = scenario.processes.folder / f"{name}.sock"
    sidelane = (sys.executable, "-m", "sidelane.cli", *command, "--name", name, "--control", str(control))
    group = Group(scenario.processes.start(name, *sidelane, SHOP_WORKER=name, **environment), control)
    await group.ready()
    return group


async def start_api(scenario: ProcessScenario, *options: str, processes: int = 2) -> tuple[Group, str]:
    port = free_port()
    arguments = ("api", "tests.system.api:app", "--port", str(port), "--processes", str(processes), *options)
    return await start(scenario, "api", *arguments), f"http://127.0.0.1:{port}"


@asynccontextmanager
async def requesting(url: str, *, keep_alive: bool) -> AsyncIterator[Counter[str]]:
    """Send requests during the block, each over a new connection or all over kept ones. Count the answers and the errors."""
    counts: Counter[str] = Counter()
    stopped = asyncio.Event()

    async def repeat(client: httpx2.AsyncClient, number: int) -> None:
        while not stopped.is_set():
            counts[await request(client, number)] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), 0.05)

    async def request(client: httpx2.AsyncClient, number: int) -> str:
        number += counts.total()
        try:
            if number % 2:
                return str((await client.get("/health")).status_code)
            return str((await client.post(f"/sums/{os.urandom(8).hex()}", params={"a": 1, "b": 2})).status_code)
        except httpx2.HTTPError as error:
            return f"{type(error).__name__}: {error}"

    limits = httpx2.Limits(max_keepalive_connections=4 if keep_alive else 0)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=TIMEOUT, trust_env=False) as client:
        tasks = [asyncio.create_task(repeat(client, number)) for number in range(4)]
        try:
            yield counts
        finally:
            stopped.set()
            await asyncio.gather(*tasks)


@pytest.mark.long
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new connections", "kept connections"])
async def test_restart_of_an_api_group_fails_no_request(scenario: ProcessScenario, keep_alive: bool) -> None:
    group, url = await start_api(scenario)
    before = group.pids
    async with requesting(url, keep_alive=keep_alive) as counts:
        await until(lambda: counts.total() > 20, "requests are answered")
        group.parent.signal(signal.SIGHUP)
        await group.replaced(before)
        seen = counts.total()
        await until(lambda: counts.total() > seen + 20, "the new processes answer")
    assert set(counts) == {"200", "202"}


@pytest.mark.long
async def test_killed_api_process_is_replaced_while_the_port_stays_open(scenario: ProcessScenario) -> None:
    group, url = await start_api(scenario)
    killed = min(group.pids)
    os.kill(killed, signal.SIGKILL)
    await group.replaced({killed})
    async with requesting(url, keep_alive=False) as counts:
        await until(lambda: counts.total() > 20, "requests are answered")
    assert set(counts) == {"200", "202"}
    assert group.status["last_exit"]["reason"] == "signal SIGKILL"


@pytest.mark.long
async def test_processes_of_a_killed_parent_end_and_release_the_port(scenario: ProcessScenario) -> None:
    group, _ = await start_api(scenario)
    children = group.pids
    group.parent.kill()
    await until(lambda: not any(map(alive, children)), "the processes have ended", within=TIMEOUT)


@pytest.mark.long
@pytest.mark.parametrize("how", ["restart", "replacement after jobs"])
async def test_replaced_workers_lose_no_job_and_run_none_twice(scenario: ProcessScenario, how: str) -> None:
    limits = ["--max-jobs", "25"] if how == "replacement after jobs" else []
    group = await start(scenario, "w", "worker", SHOP, "--processes", "2", *limits)
    before = group.pids
    jobs: list[str] = []

    async def submit() -> None:
        for number in range(100):
            jobs.extend(await scenario.submit(shop.work.call(1.0, number)))
            await asyncio.sleep(0.05)

    submitting = asyncio.create_task(submit())
    if how == "restart":
        await until(lambda: len(jobs) > 20, "jobs run")
        group.parent.signal(signal.SIGHUP)
    await group.replaced(before)
    await submitting
    records = await scenario.wait_all_finished(jobs, within=TIMEOUT)
    assert {(record.state, record.attempt, record.worker_losses) for record in records} == {(State.SUCCEEDED, 1, 0)}
    assert set(Counter(note["job"] for note in scenario.processes.notes("start")).values()) == {1}
    assert group.status["restarts"] == 0


@pytest.mark.long
async def test_metrics_port_has_the_figures_of_every_process_of_the_group(scenario: ProcessScenario) -> None:
    ports = free_port(), free_port()
    await start(scenario, "w", "worker", SHOP, "--processes", "2", "--metrics-port", str(ports[0]))
    _, url = await start_api(scenario, "--metrics-port", str(ports[1]))
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.post(f"{url}/sums/{os.urandom(8).hex()}", params={"a": 1, "b": 2})
        workers, apis = [read((await client.get(f"http://127.0.0.1:{port}/metrics")).content) for port in ports]
    slots = {
        dict(labels)["process"]: value for (name, labels), value in workers.items() if name == "sidelane_process_slots"
    }
    assert {name.partition("@")[0] for name in slots} == {"w-1", "w-2"}
    for samples, call in ((workers, "claim"), (apis, "submit")):
        calls = [labels for name, labels in samples if name == "sidelane_store_call_seconds_count"]
        assert call in {dict(labels)["call"] for labels in calls}
    names = {name for name, _ in apis}
    assert "sidelane_process_memory_bytes" in names
    assert "sidelane_process_slots" not in names


async def test_health_port_tells_about_all_processes_of_the_group(scenario: ProcessScenario) -> None:
    port = free_port()
    group = await start(scenario, "w", "worker", SHOP, "--processes", "2", "--health-port", str(port))
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for path in ("/health/live", "/health/ready", "/health"):
            answer = await client.get(path)
            assert (answer.status_code, len(answer.json()["processes"])) == (200, 2)
        assert (await client.get("/other")).status_code == 404
        assert (await client.post("/health")).status_code == 405
        group.parent.signal(signal.SIGTERM)
    await until(lambda: group.parent.exited, "it stops", within=TIMEOUT)
    assert group.parent.status == 0


@ON_EVERY_STORE
async def test_jobs_of_a_killed_worker_run_again_at_once_and_say_how_it_died(
    scenario: ProcessScenario,
) -> None:
    group = await start(scenario, "w", "worker", SHOP, "--processes", "2", SIDELANE_LEASE_DURATION="600")
    (job,) = await scenario.submit(shop.hold.call())
    (started,) = await until(lambda: scenario.processes.notes("start", job), "it runs")
    os.kill(started["pid"], signal.SIGKILL)
    await until(lambda: len(scenario.processes.notes("start", job)) == 2, "it runs again", within=TIMEOUT)
    record = await scenario.record(job)
    assert (record.attempt, record.worker_losses) == (2, 1)
    assert record.history[0].error == "signal SIGKILL"
    scenario.processes.open_gate("w")
    (record,) = await scenario.wait_all_finished([job])
    assert record.state is State.SUCCEEDED
    assert group.status["restarts"] == 1
