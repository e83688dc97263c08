"""Shared by all contestants: a command line that prints one line of JSON.

    arq_peer.py about                    versions and configuration
    arq_peer.py worker SLOTS             run the peer's own worker
    arq_peer.py submit TASK N HOW[,HOW] [TEXT] [WARM]   HOW: one, batched, callers; check reads the ids from a file
    arq_peer.py check SECONDS            wait for all results by the peer's API, and compare them
    arq_peer.py starts N                 submit one at a time to an idle worker

BENCH_FOLDER is the folder of a run, BENCH_URL its store. Every start of a job appends one record to a file in the folder, from any
process or thread, so counting costs the same for every contestant.
"""

import asyncio
import inspect
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

MISSING = object()
"""The result of a job that has none yet."""

BATCH = 100
"""Jobs per call, if a peer has a call for many."""

CALLERS = 100
"""Concurrent callers in one process."""

THREADS = 40
"""Threads for the callers of a peer without asyncio: as many as FastAPI has for its endpoints."""

PAUSE = 1.0
"""Seconds that the task `pause` waits."""

START, END = 0, 1
RECORD = struct.Struct("<iiq")

URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
SLOTS = int(os.environ.get("BENCH_SLOTS", "100"))

try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop


@dataclass(frozen=True, kw_only=True)
class About:
    """The setup of a contestant, which readers need to judge its figures."""

    packages: Sequence[str]
    configuration: str
    source: str  # its documentation of this setup
    batch: str  # how it submits many jobs
    recovery: str  # what its docs or code promise after the loss of a worker
    durability: str = ""


