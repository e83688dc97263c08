"""Lane with tasks that end in every way."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

from sidelane import (
    ConcurrencyLimit,
    Context,
    Fixed,
    Http,
    PermanentFailure,
    Queue,
    Retry,
    RetryLater,
    Sidelane,
    Use,
)

lane = Sidelane(
    queues=[Queue("default"), Queue("failing")],
    settings={"jobs_url": "http://127.0.0.1:9/jobs", "allow_private_callbacks": True},
)

SECOND_TIME = Retry(attempts=3, backoff=Fixed(0.01))


@lane.task(max_worker_losses=20)
async def succeed(number: int) -> int:
    return number


@lane.task(queue="failing", max_worker_losses=20)
async def fail(number: int) -> None:
    raise PermanentFailure(f"number {number}")


@lane.task(queue="failing", retry=SECOND_TIME, max_worker_losses=20)
async def fail_first(number: int, *, ctx: Context = Use(Context)) -> None:
    """Fail in the first attempt."""
    if ctx.attempt == 1:
        raise ValueError(number)


@lane.task(max_worker_losses=20)
async def ask_later(number: int, *, ctx: Context = Use(Context)) -> None:
    """Ask for another attempt in the first one."""
    if ctx.attempt == 1:
        raise RetryLater(0.01)


@lane.task(max_worker_losses=20)
async def stream(words: int) -> AsyncIterator[str]:
    for number in range(words):
        yield f"{number} "
        await asyncio.sleep(0.01)


@lane.task(timeout=60, max_worker_losses=20)
async def run_until_cancelled() -> None:
    await asyncio.sleep(60)


@lane.task(expires=0.05, max_worker_losses=20)
async def start_in_time() -> None:
    """Start within 50 ms, or fail."""


@lane.task(limits=[ConcurrencyLimit(1, per="user", on_limit="replace")], max_worker_losses=20)
async def replace_older() -> None:
    await asyncio.sleep(0.02)


@lane.task(limits=[ConcurrencyLimit(2, per="user", on_limit="wait")], max_worker_losses=20)
async def wait_for_limit() -> None:
    await asyncio.sleep(0.005)


@lane.task(limits=[ConcurrencyLimit(1, per="user", on_limit="reject")], max_worker_losses=20)
async def reject_second() -> None:
    await asyncio.sleep(0.05)


@lane.task(process=True, max_worker_losses=1)
def kill_child() -> None:
    """Kill the child process that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)


outside = lane.external_task("outside", input=int, result=int, send_to=Http("http://127.0.0.1:9/jobs"), timeout=60)
