"""Resources, which a worker opens once per process or per attempt, and passes to tasks."""

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from sidelane.model.errors import ConfigurationError, TaskDeclarationError

T = TypeVar("T")

Scope = Literal["process", "attempt"]

logger = logging.getLogger(__name__)


class Resource(Generic[T]):
    """An object that a worker opens and tasks take with `Use`, e.g. a client, a model or a session. `@lane.resource` declares a
    resource.

    The factory is a plain function, a coroutine function, or a generator, sync or async. The code after the yield of a generator
    closes the resource. The factory may take other resources with `Use`.
    """

    def __init__(self, factory: Callable[..., Any], scope: Scope = "process", *, exclusive: bool = False) -> None:
        self.factory = factory
        self.scope = scope
        self._exclusive = exclusive
        self.name = getattr(factory, "__name__", repr(factory))
        self.uses = dependencies_of(factory)
        for used in self.uses.values():
            if isinstance(used, Resource) and scope == "process" and used.scope == "attempt":
                raise TaskDeclarationError(f"Resource {self.name!r} has the scope 'process' and cannot use {used.name!r}, "
                                           "which has the scope 'attempt'.")  # fmt: skip
            if not isinstance(used, Resource) and scope == "process":
                raise TaskDeclarationError(f"Resource {self.name!r} has the scope 'process' and cannot use Context.")

    @property
    def exclusive(self) -> bool:
        """Whether the resource, or a resource that it uses, can be open only once."""
        return self._exclusive or uses_exclusive(self.uses)

    async def open(self, stack: AsyncExitStack, used: Mapping[str, Any]) -> T:
        """Open the resource with the resources that it uses. `stack` closes the resource."""
        if inspect.isasyncgenfunction(self.factory):
            return cast(T, await stack.enter_async_context(asynccontextmanager(self.factory)(**used)))
        if inspect.isgeneratorfunction(self.factory):
            return cast(T, stack.enter_context(contextmanager(self.factory)(**used)))
        value = self.factory(**used)
        return cast(T, await value if inspect.isawaitable(value) else value)


class ResourceDecorator(Protocol):
    """The type of `@lane.resource`.

    This decorator turns a factory of any kind into a resource of the type that the factory returns.
    """

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
    """Return the resource of a factory, or a decorator if there is no factory."""
    if factory is None:
        return partial(declare_resource, scope=scope, exclusive=exclusive)
    return Resource(factory, scope, exclusive=exclusive)


@dataclass(frozen=True, slots=True)
class Dependency:
    """The default, or an annotation, of a parameter that the worker fills in: a resource, or `Context`."""

    source: Resource[Any] | type


def Use(source: Resource[T] | type[T]) -> T:  # noqa: N802 - like Depends
    """Declare a parameter that the worker fills in: `llm: AsyncOpenAI = Use(openai)` or `llm: Annotated[AsyncOpenAI, Use(openai)]`.

    The same holds for `Context`, which `ctx: Context` declares too.
    """
    if not isinstance(source, Resource) and not getattr(source, "injectable", False):
        raise TaskDeclarationError(f"Use({source!r}): this takes a resource declared by @lane.resource, or Context.")
    return cast(T, Dependency(source))


def dependencies_of(function: Callable[..., Any]) -> dict[str, Resource[Any] | type]:
    """Return the dependencies of a function by parameter name.

    They are the parameters with a default of `Use(…)`, and those annotated as `Annotated[T, Use(…)]` or `Context`.
    """
    sources = {
        parameter.name: parameter.default.source
        if isinstance(parameter.default, Dependency)
        else annotated_source(_evaluated(parameter.annotation, function))
        for parameter in inspect.signature(function).parameters.values()
    }
    return {name: source for name, source in sources.items() if source is not None}


def annotated_source(annotation: object) -> Resource[Any] | type | None:
    """Return what the worker fills a parameter with, if its annotation says so."""
    if isinstance(annotation, type) and getattr(annotation, "injectable", False):
        return annotation
    if get_origin(annotation) is Annotated:
        annotated, *metadata = get_args(annotation)
        found = (each.source for each in metadata if isinstance(each, Dependency))
        return next(found, None) or annotated_source(annotated)
    return None


def _evaluated(annotation: object, function: Callable[..., Any]) -> object:
    """Evaluate an annotation that is text. Return the text unchanged if a name in it is not known yet."""
    if not isinstance(annotation, str):
        return annotation
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        hints = get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError):  # the lane's check names it
        return annotation
    return hints["it"]


def uses_exclusive(uses: Mapping[str, Resource[Any] | type]) -> bool:
    """Return whether one of these resources can be open only once."""
    return any(isinstance(used, Resource) and used.exclusive for used in uses.values())


class ResourceFailed(ConfigurationError):
    """A resource of the process failed to open."""


class Resources:
    """The open resources of one process. Also opens the resources of each attempt.

    `overrides` replaces resources by values, for tests.
    """

    def __init__(self, overrides: Mapping[Resource[Any], Any]) -> None:
        self._overrides = overrides
        self._open: dict[Resource[Any], Any] = {}
        self._stack = AsyncExitStack()
        self._locks: defaultdict[Resource[Any], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.failed: dict[Resource[Any], str] = {}  # those of the process, with the error

    async def open(self, dependencies: Mapping[str, Resource[Any] | type]) -> bool:
        """Open the process's resources among a function's dependencies.

        Return False if a resource failed to open; a later call tries again.
        """
        try:
            for resource in dependencies.values():
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
        """Return the values of a function's dependencies in one attempt. `stack` closes the resources of the attempt."""
        if not uses:
            return {}
        local: dict[Resource[Any], Any] = {}
        return {name: await self._resolve(used, stack, local, context) for name, used in uses.items()}

    async def close(self) -> None:
        """Close the resources of the process, in reverse order."""
        self._open.clear()
        await self._stack.aclose()

    async def _resolve(
        self, used: Resource[Any] | type, stack: AsyncExitStack, local: dict[Resource[Any], Any], context: object
    ) -> Any:
        if not isinstance(used, Resource):
            return context
        if used.scope == "process":
            return await self._get(used, self._stack, self._open, None)
        return await self._get(used, stack, local, context)

    async def _get(
        self, resource: Resource[Any], stack: AsyncExitStack, opened: dict[Resource[Any], Any], context: object
    ) -> Any:
        if resource in self._overrides:
            return self._overrides[resource]
        if resource.scope == "attempt":
            return await self._opened(resource, stack, opened, context)
        async with self._locks[resource]:  # concurrent attempts get the same one
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
            values = {name: await self._resolve(used, stack, opened, context) for name, used in resource.uses.items()}
            opened[resource] = await resource.open(stack, values)
        return opened[resource]
