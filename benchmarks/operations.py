"""Figures of a service under `sidelane up`: `python -m benchmarks.operations [start] [rounds] [kills] [restart] [idle] [--redis]`.

start    seconds of `--version`, `up`, the first job, `status` and `down`, and what `down` leaves behind
rounds   20 times up and down, and what they leave behind
kills    kill -9 of a worker, an API process, each parent and supervisord in turn under load: lost jobs, duplicate parents
restart  restarts under 20 jobs/s of 5 s and 50 requests/s for a minute: failed requests, worker losses, jobs run twice
idle     memory and CPU of supervisor and parents, beside their processes
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.server import running_server
from sidelane.model.job import JobRecord, State
from sidelane.stores.factory import open_store

APPLICATION = """
import asyncio
from typing import Annotated
from fastapi import Depends, FastAPI, Response
from sidelane import Sidelane
from sidelane.web import Jobs, Responder

lane = Sidelane()
jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")

@lane.task(timeout=60)
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)

@app.get("/light")
async def light() -> str:
    return "ok"

@app.post("/slow")
async def start(seconds: float, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
    return await respond(slow.call(seconds))
"""

SERVICE = """
environment = {{ SIDELANE_STORE = "{store}" }}

[api.api]
app = "main:app"
port = {port}
processes = 2

[worker.chat]
processes = 2
concurrency = 200
{limits}
"""

MANAGERS = ("parent of api", "parent of chat", "supervisord")
ROLES = ("worker", "API process", *MANAGERS)

SIDELANE = [sys.executable, "-P", "-m", "sidelane.cli"]

TIMEOUT = 60.0


class Service:
    """A service in its own folder."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.store = store
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        folder.joinpath("main.py").write_text(APPLICATION, "utf-8")
        self.describe()

    def describe(self, limits: str = "") -> None:
        text = SERVICE.format(store=self.store, port=self.port, limits=limits)
        self.folder.joinpath("sidelane.toml").write_text(text, "utf-8")

    def run(self, *arguments: str, check: bool = True) -> tuple[float, str]:
        """Run a command and return its seconds and its output."""
        began = time.monotonic()
        done = subprocess.run([*SIDELANE, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"`sidelane {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
        return time.monotonic() - began, done.stdout

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json", check=False)[1] or "{}")
        return found

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return all processes of the service by role: supervisord, the parents, and those that work."""
        roles: dict[str, list[psutil.Process]] = {role: [] for role in ROLES}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line, folder = process.cmdline(), process.cwd()
                if folder == str(self.folder / ".sidelane"):
                    roles["supervisord"].append(process)
                elif folder != str(self.folder):
                    continue
                elif "sidelane.processes.group_main" in line:
                    roles[f"parent of {line[-1]}"].append(process)
                elif "--report" in line:
                    roles["worker" if "worker" in line else "API process"].append(process)
        # a daemon is started by a process that forks it and ends
        forks = {process.ppid() for process in roles["supervisord"] if process.is_running()}
        roles["supervisord"] = [process for process in roles["supervisord"] if process.pid not in forks]
        return roles

    def leftovers(self) -> str:
        """Return the processes, the port and the files that are left after `down`, in one line."""
        left = [f"{role} {process.pid}" for role, found in self.processes().items() for process in found]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            left.append(f"port {self.port}")
        files = [
            path for path in self.folder.joinpath(".sidelane").rglob("*") if path.suffix in {".sock", ".pid", ".scale"}
        ]
        return ", ".join([*left, *map(str, files)]) or "nothing"

    async def until_healthy(self) -> float:
        began = time.monotonic()
        while (await asyncio.to_thread(lambda: self.status)).get("healthy") is not True:
            if time.monotonic() - began > TIMEOUT:
                raise SystemExit(f"not healthy within {TIMEOUT:g} s: {self.status}")
            await asyncio.sleep(0.1)
        return time.monotonic() - began


@contextmanager
def service(redis: bool) -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name).resolve()
        folder.joinpath("server").mkdir()
        store = (
            stack.enter_context(running_server(folder / "server")).url if redis else f"sqlite:///{folder / 'jobs.db'}"
        )
        made = Service(folder, store)
        try:
            yield made
        finally:
            made.run("down", "--timeout", "5", check=False)


class Load:
    """Requests to the API during a measurement: each over a new connection, as many per second as asked for."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self.jobs: list[str] = []
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(base_url=url, limits=limits, timeout=TIMEOUT, trust_env=False)
        self._running: set[asyncio.Task[None]] = set()

    async def repeat(self, rate: float, method: str, path: str) -> None:
        """Send requests until cancelled. A late request is sent at once, so that the rate holds."""
        at = time.monotonic()
        while True:
            task = asyncio.create_task(self._request(method, path))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            at += 1 / rate
            await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def _request(self, method: str, path: str) -> None:
        try:
            answer = await self._client.request(method, path)
            if answer.status_code == 202:
                self.jobs.append(answer.json()["id"])
            self.answers[str(answer.status_code)] += 1
        except httpx2.HTTPError as error:
            self.answers[type(error).__name__] += 1

    async def finish(self) -> None:
        await asyncio.gather(*self._running)
        await self._client.aclose()


@asynccontextmanager
async def load(made: Service, *, jobs: float, seconds: float, light: float) -> AsyncIterator[Load]:
    requests = Load(f"http://127.0.0.1:{made.port}")
    tasks = [
        asyncio.create_task(requests.repeat(jobs, "POST", f"/slow?seconds={seconds}")),
        asyncio.create_task(requests.repeat(light, "GET", "/light")),
    ]
    try:
        yield requests
    finally:
        for task in tasks:
            task.cancel()
        await requests.finish()


async def ended(made: Service, ids: list[str]) -> list[JobRecord]:
    """Wait until these jobs have ended, and return their records."""
    store = await open_store(made.store)
    try:
        end = time.monotonic() + TIMEOUT
        while True:
            records = [record for each in range(0, len(ids), 200) for record in await store.get(ids[each : each + 200])]
            found = [record for record in records if isinstance(record, JobRecord)]
            if all(record.state.finished for record in found) or time.monotonic() > end:
                return found
            await asyncio.sleep(0.5)
    finally:
        await store.close()


def describe(ids: list[str], records: list[JobRecord]) -> str:
    states = Counter(record.state.value for record in records)
    losses, twice = sum(record.worker_losses for record in records), sum(record.attempt > 1 for record in records)
    return (
        f"{len(ids)} jobs acknowledged, {states[State.SUCCEEDED.value]} succeeded, {len(ids) - len(records)} unknown, "
        f"{losses} worker losses, {twice} run twice"
    )


async def start(made: Service) -> None:
    versions = sorted(made.run("--version")[0] for _ in range(5))
    print(f"--version: {versions[2]:.2f} s")
    began = time.monotonic()
    up, _ = made.run("up")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{made.port}", timeout=TIMEOUT, trust_env=False) as client:
        answer = await client.post("/slow?seconds=0", headers={"Prefer": "wait=30"})
    print(f"up: {up:.2f} s; first job done {time.monotonic() - began:.2f} s after its start ({answer.status_code})")
    statuses = sorted(made.run("status")[0] for _ in range(5))
    print(f"status: {statuses[2]:.2f} s")
    print(f"down: {made.run('down')[0]:.2f} s; left: {made.leftovers()}")


async def rounds(made: Service) -> None:
    for _ in range(20):
        made.run("up")
        made.run("down")
        if (left := made.leftovers()) != "nothing":
            raise SystemExit(f"left after down: {left}")
    print("rounds: 20 times up and down left nothing")


async def kills(made: Service) -> None:
    made.run("up")
    most: Counter[str] = Counter()
    stopped = asyncio.Event()

    async def watch() -> None:
        while not stopped.is_set():
            for role, found in (await asyncio.to_thread(made.processes)).items():
                most[role] = max(most[role], len(found))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    async with load(made, jobs=20, seconds=1, light=20) as requests:
        await asyncio.sleep(5)
        for role in ROLES:
            before = made.processes()[role]
            os.kill(before[-1].pid, signal.SIGKILL)
            if role == "supervisord":
                await asyncio.sleep(2)
                await asyncio.to_thread(made.run, "up")
            print(f"kill -9 of {role} ({before[-1].pid}): healthy after {await made.until_healthy():.1f} s")
            await asyncio.sleep(5)
    stopped.set()
    await watching
    print("kills:", describe(requests.jobs, await ended(made, requests.jobs)))
    print(f"kills: answers {dict(requests.answers)}")
    print(f"kills: never more at a time than {', '.join(f'{most[role]} {role}' for role in MANAGERS)}")


async def restart(made: Service) -> None:
    for title, limits in (("restart", ""), ("--max-jobs 200", "max_jobs = 200")):
        made.describe(limits)
        made.run("up")
        async with load(made, jobs=20, seconds=5, light=50) as requests:
            end, restarts = time.monotonic() + 60, 0
            while time.monotonic() < end:
                await asyncio.sleep(10)
                if not limits:
                    await asyncio.to_thread(made.run, "restart")
                    restarts += 1
        print(f"{title}: {restarts} restarts, answers {dict(requests.answers)}")
        print(f"{title}: {describe(requests.jobs, await ended(made, requests.jobs))}")
        made.run("down")


async def idle(made: Service) -> None:
    made.run("up")
    await asyncio.sleep(10)
    found = made.processes()
    managers = [process for role in MANAGERS for process in found[role]]
    before = [sum(process.cpu_times()[:2]) for process in managers]
    await asyncio.sleep(30)
    seconds = sum(sum(process.cpu_times()[:2]) for process in managers) - sum(before)
    full = [process.memory_full_info() for process in managers]
    print(
        f"idle: {len(managers)} processes beside those that work, {sum(each.rss for each in full) / 1e6:.0f} MB resident, "
        f"{sum(each.pss for each in full) / 1e6:.0f} MB with shared pages counted once, {seconds / 30:.2%} of a core"
    )


PARTS: dict[str, Callable[[Service], Coroutine[Any, Any, None]]] = {
    "start": start, "rounds": rounds, "kills": kills, "restart": restart, "idle": idle,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--redis", action="store_true", help="on a Valkey server instead of an SQLite file")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        with service(arguments.redis) as made:
            asyncio.run(PARTS[part](made))


if __name__ == "__main__":
    main()
