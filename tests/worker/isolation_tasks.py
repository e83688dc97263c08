"""Tasks for isolation workers, which import this module in separate processes."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator

from sidelane import Context, File, Queue, Retry, Sidelane, Use

lane = Sidelane(queues=[Queue("other")], settings={"lease_duration": 1.0, "concurrency": 4, "cancel_grace": 0.2})


@lane.resource
def model() -> Iterator[str]:
    yield f"model of {os.getpid()}"


@lane.resource(exclusive=True)
def gpu() -> str:
    return "the only one"


@lane.resource
def uses_gpu(gpu: str = Use(gpu)) -> str:
    return gpu


@lane.resource
def broken() -> str:
    raise OSError("not here")


@lane.task
async def where() -> int:
    return os.getpid()


@lane.task
def where_in_a_thread() -> int:
    return os.getpid()


@lane.task(process=True)
def where_in_a_child() -> tuple[int, int]:
    return os.getpid(), os.getppid()


@lane.task
async def with_model(*, name: str = Use(model)) -> tuple[int, str]:
    return os.getpid(), name


@lane.task
async def on_gpu(*, name: str = Use(uses_gpu)) -> int:
    return os.getpid()


@lane.task
async def with_broken(*, name: str = Use(broken)) -> str:
    return name


@lane.task
async def submits(ctx: Context = Use(Context)) -> tuple[int, int]:
    job = await ctx.submit(where.call())
    return os.getpid(), await job.result(20)


@lane.task
async def reads(file: File) -> tuple[int, str]:
    return os.getpid(), (await file.read()).decode()


@lane.task
async def tells(words: int) -> AsyncIterator[str]:
    for number in range(words):
        yield f"{number} "


@lane.task(retry=Retry(attempts=3))
async def fails_once(ctx: Context = Use(Context)) -> tuple[int, int]:
    if ctx.attempt < 4:
        raise ValueError("once more")
    return os.getpid(), ctx.attempt


@lane.task(timeout=0.3, cancel_grace=0.1)
def hangs() -> None:
    threading.Event().wait(60)


@lane.task(timeout=60, cancel_grace=0.1)
def hangs_until_stopped(ctx: Context = Use(Context)) -> None:
    ctx.progress(1)
    time.sleep(60)


@lane.task
async def waits(seconds: float, ctx: Context = Use(Context)) -> int:
    await ctx.emit("pid", os.getpid())
    await asyncio.sleep(seconds)
    return os.getpid()


@lane.task(max_worker_losses=3)
async def dies() -> None:
    os._exit(9)
