"""Sample lane with every kind of task, for workers with a store, remote workers and their child processes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from pydantic import BaseModel

from sidelane import Call, Context, PermanentFailure, Result, RetryLater, Sidelane, Use, llm_span

lane = Sidelane(settings={"lease_duration": 2.0, "shutdown_timeout": 0.0, "cancel_grace": 0.1})


class Clip(BaseModel):
    """Input of `analyse`."""

    path: str
    seconds: float = 1.0


class Report(BaseModel):
    """Result of `analyse`."""

    score: float
    by: str


@lane.resource
async def model() -> AsyncIterator[str]:
    yield "model"


@lane.middleware
async def heard(ctx: Context) -> AsyncIterator[None]:
    await ctx.emit("began", ctx.task)
    yield


lane.problem(ConnectionError, status=502, title="No model")


@lane.task
async def analyse(clip: Clip, *, ctx: Context = Use(Context), model: str = Use(model)) -> Report:
    await ctx.progress(50, "listening")
    await ctx.emit("heard", {"path": clip.path, "key": ctx.idempotency_key})
    return Report(score=clip.seconds, by=model)


@lane.task(keep_logs=True)
def measure(path: str, seconds: float = 2.0, *, ctx: Context = Use(Context)) -> float:
    logging.getLogger(__name__).warning("measuring")  # stays on the remote worker
    ctx.progress(10, path)
    return seconds


@lane.task(process=True, keep_logs=True)
def crunch(a: int, b: int, *, ctx: Context = Use(Context)) -> int:
    logging.getLogger(__name__).warning("crunching")
    ctx.progress(99)
    return a + b


@lane.task
async def tell(words: int) -> AsyncIterator[str | Result[int]]:
    for number in range(words):
        yield f"{number} "
    yield Result(words)


@lane.task
def spell(word: str) -> Iterator[str]:
    yield from word


@lane.task
async def refuse(path: str) -> None:
    raise PermanentFailure(f"there is no {path}", status=404)


@lane.task
async def break_off() -> None:
    raise ConnectionError("the model is away")


@lane.task(process=True)
def break_away() -> None:
    raise ConnectionError("the model is away")


@lane.task(timeout=0.1)
async def dawdle() -> None:
    await asyncio.sleep(60)


@lane.task
async def mistake() -> int:
    return cast(int, "none")


@lane.task
async def ask() -> str:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        call.usage(input_tokens=7, output_tokens=2, cost=0.25)
    return "done"


starts: list[float] = []
"""Start times of `work` and `hesitate`."""


@lane.task
async def work(seconds: float) -> int:
    starts.append(time.monotonic())
    await asyncio.sleep(seconds)
    return len(starts)


@lane.task
async def hesitate() -> str:
    starts.append(time.monotonic())
    if len(starts) == 1:
        raise RetryLater(1.0)
    return "done"


@lane.task
async def pour(count: int, size: int) -> AsyncIterator[str | Result[str]]:
    for _ in range(count):
        yield "x" * size
    yield Result("x" * size)


@lane.task
async def echo(text: str) -> AsyncIterator[str]:
    yield text


@lane.task
async def nest(depth: int, *, ctx: Context = Use(Context)) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    await ctx.emit("nested", nested)


@lane.task
async def delegate(*, ctx: Context = Use(Context)) -> str:
    return (await ctx.submit(measure.call("a"))).id


CALLS: dict[str, Call[Any]] = {
    "coroutine": analyse.call(Clip(path="a.wav")),
    "thread": measure.call("b.wav"),
    "process": crunch.call(3, 4),
    "async generator": tell.call(3),
    "generator": spell.call("word"),
    "final failure": refuse.call("c.wav"),
    "failure": break_off.call(),
    "failure in a process": break_away.call(),
    "timeout": dawdle.call(),
    "wrong result": mistake.call(),
}
"""A call of every kind, by its name."""
