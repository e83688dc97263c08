"""Advice that is followed: `python -m benchmarks.advice [io] [cpu] [stream] [--seconds 25]`.

Each load runs on a first guess. Then `sidelane advise --json` says what to change, the service restarts with it on a new store,
and the same load runs again. Bars: the median wait is under the target, the CPU of workers at most 80 %, and at least 30 % for
`cpu`. `sidelane advise --plan` with the measured figures agrees within one process.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from sidelane.admin.process_loads import Service, read_lines, services_of
from sidelane.model.job import JobRecord, Query, State
from sidelane.stores.factory import open_store

SIDELANE = [sys.executable, "-P", "-m", "sidelane.cli"]

TARGET_WAIT = 1.0
"""Target wait of the queue in seconds."""

MAX_CPU, MIN_CPU = 0.8, 0.3

APPLICATION = f"""
import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated
from fastapi import Depends, FastAPI, Response
from sidelane import Queue, Sidelane
from sidelane.web import Jobs, RequestMetrics, Responder

lane = Sidelane(queues=[Queue("load", target_wait={TARGET_WAIT})])
jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.add_middleware(RequestMetrics)
app.include_router(jobs.router, prefix="/jobs")
Respond = Annotated[Responder, Depends(jobs.respond)]

@lane.task(queue="load", timeout=60)
async def io(seconds: float) -> None:
    await asyncio.sleep(seconds)

@lane.task(queue="load", timeout=60)
def cpu(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

@lane.task(queue="load", timeout=60)
async def stream(seconds: float) -> AsyncIterator[str]:
    for number in range(int(seconds * 20)):
        await asyncio.sleep(0.05)
        yield f"token {{number}} "

TASKS = {{"io": io, "cpu": cpu, "stream": stream}}

@app.post("/start/{{kind}}")
async def start(kind: str, seconds: float, respond: Respond) -> Response:
    return await respond(TASKS[kind].call(seconds))
"""


@dataclass(frozen=True)
class Numbers:
    """What the groups of the service have."""

    api: int
    processes: int
    concurrency: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.concurrency} slots"


@dataclass(frozen=True)
class Load:
    """Jobs that arrive at random, at a mean rate per second. `seconds` is how long each sleeps, computes or streams."""

    kind: str
    rate: float
    seconds: float
    guess: Numbers


LOADS = {
    load.kind: load
    for load in (
        Load("io", 20.0, 2.0, Numbers(1, 1, 20)),
        Load("cpu", 6.0, 0.15, Numbers(1, 1, 100)),
        Load("stream", 4.0, 5.0, Numbers(1, 1, 10)),
    )
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run showed. CPU is the share of a core of one worker process, and CPU seconds per job."""

    jobs: int
    median_wait: float
    run_time: float
    cpu: float
    cpu_per_job: float
    memory: int
    answers: Counter[str]

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs, median wait {self.median_wait:.2f} s, run time {self.run_time:.2f} s, CPU of a worker "
            f"{self.cpu:.0%}, {self.cpu_per_job * 1000:.1f} ms a job, answers {dict(self.answers)}"
        )


