"""Cost of the dashboard: `python -m benchmarks.dashboard [size] [paint] [tabs] [--redis]`.

size  milliseconds of each page by a million finished and 100,000 queued jobs, while a page is open. Requests share findings
      and advice, which the open page has read anyway, and nothing else
paint milliseconds to the first paint of the front page in Chromium, on visits with an empty cache
tabs  jobs of 50 ms per second of one worker with 100 slots, in pairs: with ten open pages that reload what changes, and with none
"""

import argparse
import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import httpx2
from playwright.sync_api import sync_playwright

from benchmarks.history import claim, compare, environment_of, run_jobs, run_program
from benchmarks.server import free_port, running_server
from sidelane.model.durations import DAY, HOUR
from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.redis.store import RedisStore
from sidelane.stores.sqlite.store import SqliteStore

FINISHED, QUEUED, BATCH = 1_000_000, 100_000, 500
HOURS = 70.0
ROUNDS = 30
BAR = 0.200
"""Seconds within which 95 % of the requests of a page are answered."""

TABS, JOBS = 10, 10_000
SOURCE = Path(__file__).parents[1] / "src"

SERVE = """
import sys
from contextlib import asynccontextmanager
import uvicorn
from fastapi import FastAPI
from sidelane import Sidelane
from sidelane.admin import shared_reads
from sidelane.web.dashboard import Operator, Role, dashboard

if SHARES_LITTLE:
    shared_reads.STATS_FOR = shared_reads.LISTS_FOR = shared_reads.HISTORY_FOR = 0.0
lane = Sidelane(store=sys.argv[1])

@asynccontextmanager
async def lifespan(app):
    async with lane.open():
        yield

app = FastAPI(lifespan=lifespan)
app.include_router(dashboard(lane, operator=lambda: Operator("ann", Role.OPERATOR)), prefix="/ops")
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""

RUN = """
import asyncio, sys, time
from sidelane import Sidelane

lane = Sidelane(store=sys.argv[1])
jobs = int(sys.argv[2])
left = jobs
done = asyncio.Event()

@lane.task
async def work() -> None:
    global left
    await asyncio.sleep(0.05)
    left -= 1
    if not left:
        done.set()

async def main() -> None:
    async with lane.open():
        for first in range(0, jobs, 500):
            await lane.submit_many(work.call() for _ in range(min(500, jobs - first)))
        worker = lane.worker()
        began = time.perf_counter()
        running = asyncio.create_task(worker.run())
        await done.wait()
        worker.drain()
        await running
        print(jobs / (time.perf_counter() - began))

asyncio.run(main())
"""

WATCH = """
import asyncio, sys
import httpx2

PAGES = ("", "queues", "jobs", "workers", "tasks")

async def watch(client: httpx2.AsyncClient, page: str) -> None:
    async with client.stream("GET", "live") as stream:
        print("open", flush=True)
        async for line in stream.aiter_lines():
            if line.startswith("event: changed"):
                (await client.get(page)).raise_for_status()

async def main() -> None:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=sys.argv[1], timeout=None, limits=limits) as client:
        await asyncio.gather(*(watch(client, PAGES[number % len(PAGES)]) for number in range(int(sys.argv[2]))))

