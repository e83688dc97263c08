"""Tasks for child processes: these import their module, so it cannot be a test's own."""

import asyncio
import os
import time
from collections.abc import Iterator

from sidelane import Context, Fixed, Retry, Sidelane, Use

lane = Sidelane(settings={"lease": 2.0})


@lane.resource
def model() -> Iterator[str]:
    yield f"model of {os.getpid()}"


@lane.task(process=True)
def where(model: str = Use(model)) -> tuple[int, str]:
    return os.getpid(), model


@lane.task(process=True)
async def stream(ctx: Context = Use(Context)) -> str:
    await ctx.progress(50, "half")
    await ctx.emit("seen", ctx.user)
    return "done"


@lane.task(process=True, timeout=0.5, cancel_grace=0.1)
def spin() -> None:
    while True:
        pass


@lane.task(process=True, timeout=0.5, cancel_grace=0.1)
async def block(ctx: Context = Use(Context)) -> None:
    """Be deaf to everything but a signal: not even the end of the line to the worker is heard."""
    await ctx.emit("pid", os.getpid())
    await asyncio.sleep(0)  # lets it out
    time.sleep(60)  # noqa: ASYNC251 - it is meant to block


@lane.task(process=True, cancel_grace=10)
def polite(ctx: Context = Use(Context)) -> None:
    ctx.progress(1)
    while True:
        ctx.check()
        time.sleep(0.01)


@lane.task(process=True, retry=Retry(attempts=2, backoff=Fixed(0)))
def die() -> None:
    os._exit(3)


@lane.task(process=True)
def fail() -> None:
    raise ValueError("in the child")
