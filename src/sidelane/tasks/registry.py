"""Registry: the tasks, problem rules, middleware and payload builders that are declared on a lane."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sidelane.model.errors import ArgumentsError, ConfigurationError, TaskDeclarationError
from sidelane.model.limit import LimitPolicy
from sidelane.model.options import Callback
from sidelane.model.problem import Problem
from sidelane.model.settings import Settings
from sidelane.tasks.internal_queues import CALLBACK_TASK, FILE_CLEANUP_TASK
from sidelane.tasks.limit_binding import are_compatible
from sidelane.tasks.placeholders import PREVIOUS_FAILURE, FinishedJob
from sidelane.tasks.resources import Resource
from sidelane.tasks.task import Call, Task

AnyTask = Task[..., Any, Any]

PayloadBuilder = Callable[[FinishedJob], Any]
"""Returns the body of a callback, i.e. a string, or a value to write as JSON. A builder may be a coroutine function."""

PayloadBuilderT = TypeVar("PayloadBuilderT", bound=PayloadBuilder)

Middleware = Callable[[Any], AbstractAsyncContextManager[None]]
"""Wraps an attempt. A middleware is called with the attempt's context, entered before the task runs, and exited after the task."""


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class ProblemRule:
    """How exceptions of some types become problems.

    With `final`, these exceptions are not retried. With `internal`, only internal tasks raise them.
    """

    types: tuple[type[BaseException], ...]
    status: int
    title: str
    final: bool
    detail: Callable[[Any], str] | None = None
    internal: bool = False

    def problem(self, error: BaseException) -> Problem:
        """Return the problem of an exception."""
        detail = self.detail(error) if self.detail else str(error)
        return Problem(status=self.status, title=self.title, detail=detail)


