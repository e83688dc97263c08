"""Figures of history: `python -m benchmarks.history [size] [overhead --base REVISION [--scraped]] [port] [--redis]`.

size      a million jobs over 72 simulated hours: bytes of history, and milliseconds to read a chart
overhead  jobs per second of no-op jobs, in pairs: this revision against `--base`, another revision of this repository
          with `--scraped`, an API process of this revision serves its metrics once a second meanwhile
port      the same, of this revision with the telemetry port and no listener, against this revision without the port
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import apsw
import redis

from benchmarks.server import running_server
from sidelane.admin.figures import read_history
from sidelane.model.event import NewEvent
from sidelane.model.history import HOUR
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, JobSpec
from sidelane.model.outcome import AttemptResult, Failed, Outcome, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.worker import Claimed, ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.redis.store import RedisStore
from sidelane.stores.sqlite.store import SqliteStore

JOBS, HOURS = 1_000_000, 72
BATCH = 100
QUEUES, TASKS, RELEASES, USERS = 4, 3, 3, 200
SEED = 72
READS = 20
MAX_BYTES, MAX_READ = 20 * 2**20, 0.020

ROUNDS, DRAINED = 7, 30_000
FAILURE = Failure(problem=Problem(title="It failed"), error="ValueError: it failed")


@asynccontextmanager
async def new_store(clock: ManualClock, *, on_redis: bool) -> AsyncIterator[tuple[Store, str]]:
    """Open a new store with a manual clock, and return it with its path or URL."""
    with tempfile.TemporaryDirectory() as folder:
        if not on_redis:
            path = str(Path(folder) / "jobs.db")
            store: Store = await SqliteStore.open(path, clock)
            yield store, path
            await store.close()
            return
        with running_server(Path(folder)) as server:
            store = await RedisStore.open(server.url, clock)
            yield store, server.url
            await store.close()


def outcome_of(rng: random.Random) -> Outcome:
    chance = rng.random()
    return Retried(FAILURE) if chance < 0.02 else Failed(FAILURE) if chance < 0.03 else Succeeded("null")


async def run_jobs(store: Store, clock: ManualClock, jobs: int, hours: float, retention: float = HOUR) -> None:
    """Submit, start and finish jobs at an even rate. Jobs are removed `retention` seconds after their ends, history is not."""
    rng = random.Random(SEED)
    queues = [f"queue-{number}" for number in range(QUEUES)]
    pace = hours * HOUR * BATCH / jobs
    began = clock()
    for batch in range(jobs // BATCH):
        release = f"release-{int((clock() - began) / (hours * HOUR + 1) * RELEASES)}"
        await store.submit(
            [
                JobSpec(
                    id=f"{batch}-{number}", task=f"task-{rng.randrange(TASKS)}", queue=rng.choice(queues),
                    user=f"user-{rng.randrange(USERS)}", retention=retention,
                )
                for number in range(BATCH)
            ]
        )  # fmt: skip
        clock.advance(pace * 0.4)
        claimed = await claim(store, queues, release)
        clock.advance(pace * 0.3)
        results = [
            AttemptResult(lease=each.lease, outcome=outcome_of(rng), entries=(NewEvent("token", '{"text":"x"}'),))
            for each in claimed
        ]
        for first in range(0, len(results), BATCH // 4):  # attempts take different times
            await store.finish(results[first : first + BATCH // 4])
            clock.advance(pace * 0.3 / 4)
        while (await store.sweep(lease=10.0)).more:
            pass


async def claim(store: Store, queues: Sequence[str], release: str) -> list[Claimed]:
    request = ClaimRequest(
        request=new_nonce(), worker="worker", queues=dict.fromkeys(queues, BATCH), limit=2 * BATCH, release=release
    )
    return list((await store.claim(request)).jobs)


def history_bytes(where: str, *, on_redis: bool) -> int:
    """Return the bytes of everything that history keeps."""
    if not on_redis:
        connection = apsw.Connection(where)
        names = "name LIKE 'history%' OR name LIKE 'sqlite_autoindex_history%'"
        return int(connection.execute(f"SELECT sum(pgsize) FROM dbstat WHERE {names}").get)  # noqa: S608
    client = redis.Redis.from_url(where)
    return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter("*:history*", count=1000))


async def size(*, on_redis: bool, jobs: int) -> None:
    clock = ManualClock()
    hours = HOURS * jobs / JOBS
    async with new_store(clock, on_redis=on_redis) as (store, where):
        began = time.perf_counter()
        await run_jobs(store, clock, jobs, hours)
        took = time.perf_counter() - began
        size = history_bytes(where, on_redis=on_redis)
        series = {cell.series for cell in await store.totals()}
        print(f"{jobs:,} jobs, {hours:g} h, {len(series)} series, run in {took:.0f} s")
        print(f"history: {size / 2**20:.1f} MB (bar: {MAX_BYTES / 2**20:.0f})")
        for hours_shown in (2, 24, 72):
            for queue in (None, "queue-0"):
                await report_chart(store, hours_shown, queue)


async def report_chart(store: Store, hours: int, queue: str | None) -> None:
    """Print how long it takes to read the history of some hours and to add it up by queue."""
    took = []
    cells = 0
    for _ in range(READS):
        began = time.perf_counter()
        history = await read_history(store, hours * HOUR, queue=queue)
        history.by_queue()
        took.append(time.perf_counter() - began)
        cells = len(history.cells)
    milliseconds = statistics.median(took) * 1000
    print(
        f"  {hours} h of {queue or 'all queues'}: {cells:,} cells in {milliseconds:.1f} ms (bar: {MAX_READ * 1000:.0f})"
    )


DRAIN = """
import asyncio, sys, time
from sidelane import Sidelane

