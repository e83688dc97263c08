"""Invoker a task's function and turning what it returns or yields into events and a result."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from typing import Any

from pydantic import BaseModel

from sidelane.model.codec import check_size
from sidelane.model.event import NewEvent, model_event, token_event
from sidelane.tasks.context import Context
from sidelane.tasks.registry import AnyTask, Middleware
from sidelane.tasks.resources import Resources
from sidelane.tasks.signature import Result
from sidelane.worker.outcome import WrongResult

Invoker = Callable[[Callable[..., Any], dict[str, Any], Context, Executor], Awaitable[Any]]
"""Runs a function of one kind to its value."""


async def execute(
    task: AnyTask,
    arguments: dict[str, Any],
    context: Context,
    *,
    resources: Resources,
    arounds: list[Middleware],
    threads: Executor,
) -> str:
    """Run a task's function once, with its resources and inside the lane's wrappers, and give its result as JSON text."""
    call = _CALLS[task.signature.kind]
    if arounds or task.signature.uses:
        value = await _surrounded(call, task, arguments, context, resources, arounds, threads)
    else:
        value = await call(task.function, arguments, context, threads)
    try:
        text = task.signature.result.encode(value)
    except TypeError as error:
        raise WrongResult(f"Task {task.name!r} gave a result that is not of its declared type: {error}.") from error
    return check_size(text, context.payload_limit, "The result of", task.name)


async def _surrounded(
    call: Invoker,
    task: AnyTask,
    arguments: dict[str, Any],
    context: Context,
    resources: Resources,
    arounds: list[Middleware],
    threads: Executor,
) -> Any:
    """Call inside the lane's wrappers, with the resources the function uses."""
    raised: BaseException | None = None
    value: Any = None
    async with AsyncExitStack() as stack:
        for around in arounds:
            await stack.enter_async_context(around(context))
        try:
            given = await resources.fill(task.signature.uses, context, stack)
            value = await call(task.function, {**arguments, **given}, context, threads)
        except BaseException as error:
            raised = error
            raise
    if raised is not None:  # a wrapper swallowed it; the attempt has failed all the same
        raise raised
    return value


class YieldCollector:
    """What a generator task has yielded so far: its text, and its result if it gave one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._text: list[str] = []
        self._result: Result[Any] | None = None

    def entry(self, item: object) -> NewEvent | None:
        """Give the event that an item makes. Raises TypeError on an item that is none."""
        if isinstance(item, str):
            self._text.append(item)
            return token_event(item, self._context.payload_limit)
        if isinstance(item, Result):
            self._result = item
            return None
        if isinstance(item, BaseModel):
            return model_event(item, self._context.payload_limit)
        raise WrongResult(
            f"A generator task yields text, pydantic models or Result(...), and {self._context.task!r} yielded "
            f"{type(item).__name__}."
        )

    @property
    def value(self) -> Any:
        return "".join(self._text) if self._result is None else self._result.value


async def _coroutine(function: Callable[..., Any], given: dict[str, Any], context: Context, threads: Executor) -> Any:
    return await function(**given)


async def _async_generator(
    function: Callable[..., Any], given: dict[str, Any], context: Context, threads: Executor
) -> Any:
    yielded = YieldCollector(context)
    async with aclosing(function(**given)) as items:
        async for item in items:
            entry = yielded.entry(item)
            if entry is not None:
                await context.channel.put(entry)
    return yielded.value


async def _function(function: Callable[..., Any], given: dict[str, Any], context: Context, threads: Executor) -> Any:
    return await _in_thread(threads, lambda: function(**given))


async def _generator(function: Callable[..., Any], given: dict[str, Any], context: Context, threads: Executor) -> Any:
    def run() -> Any:
        yielded = YieldCollector(context)
        items: Iterator[object] = function(**given)
        for item in items:
            context.check()  # a generator is closed where it stands, as it is on the loop
            entry = yielded.entry(item)
            if entry is not None:
                context.channel.put(entry)
        return yielded.value

    return await _in_thread(threads, run)


async def _in_thread(threads: Executor, function: Callable[[], Any]) -> Any:
    variables = contextvars.copy_context()

    def run() -> Any:
        try:
            return variables.run(function)
        except StopIteration as error:  # cannot travel through a future
            raise RuntimeError("the task raised StopIteration") from error

    return await asyncio.get_running_loop().run_in_executor(threads, run)


_CALLS: dict[str, Invoker] = {
    "coroutine": _coroutine,
    "async generator": _async_generator,
    "function": _function,
    "generator": _generator,
}