class Project:
    """The service in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder / 'jobs.db'}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        folder.joinpath("main.py").write_text(APPLICATION, "utf-8")

    def describe(self, numbers: Numbers) -> None:
        """Write the description, and begin with an empty store."""
        for file in self.folder.glob("jobs.db*"):
            file.unlink()
        self.folder.joinpath("sidelane.toml").write_text(
            f'environment = {{ SIDELANE_STORE = "{self.store}" }}\n'
            f'[api.web]\napp = "main:app"\nport = {self.port}\nprocesses = {numbers.api}\n'
            f'[worker.load]\nlane = "main:lane"\nqueues = ["load"]\nprocesses = {numbers.processes}\n'
            f"concurrency = {numbers.concurrency}\n",
            "utf-8",
        )

    def run(self, *arguments: str) -> str:
        """Run a command and return its output."""
        environment = {**os.environ, "SIDELANE_STORE": self.store}
        done = subprocess.run(
            [*SIDELANE, *arguments], cwd=self.folder, capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            raise SystemExit(f"`sidelane {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout


async def run_load(project: Project, load: Load, numbers: Numbers, seconds: float) -> Measured:
    """Start the service, send the load for a while, stop the service, and return what it measured itself."""
    project.describe(numbers)
    project.run("up")
    try:
        answers = await _send(f"http://127.0.0.1:{project.port}", load, seconds)
    finally:
        project.run("down")
    records, workers = await _read(project.store)
    last = max(record.ended or record.submitted for record in records)  # until then wait those that have not started
    waits = [(record.started or last) - record.submitted for record in records]
    runs = [record.ended - record.started for record in records if record.started and record.ended]
    jobs = sum(line.load.jobs for line in workers.lines)
    cpu = sum(line.load.cpu * line.load.seconds for line in workers.lines)
    return Measured(
        jobs=len(records), median_wait=statistics.median(waits), run_time=statistics.mean(runs),
        cpu=max(window.cpu for window in workers.windows), cpu_per_job=cpu / jobs, memory=workers.memory, answers=answers,
    )  # fmt: skip


async def _send(url: str, load: Load, seconds: float) -> Counter[str]:
    """Send requests at random times, and follow the streams. What is still open at the end is given up."""
    answers: Counter[str] = Counter()
    chance, running = random.Random(7), set[asyncio.Task[None]]()
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:

        async def request() -> None:
            answer = await client.post(f"/start/{load.kind}", params={"seconds": load.seconds})
            answers[str(answer.status_code)] += 1
            if load.kind == "stream":
                events = answer.json()["links"]["events"]
                async with client.stream("GET", events, headers={"Accept": "text/event-stream"}) as response:
                    async for _ in response.aiter_bytes():
                        pass

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(chance.expovariate(load.rate))
            task = asyncio.create_task(request())
            running.add(task)
            task.add_done_callback(running.discard)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return answers


async def _read(url: str) -> tuple[list[JobRecord], Service]:
    store = await open_store(url)
    try:
        records: list[JobRecord] = []
        query = Query(states=frozenset(State), limit=200)
        while page := await store.list_jobs(query):
            records += page
            query = replace(query, before=page[-1].sequence)
        services = services_of(await read_lines(store, 0.0), [])
        return records, next(each for each in services if each.name == "load")
    finally:
        await store.close()


def followed(advice: dict[str, Any]) -> Numbers:
    """Return the numbers that advice recommends."""
    by_name = {each["name"]: each for each in advice["services"]}
    api, workers = by_name["api"], by_name["load"]
    return Numbers(api["processes"], workers["processes"], workers["slots"])


def planned(project: Project, load: Load, measured: Measured) -> dict[str, int]:
    """Return the processes of the plan with the measured figures, by kind of service."""
    options = ["--rate", str(load.rate), "--seconds", str(measured.run_time), "--cpu", str(measured.cpu_per_job)]
    options += ["--stream"] if load.kind == "stream" else []
    document = json.loads(project.run("advise", "--plan", *options, "--json"))
    return {each["kind"]: each["processes"] for each in document["services"]}


def follow(load: Load, seconds: float) -> bool:
    """Run a load, follow the advice, run it again, and print a row for docs/sizing.md. Return whether the bars are met."""
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name).resolve())
        first = asyncio.run(run_load(project, load, load.guess, seconds))
        print(f"{load.kind}, first guess {load.guess}: {first}")
        print(project.run("advise"))
        numbers = followed(json.loads(project.run("advise", "--json")))
        second = asyncio.run(run_load(project, load, numbers, seconds))
        print(f"{load.kind}, as advised {numbers}: {second}")
        plan = planned(project, load, second)
        bars = {
            f"median wait {second.median_wait:.2f} s <= {TARGET_WAIT:g} s": second.median_wait <= TARGET_WAIT,
            f"CPU {second.cpu:.0%} <= {MAX_CPU:.0%}": second.cpu <= MAX_CPU,
            f"plan {plan} within one process": abs(plan["worker"] - numbers.processes) <= 1
            and abs(plan["api"] - numbers.api) <= 1,
        }
        if load.kind == "cpu":
            bars[f"CPU {second.cpu:.0%} >= {MIN_CPU:.0%}"] = second.cpu >= MIN_CPU
        print(
            f"| {load.kind}: {load.rate:g} jobs/s of {load.seconds:g} s | {load.guess} | {first.median_wait:.2f} s | {numbers} "
            f"| {second.median_wait:.2f} s | {second.cpu * 100:.0f} % | API {plan['api']}, workers {plan['worker']} |"
        )
        for text, met in bars.items():
            print(f"  {'met' if met else 'MISSED'}: {text}")
        return all(bars.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", choices=[*LOADS, []], metavar="LOAD")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long each load runs, twice")
    arguments = parser.parse_args()
    met = [follow(LOADS[name], arguments.seconds) for name in arguments.loads or LOADS]
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
