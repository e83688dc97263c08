"""Executor of task functions. The executor turns the values that a function returns or yields into events and a result."""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing, closing
from typing import Any

from pydantic import BaseModel

from sidelane.model.codec import check_size
from sidelane.model.errors import PayloadTooLarge
from sidelane.model.event import NewEvent, model_event, token_event
from sidelane.tasks.context import Context
from sidelane.tasks.registry import AnyTask, Middleware
from sidelane.tasks.resources import Resources
from sidelane.tasks.signature import Result
from sidelane.worker.outcome import WrongResult

Invoker = Callable[[Callable[..., Any], dict[str, Any], Context, Executor], Awaitable[Any]]
"""Calls a function of one kind and returns its value."""


async def execute(
    task: AnyTask,
    arguments: dict[str, Any],
    context: Context,
    *,
    resources: Resources,
    middleware: list[Middleware],
    threads: Executor,
) -> str:
    """Call a task's function with its resources, inside the lane's middleware, and return its result as JSON text.

    The caller has set `current_context`.
    """
    call = _INVOKERS[task.signature.kind]
    if middleware or task.signature.uses:
        value = await _with_middleware(call, task, arguments, context, resources, middleware, threads)
    else:
        value = await call(task.function, arguments, context, threads)
    try:
        text = task.signature.result.encode(value)
    except TypeError as error:
        raise WrongResult(f"Task {task.name!r} returned a result that is not of its declared type: {error}.") from error
    return check_size(text, context.payload_limit, "The result of", task.name)


async def _with_middleware(
    call: Invoker,
    task: AnyTask,
    arguments: dict[str, Any],
    context: Context,
    resources: Resources,
    middleware: list[Middleware],
    threads: Executor,
) -> Any:
    """Call a function inside the lane's middleware, with the resources that the function uses."""
    raised: BaseException | None = None
    value: Any = None
    async with AsyncExitStack() as stack:
        for wrapper in middleware:
            await stack.enter_async_context(wrapper(context))
        try:
            opened = await resources.fill(task.signature.uses, context, stack)
            value = await call(task.function, {**arguments, **opened}, context, threads)
        except BaseException as error:
            raised = error
            raise
    if raised is not None:  # a middleware suppressed it, but the attempt has failed
        raise raised
    return value


class YieldCollector:
    """Collects the values that a generator task yields: its text, and its result if it yields a `Result`.

    A text that is too long to be the result is not kept, so that an endless stream does not fill the memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._text: list[str] = []
        self._length = 0
        self._result: Result[Any] | None = None

    def event(self, item: object) -> NewEvent | None:
        """Return the event for an item, or None for a result. Raises `WrongResult` if it is neither."""
        if isinstance(item, str):
            self._length += len(item)
            if self._result is not None or self._length > self._context.payload_limit:
                self._text.clear()
            else:
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
        """The result. Raises `PayloadTooLarge` if it is the text, and the text is too long."""
        if self._result is not None:
            return self._result.value
        limit = self._context.payload_limit
        if self._length > limit:
            raise PayloadTooLarge(
                f"The text that {self._context.task!r} yielded has {self._length:,} characters, and as its result may have "
                f"{limit:,} bytes (SIDELANE_PAYLOAD_LIMIT): yield a Result too, which replaces the text."
            )
        return "".join(self._text)


async def _coroutine(
    function: Callable[..., Any], arguments: dict[str, Any], context: Context, threads: Executor
) -> Any:
    return await function(**arguments)


async def _async_generator(
    function: Callable[..., Any], arguments: dict[str, Any], context: Context, threads: Executor
) -> Any:
    yielded = YieldCollector(context)
    async with aclosing(function(**arguments)) as items:
        async for item in items:
            event = yielded.event(item)
            if event is not None:
                await context.channel.put(event)
    return yielded.value


async def _function(
    function: Callable[..., Any], arguments: dict[str, Any], context: Context, threads: Executor
) -> Any:
    return await _in_thread(threads, context, lambda: function(**arguments))


async def _generator(
    function: Callable[..., Any], arguments: dict[str, Any], context: Context, threads: Executor
) -> Any:
    def run() -> Any:
        yielded = YieldCollector(context)
        with closing(function(**arguments)) as items:
            for item in items:
                context.check()  # stops the generator between two items, as on the loop
                event = yielded.event(item)
                if event is not None:
                    context.channel.put(event)
        return yielded.value

    return await _in_thread(threads, context, run)


async def _in_thread(threads: Executor, context: Context, function: Callable[[], Any]) -> Any:
    variables = contextvars.copy_context()

    def run() -> Any:
        context.channel.thread = threading.get_ident()
        try:
            return variables.run(function)
        except StopIteration as error:  # a future cannot raise it
            raise RuntimeError("the task raised StopIteration") from error
        finally:
            context.channel.thread = None

    return await asyncio.get_running_loop().run_in_executor(threads, run)


_INVOKERS: dict[str, Invoker] = {
    "coroutine": _coroutine,
    "async generator": _async_generator,
    "function": _function,
    "generator": _generator,
}