@dataclass(slots=True)
class Registry:
    """All declarations on one lane."""

    tasks: dict[str, AnyTask] = field(default_factory=dict)  # by name and by alias
    rules: list[ProblemRule] = field(default_factory=list)
    middleware: list[Middleware] = field(default_factory=list)
    overrides: dict[Resource[Any], Any] = field(default_factory=dict)
    payload_builders: dict[str, PayloadBuilder] = field(default_factory=dict)  # of callbacks, by name
    limits: dict[str, LimitPolicy] = field(default_factory=dict)  # by name
    _dead_letter_task: AnyTask | None = None
    _dead_letter_call: Call[Any] | None = None
    _file_cleanup: Call[Any] | None = None

    @property
    def dead_letter_call(self) -> Call[Any] | None:
        """The call that follows each job that has failed permanently, if the lane declares one."""
        if self._dead_letter_call is None and self._dead_letter_task is not None:
            self._dead_letter_call = self._dead_letter_task.call(PREVIOUS_FAILURE)
        return self._dead_letter_call

    @property
    def file_cleanup_call(self) -> Call[Any]:
        """The call that follows the removal of each job that may reference files."""
        if self._file_cleanup is None:
            self._file_cleanup = self.tasks[FILE_CLEANUP_TASK].call()
        return self._file_cleanup

    def callback_call(self, callback: Callback, settings: Settings) -> Call[Any]:
        """Return the call that delivers a callback of the preceding job. Raises `ArgumentsError`.

        The user of the call is the receiver, so that receivers share the queue fairly and each receiver has separate slots.
        """
        receiver, target = callback.destination(settings)
        deliver = self.tasks[CALLBACK_TASK].options(user=receiver)
        return deliver.call(target, self._payload_builder_name(callback.body), callback.on, callback.progress)

    def _payload_builder_name(self, builder: PayloadBuilder | None) -> str | None:
        if builder is None:
            return None
        for name, known in self.payload_builders.items():
            if known is builder:
                return name
        raise ArgumentsError(
            f"body={getattr(builder, '__name__', builder)}: mark the function with @lane.callback_payload: workers find it by its "
            "name."
        )

    def set_dead_letter_handler(self, task: AnyTask) -> None:
        """Submit this task for each dead letter.

        Raises `TaskDeclarationError` unless the task has one argument and is the only such task.
        """
        if self._dead_letter_task is not None:
            raise TaskDeclarationError(
                f"Task {task.name!r}: this lane already has @lane.dead_letter: {_location(self._dead_letter_task.function)}."
            )
        if len(task.signature.names) != 1:
            raise TaskDeclarationError(
                f"Task {task.name!r}: a task of @lane.dead_letter takes one argument: `letter: FinishedJob`."
            )
        if any(limit.declared.per == "user" for limit in task.policy.limits):
            raise TaskDeclarationError(
                f"Task {task.name!r}: dead letters have no user, so it cannot have a limit per user."
            )
        self._dead_letter_task = task

    def add(self, task: AnyTask) -> None:
        """Register a task under its name and aliases. Raises `TaskDeclarationError` if a name or alias is taken."""
        for name in (task.name, *task.aliases):
            other = self.tasks.get(name)
            if other is not None:
                raise TaskDeclarationError(
                    f"Task name {name!r} is taken by {_location(other.function)}, so {_location(task.function)} cannot have it. "
                    "Give one of them another `name=`."
                )
        for limit in task.policy.limits:
            other_limit = self.limits.setdefault(limit.name, limit.declared)
            if not are_compatible(limit.declared, other_limit):
                raise TaskDeclarationError(
                    f"Task {task.name!r}: its limit {limit.name!r} is {limit.declared}, and elsewhere {other_limit}. "
                    "Limits of one name are all slots, or all the same rate."
                )
        for name in (task.name, *task.aliases):
            self.tasks[name] = task

    def add_payload_builder(self, function: PayloadBuilderT) -> PayloadBuilderT:
        """Register a payload builder by its name. Raises `ConfigurationError` if the name is taken."""
        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise ConfigurationError(f"@lane.callback_payload takes a function with a name, and {function!r} has none.")
        other = self.payload_builders.setdefault(name, function)
        if other is not function:
            raise ConfigurationError(
                f"@lane.callback_payload: the name {name!r} is taken by {_location(other)}; {_location(function)} needs another."
            )
        return function

    def add_middleware(self, wrapper: Callable[..., AsyncIterator[None]]) -> Callable[..., AsyncIterator[None]]:
        """Register a middleware. Raises `ConfigurationError` unless it is an async generator over one argument."""
        parameters = inspect.signature(wrapper).parameters.values()
        required = [each.name for each in parameters if each.default is each.empty and each.kind not in _VARIADIC]
        if not inspect.isasyncgenfunction(inspect.unwrap(wrapper)) or len(required) != 1:
            raise ConfigurationError(
                f"@lane.middleware: {_location(wrapper)}({', '.join(required)}) must be an async generator over the attempt's "
                "context that yields once, as in `async def wrap(ctx): yield`; one over (request, call_next) is for the web app."
            )
        self.middleware.append(asynccontextmanager(wrapper))
        return wrapper

    def add_rule(self, rule: ProblemRule) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
        """Add a rule. Return a decorator of the function that returns the problem's detail."""
        index = len(self.rules)
        self.rules.append(rule)

        def decorate(detail: Callable[[Any], str]) -> Callable[[Any], str]:
            self.rules[index] = replace(rule, detail=detail)
            return detail

        return decorate

    @contextmanager
    def overriding(self, resource: Resource[Any], value: object) -> Iterator[None]:
        """Use this value instead of a resource within the block."""
        before = dict(self.overrides)
        self.overrides[resource] = value
        try:
            yield
        finally:
            self.overrides.clear()
            self.overrides.update(before)

    def check(self) -> None:
        """Resolve every task's annotations, so that a wrong annotation fails at the start. Raises `TaskDeclarationError`."""
        for task in self.tasks.values():
            _ = task.signature.arguments, task.signature.result
        _ = self.dead_letter_call

    def task_versions(self, without: Iterable[Resource[Any]] = ()) -> dict[str, int]:
        """Return the version of each task by name, without tasks that use one of these resources."""
        excluded = frozenset(without)
        return {name: task.version for name, task in self.tasks.items() if not excluded & _resources(task)}

    def with_types(self, task: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a job of a task with their types, or unchanged if the task is unknown here."""
        known = self.tasks.get(task)
        return arguments if known is None else known.with_types(arguments)

    def problem_rule(self, error: BaseException) -> ProblemRule | None:
        """Return the rule for an error, which is the rule of its closest type."""
        for type_ in type(error).__mro__:
            for rule in reversed(self.rules):
                if type_ in rule.types:
                    return rule
        return None


def _resources(task: AnyTask) -> set[Resource[Any]]:
    found: set[Resource[Any]] = set()
    pending = [used for used in task.signature.uses.values() if isinstance(used, Resource)]
    while pending:
        resource = pending.pop()
        found.add(resource)
        pending.extend(used for used in resource.uses.values() if isinstance(used, Resource))
    return found


def _location(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