url, jobs = sys.argv[1], int(sys.argv[2])
lane = Sidelane(store=url)
done = asyncio.Event()
ran = 0

@lane.task
async def noop(number: int) -> None:
    global ran
    ran += 1
    if ran == jobs:
        done.set()

async def main() -> None:
    async with lane.open():
        for first in range(0, jobs, 1000):
            await asyncio.gather(*(noop.submit(number) for number in range(first, first + 1000)))
        worker = lane.worker()
        began = time.perf_counter()
        running = asyncio.create_task(worker.run())
        await done.wait()
        worker.drain()
        await running
        print(jobs / (time.perf_counter() - began))

asyncio.run(main())
"""
"""One program for both revisions: it uses only what both have."""

WITHOUT_PORT = """
import sidelane.client.client, sidelane.worker.worker
sidelane.client.client.reporting = lambda store, telemetry: store
for name in ("started", "appended", "ended"):
    setattr(sidelane.worker.worker.AttemptTelemetry, name, lambda *arguments: None)
"""
"""Removes the telemetry port from what a program does for each call of the store and each attempt."""


SCRAPE = """
import asyncio, sys
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from sidelane import Sidelane
from sidelane.web import Jobs

lane = Sidelane(store=sys.argv[1])
app = FastAPI()
app.include_router(Jobs(lane, user=None).metrics)

async def main() -> None:
    async with lane.open(), AsyncClient(transport=ASGITransport(app), base_url="http://api") as client:
        while True:
            (await client.get("/metrics")).raise_for_status()
            print("scraped", flush=True)
            await asyncio.sleep(1)

asyncio.run(main())
"""


@contextmanager
def scraped(source: Path, url: str, *, wanted: bool) -> Iterator[None]:
    """Serve the metrics of a store once a second inside the block, if that is wanted."""
    if not wanted:
        yield
        return
    command = [sys.executable, "-c", SCRAPE, url]
    with subprocess.Popen(command, env=environment_of(source), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its start is over
        yield
        still_running = process.poll() is None
        process.kill()
    if not still_running:
        raise RuntimeError("the process that serves metrics has ended")


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """Check out a revision in a temporary folder inside the block."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, revision], check=True)  # noqa: S607 - git, as found
        try:
            yield tree / "src"
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], check=True)  # noqa: S607


def drain(source: Path, *, on_redis: bool, with_scrapes: bool = False, program: str = DRAIN) -> float:
    """Return the jobs per second of one worker with this source code, on a new store."""
    with tempfile.TemporaryDirectory() as folder:
        if not on_redis:
            return run_program(program, source, f"sqlite:///{folder}/jobs.db", with_scrapes=with_scrapes)
        with running_server(Path(folder)) as server:
            return run_program(program, source, server.url, with_scrapes=with_scrapes)


def run_program(
    program: str, source: Path, url: str, *, with_scrapes: bool = False, jobs: int = DRAINED, **environment: str
) -> float:
    command = [sys.executable, "-c", program, url, str(jobs)]
    variables = environment_of(source) | environment
    with scraped(source, url, wanted=with_scrapes):
        found = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    return float(found.stdout)


def environment_of(source: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin", "SIDELANE_LOG_LEVEL": "ERROR"}


def overhead(base: str, *, on_redis: bool, with_scrapes: bool, rounds: int) -> None:
    here = Path(__file__).parents[1] / "src"
    with checked_out(base) as before:
        compare(
            lambda: drain(here, on_redis=on_redis, with_scrapes=with_scrapes),
            lambda: drain(before, on_redis=on_redis),
            rounds=rounds, bar=0.90 if with_scrapes else 0.95,
        )  # fmt: skip


def port(*, on_redis: bool, rounds: int) -> None:
    here = Path(__file__).parents[1] / "src"
    compare(
        lambda: drain(here, on_redis=on_redis),
        lambda: drain(here, on_redis=on_redis, program=WITHOUT_PORT + DRAIN),
        rounds=rounds, bar=0.97,
    )  # fmt: skip


def compare(new: Callable[[], float], old: Callable[[], float], *, rounds: int, bar: float) -> None:
    """Measure two rates in pairs, each of them first in every other pair, and print the median of their ratios."""
    ratios = []
    for number in range(rounds):
        order = (old, new) if number % 2 else (new, old)
        rates = {measure: measure() for measure in order}
        ratios.append(rates[new] / rates[old])
        print(f"  {rates[new]:,.0f} jobs/s against {rates[old]:,.0f}: {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} (bar: {bar})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("what", nargs="+", choices=["size", "overhead", "port"])
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--base", default="HEAD")
    parser.add_argument("--scraped", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--jobs", type=int, default=JOBS)
    arguments = parser.parse_args()
    if "size" in arguments.what:
        asyncio.run(size(on_redis=arguments.redis, jobs=arguments.jobs))
    if "overhead" in arguments.what:
        overhead(arguments.base, on_redis=arguments.redis, with_scrapes=arguments.scraped, rounds=arguments.rounds)
    if "port" in arguments.what:
        port(on_redis=arguments.redis, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
