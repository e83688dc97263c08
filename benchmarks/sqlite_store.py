"""Throughput and latency of the SQLite store.

    python benchmarks/sqlite_store.py [--quick] [--only NAME]

The figures depend on the disk, so every run measures a synced commit of one row too.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from bare import BATCH, Bare, request, spec
from figures import per_second, percentiles, show

from sidelane.model.event import Cursor, NewEvent
from sidelane.model.job import JobSpec, Submission
from sidelane.model.outcome import AttemptResult, EventAppend, Succeeded
from sidelane.stores.contract import Store, job_topic
from sidelane.stores.factory import open_store


async def bare(folder: Path, quick: bool) -> None:
    """Throughput of the transactions alone."""
    commits = Bare(folder / "commits.db")
    commits.connection.execute("CREATE TABLE bench (n INTEGER PRIMARY KEY, at REAL)")
    synced = []
    for _ in range(200):
        began = time.perf_counter()
        with commits.transaction():
            commits.connection.execute("INSERT INTO bench (at) VALUES (1.5)")
        synced.append(time.perf_counter() - began)
    show("a synced commit of one row", percentiles(synced))
    count = 5_000 if quick else 20_000
    for users in 1, 1000:
        loop = Bare(folder / f"bare{users}.db")
        owners = "no user" if users == 1 else f"{users} users"
        rate = per_second(count, partial(loop.submit, count, users))
        show(f"submit, {BATCH} a transaction, FULL, {owners}", f"{rate:,.0f} jobs/s")
        rate = per_second(count, loop.drain)
        show(f"claim + finish, {BATCH} a transaction, FULL, {owners}", f"{rate:,.0f} jobs/s")


async def growth(folder: Path, quick: bool) -> None:
    """Claims from long and short queues, alternately, so that noise of the machine affects both."""
    few, many = 1_000, 100_000 if quick else 1_000_000
    for users in 1, 1000:
        loops = {count: Bare(folder / f"growth{users}-{count}.db", synced=False) for count in (many, few)}
        for count, loop in loops.items():
            loop.submit(count, users)
            loop.claim_only()  # warm
        times: dict[int, list[float]] = {few: [], many: []}
        for _ in range(30):
            for count, loop in loops.items():
                loop.submit(BATCH, users)  # replaces the claimed jobs
                times[count].append(1000 * loop.claim_only())
        middle = {count: statistics.median(took) for count, took in times.items()}
        owners = "no user" if users == 1 else f"{users} users"
        show(
            f"claim {BATCH} of {few:,} and of {many:,}, warm, {owners}",
            f"{middle[few]:.2f} ms, {middle[many]:.2f} ms: {middle[many] / middle[few]:.2f} x",
        )


async def lone(folder: Path, _quick: bool) -> None:
    """Single calls, and concurrent callers, through the whole store."""
    store = await open_store(f"sqlite:///{folder / 'lone.db'}")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "a lone submit": lambda: store.submit([spec(0)]),
        "a lone get": lambda: store.get(["unknown"]),
    }
    for name, call in calls.items():
        took = []
        for _ in range(500):
            began = time.perf_counter()
            await call()
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0)
        show(name, percentiles(took))
    callers = 100

    async def caller() -> None:
        for _ in range(50):
            await store.submit([spec(0)])

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    show(
        f"submit, {callers} callers at once, one job a call",
        f"{callers * 50 / (time.perf_counter() - began):,.0f} jobs/s",
    )
    await store.close()


async def notices(folder: Path, quick: bool) -> None:
    """Delay until another process sees a new event."""
    url = f"sqlite:///{folder / 'notices.db'}"
    store = await open_store(url)
    await store.submit([JobSpec(id="watched", task="noop")])
    child = await start("emit", url, "200" if quick else "1000")
    late: list[float] = []
    idle = time.process_time()
    began = time.perf_counter()
    cursor, ended = None, False
    async with store.watch(job_topic("watched")) as wakeups:
        release(child)
        while not ended:
            await wakeups.wait(5)
            reading = await store.read("watched", after=cursor)
            now = time.time()
            assert reading is not None
            for event in reading.events:
                ended = ended or event.name == "end"
                if event.name == "token":
                    late.append(now - float(json.loads(event.data)))
                cursor = Cursor(event.epoch, event.number)
    show("another process sees an event after", percentiles(late))
    busy = (time.process_time() - idle) / (time.perf_counter() - began)
    show("  of a core, to stream them", f"{100 * busy:.1f} %")
    await child.wait()
    async with store.watch(job_topic("watched")):
        idle, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(2)
        show(
            "  of a core, to watch without events",
            f"{100 * (time.process_time() - idle) / (time.perf_counter() - began):.1f} %",
        )
    await store.close()


async def writers(folder: Path, quick: bool) -> None:
    """Four processes that write as fast as possible."""
    url = f"sqlite:///{folder / 'writers.db'}"
    await (await open_store(url)).close()
    children = [await start("write", url, "3" if quick else "8") for _ in range(4)]
    for child in children:
        release(child)
    outputs = [json.loads((await child.communicate())[0]) for child in children]
    waits = [wait for each in outputs for wait in each["waits"]]
    show("four processes writing: calls each", ", ".join(f"{len(each['waits']):,}" for each in outputs))
    show("  wait of a call", f"{percentiles(waits)}, longest {1000 * max(waits):.0f} ms")


async def start(part: str, url: str, number: str) -> Any:
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--part", part, url, number, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    return child


def release(child: Any) -> None:
    child.stdin.write(b"go\n")


async def take_part(part: str, url: str, number: int) -> None:
    """Run the child process of a part."""
    store = await open_store(url)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await {"emit": emit, "write": write}[part](store, number)
    await store.close()


async def emit(store: Store, count: int) -> None:
    (claimed,) = (await store.claim(request(limit=1))).jobs
    for ordinal in range(1, count + 1):
        entries = (NewEvent("token", json.dumps(str(time.time()))),)
        await store.append([EventAppend(lease=claimed.lease, ordinal=ordinal, entries=entries)])
        await asyncio.sleep(0.007)
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Succeeded("null"), ordinal=count + 1)])


async def write(store: Store, seconds: int) -> None:
    waits = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        answers = await store.submit([spec(0) for _ in range(5)])
        waits.append(time.perf_counter() - began)
        assert all(isinstance(each, Submission) for each in answers)
    print(json.dumps({"waits": waits}))


PARTS: dict[str, Callable[[Path, bool], Coroutine[Any, Any, None]]] = {
    "bare": bare, "growth": growth, "lone": lone, "notices": notices, "writers": writers,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, under a minute")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part, url, number = arguments.part
        asyncio.run(take_part(part, url, int(number)))
        return
    show("SQLite", f"{apsw.sqlite_lib_version()}, apsw {apsw.apsw_version()}, Python {sys.version.split()[0]}")
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(part(Path(folder), arguments.quick))


if __name__ == "__main__":
    main()
