"""Lane of the processes in these tests: small tasks that write notes, outside the store, of what they do."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sidelane import Context, Exponential, FinishedBatch, Result, Retry, Sidelane, Use

FOLDER = Path(os.environ.get("SHOP_FOLDER", "."))
WORKER = os.environ.get("SHOP_WORKER", "")

NOTES = "notes.jsonl"

lane = Sidelane()


def machine_time() -> float:
    """Return the time in seconds, by a clock that all processes of a machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def note(what: str, **fields: Any) -> None:
    """Append a line to the notes, in one write, so that many processes can."""
    line = json.dumps({"what": what, "worker": WORKER, "pid": os.getpid(), "at": machine_time(), **fields}) + "\n"
    file = os.open(FOLDER / NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


async def opened(gate: str) -> None:
    """Wait until the test opens a gate: a file of that name."""
    while not (FOLDER / gate).exists():
        await asyncio.sleep(0.01)


def gate_of(worker: str) -> str:
    """Return the gate at which `hold` waits in that worker."""
    return f"gate-{worker}"


@lane.task
async def add(a: int, b: int) -> int:
    """Add two numbers, which takes no time."""
    return a + b


@lane.task
async def tally(end: FinishedBatch, *, ctx: Context = Use(Context)) -> int:
    """Note how a batch has ended."""
    note("tally", job=ctx.job_id, attempt=ctx.attempt, total=end.total, succeeded=end.succeeded)
    return end.total


@lane.task
async def work(seconds: float, number: int, *, ctx: Context = Use(Context)) -> int:
    """Do something that takes a while."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    await asyncio.sleep(seconds)
    return square(number)


@lane.task(
    max_worker_losses=10
)  # it runs where workers are killed at random, more often than a job's usual budget allows
async def deliver(seconds: float, number: int, *, ctx: Context = Use(Context)) -> int:
    """Take effect half-way, so that a worker may die between the effect and its report."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    await asyncio.sleep(seconds / 2)
    note("effect", job=ctx.job_id, attempt=ctx.attempt, value=square(number))
    await asyncio.sleep(seconds / 2)
    return square(number)


def square(number: int) -> int:
    """Return the result of `work` and `deliver` for a number."""
    return number * number


@lane.task(max_worker_losses=10)  # as above
async def tell(words: int, pace: float, *, ctx: Context = Use(Context)) -> AsyncIterator[str]:
    """Stream a story word by word."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    for number in range(words):
        yield f"{number} "
        await asyncio.sleep(pace)


PIECE = 20_000
"""Bytes of each token of `pour`."""


@lane.task(max_log_size=64 * 2**20)
async def pour(pieces: int, drops: int) -> AsyncIterator[str | Result[int]]:
    """Stream large tokens as fast as possible after one gate, then the time every now and then after another."""
    await opened(gate_of("pour"))
    for number in range(pieces):
        yield f"{number} ".ljust(PIECE, ".")
    await opened(gate_of("drops"))
    for _ in range(drops):
        await asyncio.sleep(0.05)
        yield str(machine_time())
    yield Result(pieces)


@lane.task(cancel_grace=0.5)
async def hold(*, ctx: Context = Use(Context)) -> AsyncIterator[str | Result[str]]:
    """Yield a word, wait at this worker's gate, yield another, and return the worker's name."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    try:
        yield "before "
        await opened(gate_of(WORKER))
    except (asyncio.CancelledError, GeneratorExit):
        note("stopped", job=ctx.job_id, attempt=ctx.attempt)
        raise
    yield "after "
    yield Result(WORKER)


@lane.task(retry=Retry(attempts=5, backoff=Exponential(first=0.1)))
async def die(*, ctx: Context = Use(Context)) -> None:
    """Kill the process it runs in."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    os.kill(os.getpid(), signal.SIGKILL)


@lane.task
async def block(seconds: float, *, ctx: Context = Use(Context)) -> int:
    """Block the worker's event loop in the first attempt."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    if ctx.attempt == 1:
        time.sleep(seconds)  # noqa: ASYNC251 - the mistake this task is about
    return ctx.attempt


@lane.task(process=True, timeout=3.0, cancel_grace=0.2)  # the child's own start counts
def grind(*, ctx: Context = Use(Context)) -> None:
    """Keep a child process busy beyond its timeout, without ever stopping."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    while True:
        pass


@lane.task(process=True)
def exit_child(status: int, *, ctx: Context = Use(Context)) -> None:
    """Leave the child process with an exit status, or by SIGKILL (status -9)."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    if status == -signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(status)


@lane.task(process=True)
def crunch(a: int, b: int) -> int:
    """Do something harmless in a child process."""
    return a + b


@lane.task(process=True, timeout=60.0)
def linger(seconds: float, *, ctx: Context = Use(Context)) -> int:
    """Stay in a child process, in the first attempt."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    if ctx.attempt == 1:
        time.sleep(seconds)
    return ctx.attempt