asyncio.run(main())
"""
"""What browsers do: each page reloads itself when it learns of a change."""


async def fill(where: str, jobs: int, queued: int) -> None:
    """Fill the store at a path or URL with jobs that ended within the last days, and with queued ones."""
    clock = ManualClock(time.time() - HOURS * HOUR)
    opened = RedisStore if where.startswith("redis://") else SqliteStore
    store: Store = await opened.open(where, clock)
    began = time.perf_counter()
    await run_jobs(store, clock, jobs, HOURS, retention=30 * DAY)
    for first in range(0, queued, BATCH):
        await store.submit([queued_job(number) for number in range(first, min(first + BATCH, queued))])
    await claim(
        store, [f"queue-{number}" for number in range(4)], "release-3"
    )  # so that jobs run, and wait for the limit
    print(f"{jobs:,} finished and {queued:,} queued jobs, made in {time.perf_counter() - began:.0f} s", flush=True)
    await store.close()


def queued_job(number: int) -> JobSpec:
    """Return a job of one of a thousand users. Every second one waits for a limit."""
    limits = (Limit(name="model", key="all", max=1, on_limit="wait"),) if number % 2 else ()
    return JobSpec(
        id=f"q{number}", task=f"task-{number % 3}", queue=f"queue-{number % 4}", user=f"user-{number % 1000}", limits=limits,
        key=f"key-{number % 500}", labels={"plan": "free" if number % 3 else "pro"}, arguments=f'{{"text":"No {number}"}}',
    )  # fmt: skip


@contextmanager
def serving(store: str, *, shares_little: bool = False) -> Iterator[str]:
    """Serve the dashboard of a store in another process inside the block, and return its URL."""
    port = free_port()
    program = f"SHARES_LITTLE = {shares_little}\n{SERVE}"
    url = f"http://127.0.0.1:{port}/ops/"
    with subprocess.Popen([sys.executable, "-c", program, store, str(port)], env=environment_of(SOURCE)) as process:
        try:
            wait_for(url, process)
            yield url
        finally:
            process.kill()


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            httpx2.get(url, timeout=60).raise_for_status()
        except httpx2.ConnectError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the process that serves the dashboard has ended")


def pages_of(client: httpx2.Client) -> list[str]:
    """Return the paths of all pages: those of the navigation, one of each kind below them, and lists of jobs with filters."""
    front = client.get("").text
    lists = [path for path in links(front) if path and "/" not in path]
    found = {"": "", **{path: path for path in lists}}
    for path in lists:
        for link in links(client.get(path).text):
            kind = re.sub(r"(^\w+/)[^?]*", r"\1…", link.partition("?")[0])
            if "/" in link and not link.startswith("static/"):
                found.setdefault(kind, link)
    filters = (
        "state=succeeded", "state=queued", "state=failed", "task=task-1", "queue=queue-2", "user=user-7", "key=key-3",
        "label=plan%3Dpro", "release=release-1", "text=No+99", "queue=queue-1&state=queued&user=user-9",
    )  # fmt: skip
    return [*found.values(), "jobs/q1", *(f"jobs?{each}" for each in filters)]


def links(page: str) -> list[str]:
    """Return the relative paths that a page links to."""
    found = [unescape(each).removeprefix("./") for each in re.findall(r'href="(?:\.\./)*([^":#]*)"', page)]
    return list(dict.fromkeys(found))


def measure_pages(url: str, rounds: int) -> None:
    """Print the milliseconds of each page."""
    with httpx2.Client(base_url=url, timeout=60) as client:
        pages = pages_of(client)
        seconds: dict[str, list[float]] = {page: [] for page in pages}
        for _ in range(rounds):
            for page in pages:
                began = time.perf_counter()
                client.get(page).raise_for_status()
                seconds[page].append(time.perf_counter() - began)
    slowest = 0.0
    for page, found in sorted(seconds.items(), key=lambda each: -percentile(each[1])):
        slowest = max(slowest, percentile(found))
        print(f"  p95 {percentile(found) * 1000:5.0f} ms, median {statistics.median(found) * 1000:5.0f} ms  /{page}")
    print(f"slowest p95 of {len(pages)} pages: {slowest * 1000:.0f} ms (bar: {BAR * 1000:.0f})")


def percentile(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]


def paint(url: str, visits: int) -> None:
    """Print the milliseconds to the first paint on first visits."""
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(visits + 1):
            with browser.new_context() as context:  # its cache is empty
                page = context.new_page()
                page.goto(url)
                page.locator("canvas").first.wait_for()
                found.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        browser.close()
    del found[0]  # the browser itself was cold
    print(
        f"first paint: median {statistics.median(found):.0f} ms of {visits} visits, longest {max(found):.0f} (bar: 300)"
    )


@contextmanager
def watched(url: str, tabs: int) -> Iterator[None]:
    """Keep pages open inside the block."""
    if not tabs:
        yield
        return
    command = [sys.executable, "-c", WATCH, url, str(tabs)]
    with subprocess.Popen(command, env=environment_of(SOURCE), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(tabs):
            process.stdout.readline()
        yield
        still_running = process.poll() is None
        process.kill()
    if not still_running:
        raise RuntimeError("the process that keeps pages open has ended")


def rate(tabs: int, *, on_redis: bool) -> float:
    """Return the jobs per second while some pages of the dashboard are open."""
    with (
        tempfile.TemporaryDirectory() as folder, store_url(folder, on_redis=on_redis) as store, serving(store) as url,
        watched(url, tabs),
    ):  # fmt: skip
        return run_program(RUN, SOURCE, store, jobs=JOBS)


@contextmanager
def store_url(folder: str, *, on_redis: bool) -> Iterator[str]:
    if not on_redis:
        yield f"sqlite:///{folder}/jobs.db"
        return
    with running_server(Path(folder)) as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("what", nargs="+", choices=["size", "paint", "tabs"])
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--finished", type=int, default=FINISHED)
    parser.add_argument("--queued", type=int, default=QUEUED)
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args()
    if "size" in arguments.what:
        with tempfile.TemporaryDirectory() as folder, store_url(folder, on_redis=arguments.redis) as url:
            asyncio.run(fill(url.removeprefix("sqlite:///"), arguments.finished, arguments.queued))
            with serving(url, shares_little=True) as pages, watched(pages, 1):
                measure_pages(pages, arguments.rounds or ROUNDS)
    if "paint" in arguments.what:
        with tempfile.TemporaryDirectory() as folder, store_url(folder, on_redis=arguments.redis) as url:
            asyncio.run(fill(url.removeprefix("sqlite:///"), 20_000, 1_000))
            with serving(url) as pages:
                paint(pages, arguments.rounds or ROUNDS)
    if "tabs" in arguments.what:
        compare(
            lambda: rate(TABS, on_redis=arguments.redis), lambda: rate(0, on_redis=arguments.redis),
            rounds=arguments.rounds or 7, bar=0.95,
        )  # fmt: skip


if __name__ == "__main__":
    main()
