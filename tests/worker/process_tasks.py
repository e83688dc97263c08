"""Tasks for child processes, which import this module, so it cannot be a test module."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator

from sidelane import Context, FinishedJob, Fixed, JobConflict, Retry, Sidelane, Use

lane = Sidelane(settings={"lease_duration": 2.0})


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


@lane.task(process=True, keep_logs=True)
def log_and_emit(ctx: Context = Use(Context)) -> None:
    logging.getLogger("shop").warning("in a child", extra={"size": 3})
    ctx.emit("step", 1)
    try:
        raise ValueError("no picture")
    except ValueError:
        logging.getLogger("shop").exception("it failed")


left_behind: list[tuple[asyncio.Event, asyncio.Task[None]]] = []


@lane.task(process=True, keep_logs=True)
async def leave_behind(ctx: Context = Use(Context)) -> None:
    """Start an asyncio task that speaks when another job lets it."""
    go = asyncio.Event()

    async def speak() -> None:
        await go.wait()
        logging.getLogger("shop").warning("late")
        await ctx.emit("late", 1)
        ctx.report_usage(input_tokens=7)
        await ctx.submit(double.call(1))

    left_behind.append((go, asyncio.create_task(speak())))


@lane.task(process=True, keep_logs=True)
async def find_left_behind() -> str:
    logging.getLogger("shop").warning("on time")
    go, task = left_behind.pop()
    go.set()
    await asyncio.wait([task])
    return repr(task.exception())


@lane.task(process=True, timeout=0.5, cancel_grace=0.1)
def spin() -> None:
    while True:
        pass


@lane.task(process=True, timeout=0.5, cancel_grace=0.1)
async def block(ctx: Context = Use(Context)) -> None:
    """Ignore everything but a signal, even the end of the socket to the worker."""
    await ctx.emit("pid", os.getpid())
    await asyncio.sleep(0)  # lets it out
    time.sleep(60)  # noqa: ASYNC251 - it is meant to block


@lane.task(process=True, cancel_grace=10)
def polite(ctx: Context = Use(Context)) -> None:
    ctx.progress(1)
    while True:
        ctx.check()
        time.sleep(0.01)


@lane.task(process=True, max_worker_losses=1, retry=Retry(attempts=9, backoff=Fixed(0)))
def die() -> None:
    os._exit(3)


@lane.task(process=True)
def fail() -> None:
    raise ValueError("in the child")


@lane.task
async def double(number: int) -> int:
    return 2 * number


@lane.task(process=True)
async def submitting(number: int, ctx: Context = Use(Context)) -> list[str]:
    jobs = await asyncio.gather(*(ctx.submit(double.options(id=f"double-{n}").call(n)) for n in range(number)))
    return [job.id for job in jobs]


@lane.task(process=True)
def submitting_from_a_thread(ctx: Context = Use(Context)) -> tuple[str, bool]:
    call = double.options(user="u2").call(4)
    return ctx.submit(call, cancel="cascade").wait(10).id, ctx.submit(double.options(id="d").call(1)).wait(10).created


@lane.task(process=True)
def tell_previous(number: int, what: FinishedJob | None = None) -> tuple[int, str]:
    return number, what.error if what else ""


@lane.task(process=True)
async def following(ctx: Context = Use(Context)) -> int:
    return await (await ctx.submit(double.call(4))).result()


@lane.task(process=True)
async def conflicting(ctx: Context = Use(Context)) -> str:
    try:
        await ctx.submit(double.options(id="taken", user="u2").call(1))
    except JobConflict as error:
        return str(error)
    return ""
