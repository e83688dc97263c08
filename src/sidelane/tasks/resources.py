"""Resources: what a worker opens once per process or per attempt and gives to tasks."""

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, overload

from sidelane.model.errors import ConfigurationError, TaskDeclarationError

T = TypeVar("T")

Scope = Literal["process", "attempt"]

logger = logging.getLogger(__name__)


class Resource(Generic[T]):
    """Something a worker opens and tasks take with `Use`: a client, a model, a session. Made by `@lane.resource`.

    The factory is a generator (sync or async: what follows its yield closes the resource), a coroutine function or a plain
    function; it may itself take other resources with `Use`.
    """

    def __init__(self, factory: Callable[..., Any], scope: Scope = "process", *, exclusive: bool = False) -> None:
        self.factory = factory
        self.scope = scope
        self._exclusive = exclusive
        self.name = getattr(factory, "__name__", repr(factory))
        self.uses = dependencies_of(factory)
        for used in self.uses.values():
            if isinstance(used, Resource) and scope == "process" and used.scope == "attempt":
                raise TaskDeclarationError(f"Resource {self.name!r} lives as long as the process and cannot use {used.name!r}, "
                                           "which lives for one attempt.")  # fmt: skip
            if not isinstance(used, Resource) and scope == "process":
                raise TaskDeclarationError(f"Resource {self.name!r} lives as long as the process and has no context.")

    @property
    def exclusive(self) -> bool:
        """Whether it, or one that it uses, can be open only once."""
        return self._exclusive or uses_exclusive(self.uses)

    async def open(self, stack: AsyncExitStack, given: Mapping[str, Any]) -> T:
        """Open the resource with its own resources `given`; `stack` closes it."""
        if inspect.isasyncgenfunction(self.factory):
            return cast(T, await stack.enter_async_context(asynccontextmanager(self.factory)(**given)))
        if inspect.isgeneratorfunction(self.factory):
            return cast(T, stack.enter_context(contextmanager(self.factory)(**given)))
        value = self.factory(**given)
        return cast(T, await value if inspect.isawaitable(value) else value)


class ResourceDecorator(Protocol):
    """What `@lane.resource` is: it turns a factory of any kind into a resource of what the factory gives."""

    @overload
    def __call__(self, factory: Callable[..., AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, factory: Callable[..., Iterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, factory: Callable[..., Awaitable[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, factory: Callable[..., T], /) -> Resource[T]: ...
    @overload
    def __call__(self, *, scope: Scope = ..., exclusive: bool = ...) -> "ResourceDecorator": ...


def declare_resource(
    factory: Callable[..., Any] | None = None, /, *, scope: Scope = "process", exclusive: bool = False
) -> Any:
    """Make a resource of a factory, or a decorator that does."""
    if factory is None:
        return partial(declare_resource, scope=scope, exclusive=exclusive)
    return Resource(factory, scope, exclusive=exclusive)


@dataclass(frozen=True, slots=True)
class Dependency:
    """The default of a parameter that is filled in by the worker: a resource, or the attempt's context type."""

    what: Resource[Any] | type


def Use(what: Resource[T] | type[T]) -> T:  # noqa: N802 - reads as a mark, like Depends
    """Mark a parameter to be filled in by the worker: `llm: AsyncOpenAI = Use(openai)`, `ctx: Context = Use(Context)`."""
    if not isinstance(what, Resource) and not getattr(what, "given_by_worker", False):
        raise TaskDeclarationError(f"Use({what!r}): this takes a resource made by @lane.resource, or Context.")
    return cast(T, Dependency(what))


def dependencies_of(function: Callable[..., Any]) -> dict[str, Resource[Any] | type]:
    """Give what a function's parameters use, by parameter name."""
    parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: parameter.default.what for parameter in parameters if isinstance(parameter.default, Dependency)
    }


def uses_exclusive(uses: Mapping[str, Resource[Any] | type]) -> bool:
    """Tell whether one of these resources can be open only once."""
    return any(isinstance(used, Resource) and used.exclusive for used in uses.values())


class ResourceFailed(ConfigurationError):
    """A resource of the process did not open."""


class Resources:
    """The open resources of one process, and the way to open those of an attempt.

    `overrides` replaces resources by ready values, for tests.
    """

    def __init__(self, overrides: Mapping[Resource[Any], Any]) -> None:
        self._overrides = overrides
        self._open: dict[Resource[Any], Any] = {}
        self._stack = AsyncExitStack()
        self._locks: defaultdict[Resource[Any], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.failed: dict[Resource[Any], str] = {}  # of the process's own

    async def open(self, wanted: Mapping[str, Resource[Any] | type]) -> bool:
        """Open the process's share of what a function uses; false when one failed (it may be tried again)."""
        try:
            for resource in wanted.values():
                if isinstance(resource, Resource) and resource.scope == "process":
                    await self._get(resource, self._stack, self._open, None)
                elif isinstance(resource, Resource) and not await self.open(resource.uses):
                    return False
        except ResourceFailed:
            return False
        return True

    async def fill(
        self, uses: Mapping[str, Resource[Any] | type], context: object, stack: AsyncExitStack
    ) -> dict[str, Any]:
        """Give the values a function uses in one attempt; `stack` closes those that live for the attempt alone."""
        if not uses:
            return {}
        local: dict[Resource[Any], Any] = {}
        return {name: await self._give(what, stack, local, context) for name, what in uses.items()}

    async def close(self) -> None:
        """Close what the process opened, the last first."""
        self._open.clear()
        await self._stack.aclose()

    async def _give(
        self, what: Resource[Any] | type, stack: AsyncExitStack, local: dict[Resource[Any], Any], context: object
    ) -> Any:
        if not isinstance(what, Resource):
            return context
        if what.scope == "process":
            return await self._get(what, self._stack, self._open, None)
        return await self._get(what, stack, local, context)

    async def _get(
        self, resource: Resource[Any], stack: AsyncExitStack, opened: dict[Resource[Any], Any], context: object
    ) -> Any:
        if resource in self._overrides:
            return self._overrides[resource]
        if resource.scope == "attempt":
            return await self._opened(resource, stack, opened, context)
        async with self._locks[resource]:  # tasks that need it at the same time get the same one
            try:
                value = await self._opened(resource, stack, opened, context)
            except ResourceFailed:
                raise
            except Exception as error:
                self.failed[resource] = f"resource {resource.name!r} failed to open: {type(error).__name__}: {error}"
                logger.exception("resource %r failed to open", resource.name)
                raise ResourceFailed(self.failed[resource]) from error
        self.failed.pop(resource, None)
        return value

    async def _opened(
        self, resource: Resource[Any], stack: AsyncExitStack, opened: dict[Resource[Any], Any], context: object
    ) -> Any:
        if resource not in opened:
            given = {name: await self._give(used, stack, opened, context) for name, used in resource.uses.items()}
            opened[resource] = await resource.open(stack, given)
        return opened[resource]