@cache
def marks_file() -> int:
    """Open the file of records. Appends of several processes do not interleave."""
    return os.open(FOLDER / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def mark(number: int, kind: int = START) -> None:
    """Record that a job has started, or ended."""
    os.write(marks_file(), RECORD.pack(number, kind, time.monotonic_ns()))


def marks() -> list[tuple[int, int, int]]:
    """Read all records: number, kind, nanoseconds."""
    path = FOLDER / "marks"
    return list(RECORD.iter_unpack(path.read_bytes())) if path.exists() else []


def count() -> int:
    """Count the records."""
    path = FOLDER / "marks"
    return path.stat().st_size // RECORD.size if path.exists() else 0


async def noop(number: int, text: str) -> int:
    """Do nothing but count."""
    mark(number)
    return number


async def pause(number: int, text: str) -> int:
    """Wait, as for the answer of another service."""
    mark(number)
    await asyncio.sleep(PAUSE)
    mark(number, END)
    return number


async def hold(number: int, text: str) -> int:
    """Hang in the first attempt, until the worker is killed; return at once in the next."""
    again = any(number == each for each, _, _ in marks())
    mark(number)
    if not again:
        await asyncio.sleep(600)
    return number


def noop_sync(number: int, text: str) -> int:
    mark(number)
    return number


def pause_sync(number: int, text: str) -> int:
    mark(number)
    time.sleep(PAUSE)
    mark(number, END)
    return number


def hold_sync(number: int, text: str) -> int:
    again = any(number == each for each, _, _ in marks())
    mark(number)
    if not again:
        time.sleep(600)
    return number


class Peer:
    """A contestant. Methods may be plain functions or coroutine functions; a plain one is called from threads by `callers`."""

    about: About

    def worker(self, slots: int) -> list[str]:
        """Return the Python arguments that run one process of the peer's worker."""
        raise NotImplementedError

    def open(self) -> Any: ...

    def close(self) -> Any: ...

    def submit(self, task: str, number: int, text: str) -> Any:
        """Submit one job and return its id."""
        raise NotImplementedError

    def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> Any:
        """Submit many jobs in the peer's fastest way and return their ids."""
        raise NotImplementedError

    def results(self, ids: Sequence[str]) -> Any:
        """Return the results of jobs; MISSING for a job without one."""
        raise NotImplementedError


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    answer = function(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


async def submit_one(peer: Peer, task: str, jobs: int, text: str) -> tuple[list[str], dict[str, float]]:
    ids, took = [], []
    for number in range(jobs):
        began = time.perf_counter()
        ids.append(await call(peer.submit, task, number, text))
        took.append(time.perf_counter() - began)
    took.sort()
    return ids, {"p50": took[jobs // 2], "p99": took[int(jobs * 0.99)]}


async def submit_batched(peer: Peer, task: str, jobs: int, text: str) -> tuple[list[str], dict[str, float]]:
    ids: list[str] = []
    for first in range(0, jobs, BATCH):
        ids += await call(peer.submit_batch, task, range(first, min(first + BATCH, jobs)), text)
    return ids, {}


async def submit_from_callers(peer: Peer, task: str, jobs: int, text: str) -> tuple[list[str], dict[str, float]]:
    """Submit from concurrent callers, each waiting for its own call: coroutines, or threads for a peer without asyncio."""
    ids: list[str] = []
    numbers = iter(range(jobs))
    submit: Callable[[int], Awaitable[str]]
    if inspect.iscoroutinefunction(peer.submit):
        submit = lambda number: peer.submit(task, number, text)  # noqa: E731
    else:
        pool, loop = ThreadPoolExecutor(THREADS), asyncio.get_running_loop()
        submit = lambda number: loop.run_in_executor(pool, peer.submit, task, number, text)  # noqa: E731

    async def caller() -> None:
        ids.extend([await submit(number) for number in numbers])

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return ids, {}


HOW = {"one": submit_one, "batched": submit_batched, "callers": submit_from_callers}


async def submit(peer: Peer, task: str, jobs: str, hows: str, text: str = "", warm: str = "0") -> dict[str, Any]:
    """Submit `jobs` jobs in each of the ways `hows`, after `warm` jobs that are not timed."""
    await call(peer.submit_batch, task, [], text)  # opens the connection
    answer: dict[str, Any] = {}
    ids: list[str] = []
    for how in hows.split(","):
        if int(warm):
            await HOW[how](peer, task, int(warm), text)
        began = time.perf_counter()
        more, figures = await HOW[how](peer, task, int(jobs), text)
        answer[how] = {"seconds": time.perf_counter() - began, **figures}
        ids += more
    (FOLDER / "ids").write_text(json.dumps(ids))
    return answer


async def check(peer: Peer, seconds: str) -> dict[str, Any]:
    """Wait until every job has its result, and check that each number occurs exactly once."""
    ids: list[str] = json.loads((FOLDER / "ids").read_text())
    until = time.monotonic() + float(seconds)
    found: list[Any] = []
    left = ids
    while left and time.monotonic() < until:
        answers: list[Any] = []
        for first in range(0, len(left), 500):
            answers += await call(peer.results, left[first : first + 500])
        found += [each for each in answers if each is not MISSING]
        left = [each for each, answer in zip(left, answers, strict=True) if answer is MISSING]
        if left:
            await asyncio.sleep(0.05)
    return {"missing": len(left), "right": sorted(found, key=str) == sorted(range(len(ids)), key=str)}


async def starts(peer: Peer, jobs: str) -> dict[str, Any]:
    """Measure the time from a submit to the start of the job in an idle worker."""
    waits = []
    for number in range(-1, int(jobs)):
        before = count()
        began = time.monotonic_ns()
        await call(peer.submit, "noop", number, "")
        until = time.monotonic() + 30
        while count() == before and time.monotonic() < until:  # noqa: ASYNC110 - it starts in another process
            await asyncio.sleep(0.002)
        waits.append((marks()[-1][2] - began) / 1e6)
        await asyncio.sleep(0.02)
    return {"waits": waits[1:]}  # the first opened the connections


VERBS = {"submit": submit, "check": check, "starts": starts}


async def take_part(peer: Peer, verb: str, *arguments: str) -> dict[str, Any]:
    await call(peer.open)
    try:
        return await VERBS[verb](peer, *arguments)
    finally:
        await call(peer.close)


def main(peer: Peer) -> None:
    """Run the command of the arguments."""
    verb, *arguments = sys.argv[1:]
    about = {**asdict(peer.about), "versions": {package: version(package) for package in peer.about.packages}}
    if verb == "about":
        print(json.dumps({"about": about}))
        return
    if verb == "worker":
        command = [sys.executable, *peer.worker(int(arguments[0]))]
        os.execv(sys.executable, command)  # noqa: S606 - the worker replaces this process
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        print(json.dumps({"about": about, **runner.run(take_part(peer, verb, *arguments))}))
