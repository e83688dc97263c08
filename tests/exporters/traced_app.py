"""A lane whose attempts end in every way, in all three modes. Child processes and workers import it."""

import asyncio
import os
import time

from sidelane import Context, Fixed, PermanentFailure, Retry, RetryLater, Sidelane, Use

lane = Sidelane(
    settings={
        "traces": "otlp",
        "lease_duration": 2.0,
        "shutdown_timeout": 10.0,
        "release": "r1",
    }
)


@lane.task
async def add(a: int, b: int, *, ctx: Context = Use(Context)) -> int:
    with ctx.tracer.span("adding", attributes={"a": a}):
        return a + b


@lane.task
def add_in_thread(a: int, b: int, *, ctx: Context = Use(Context)) -> int:
    with ctx.tracer.span("adding", attributes={"a": a}):
        return a + b


@lane.task(process=True)
def add_in_process(a: int, b: int, *, ctx: Context = Use(Context)) -> int:
    with ctx.tracer.span("adding", attributes={"a": a, "pid": os.getpid()}):
        ctx.submit(add.call(a, b)).wait()
        return a + b


@lane.task
async def delegate(*, ctx: Context = Use(Context)) -> str:
    return (await ctx.submit(add.call(1, 2))).id


@lane.task(retry=Retry(attempts=3, backoff=Fixed(0)))
async def flaky(*, ctx: Context = Use(Context)) -> int:
    if ctx.attempt < 3:
        raise ConnectionError("the model is away")
    return ctx.attempt


@lane.task
async def refuse() -> None:
    raise PermanentFailure("never")


@lane.task(retry=Retry(attempts=2, backoff=Fixed(0)))
async def later(*, ctx: Context = Use(Context)) -> None:
    if ctx.attempt == 1:
        raise RetryLater(0)


@lane.task(timeout=0.2, cancel_grace=0.1)
async def dawdle() -> None:
    await asyncio.sleep(60)


@lane.task(timeout=0.2, cancel_grace=0.1)
def overrun() -> None:
    time.sleep(0.6)


@lane.task(process=True, timeout=0.5, cancel_grace=1.0)
async def stop_in_process(*, ctx: Context = Use(Context)) -> None:
    with ctx.tracer.span("waiting"):
        await asyncio.sleep(60)


@lane.task(cancel_grace=1.0)
async def wait() -> None:
    await asyncio.sleep(60)


@lane.task(process=True, max_worker_losses=0)
def die(*, ctx: Context = Use(Context)) -> None:
    os._exit(3)
