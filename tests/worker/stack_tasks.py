"""Tasks that wait in known places, for tests of stacks. Child processes import this module too."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator

from sidelane import Context, Sidelane, Use

lane = Sidelane(settings={"lease_duration": 2.0})

ARRIVED = "arrived"
"""The event that a task emits, with its process, before it waits."""


async def first_call() -> None:
    await second_call()


async def second_call() -> None:
    await asyncio.Event().wait()


async def source() -> AsyncIterator[str]:
    yield "a"
    await asyncio.Event().wait()


@lane.task
async def nested(secret: str, ctx: Context = Use(Context)) -> str:
    await ctx.emit(ARRIVED, os.getpid())
    await first_call()
    return secret


@lane.task
async def generator(ctx: Context = Use(Context)) -> AsyncIterator[str]:
    await ctx.emit(ARRIVED, os.getpid())
    async for word in source():
        yield word


@lane.task
async def task_group(ctx: Context = Use(Context)) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(first_call(), name="one of two")
        group.create_task(second_call(), name="two of two")
        await ctx.emit(ARRIVED, os.getpid())


@lane.task
def in_thread(ctx: Context = Use(Context)) -> None:
    ctx.emit(ARRIVED, os.getpid())
    wait_until_stopped(ctx)


@lane.task
def generator_in_thread(ctx: Context = Use(Context)) -> Iterator[str]:
    yield "a"
    ctx.emit(ARRIVED, os.getpid())
    wait_until_stopped(ctx)


@lane.task(process=True)
def in_child(ctx: Context = Use(Context)) -> None:
    ctx.emit(ARRIVED, os.getpid())
    wait_until_stopped(ctx)


@lane.task(process=True)
async def coroutine_in_child(ctx: Context = Use(Context)) -> None:
    await ctx.emit(ARRIVED, os.getpid())
    await first_call()


@lane.task(process=True, cancel_grace=0.1)
async def blocks_child(ctx: Context = Use(Context)) -> None:
    await ctx.emit(ARRIVED, os.getpid())
    await asyncio.sleep(0)  # lets it out
    while True:
        time.sleep(0.1)  # noqa: ASYNC251 - it is meant to block


def wait_until_stopped(ctx: Context) -> None:
    while True:
        ctx.check()
        threading.Event().wait(0.05)
