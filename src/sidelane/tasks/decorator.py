"""The `@lane.task(...)` decorator: its arguments, and the task types for functions of every kind."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from pydantic import BaseModel

from sidelane.model.durations import to_seconds
from sidelane.model.errors import ArgumentsError, TaskDeclarationError
from sidelane.model.job import MAX_LOG_SIZE
from sidelane.model.limit import LimitPolicy, validate_limits
from sidelane.model.options import PRIORITIES, Callback, Callbacks, callbacks_of
from sidelane.model.queue import Queue
from sidelane.model.retry import Retry
from sidelane.model.settings import Settings
from sidelane.tasks.internal_queues import INTERNAL_QUEUES
from sidelane.tasks.limit_binding import NamedLimit, named_limits
from sidelane.tasks.signature import Result
from sidelane.tasks.task import Lane, Policy, Task
from sidelane.tasks.task_options import TaskOptions

P = ParamSpec("P")
R = TypeVar("R")

VERSIONS = range(1, 1000)


class TaskDecorator(Protocol):
    """The type of `@lane.task`, which turns a function of any kind into a task of the right type."""

    @overload
    def __call__(self, function: Callable[P, AsyncIterator[str]], /) -> Task[P, AsyncIterator[str], str]: ...
    @overload
    def __call__(
        self, function: Callable[P, AsyncIterator[str | BaseModel]], /
    ) -> Task[P, AsyncIterator[str | BaseModel], str]: ...
    @overload
    def __call__(
        self, function: Callable[P, AsyncIterator[str | BaseModel | Result[R]]], /
    ) -> Task[P, AsyncIterator[str | BaseModel | Result[R]], R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, Iterator[str]], /) -> Task[P, Iterator[str], str]: ...
    @overload
    def __call__(
        self, function: Callable[P, Iterator[str | BaseModel]], /
    ) -> Task[P, Iterator[str | BaseModel], str]: ...
    @overload
    def __call__(
        self, function: Callable[P, Iterator[str | BaseModel | Result[R]]], /
    ) -> Task[P, Iterator[str | BaseModel | Result[R]], R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def __call__(self, **fields: Unpack[TaskOptions]) -> "TaskDecorator": ...


def make_task(
    function: Callable[..., Any],
    fields: TaskOptions,
    *,
    lane: Lane,
    queue: Queue,
    task_type: Callable[..., Task[..., Any, Any]] = Task,
) -> Task[..., Any, Any]:
    """Return a task, an instance of `task_type`, of a function. Raises `TaskDeclarationError` if the policy is invalid."""
    name = fields.get("name") or function.__name__
    task = task_type(
        function,
        lane=lane,
        name=name,
        policy=_policy(fields, queue, lane.settings),
        process=fields.get("process", False),
        version=fields.get("version", 1),
        upgrade=fields.get("upgrade"),
        aliases=tuple(fields.get("aliases", ())),
    )
    for error in _policy_errors(task):
        raise TaskDeclarationError(f"Task {name!r}: {error}")
    limits, callbacks = _limits(task, fields.get("limits", ()), queue), _callbacks(task, fields.get("callback", ()))
    task.policy = replace(task.policy, limits=limits, callbacks=callbacks)
    return task


def add_internal_task(lane: Lane, function: Callable[..., Any], **fields: Unpack[TaskOptions]) -> Task[..., Any, Any]:
    """Register a task of an internal queue, e.g. one that delivers callbacks."""
    task = make_task(function, fields, lane=lane, queue=INTERNAL_QUEUES[fields["queue"]])
    lane.registry.add(task)
    return task


def _callbacks(task: Task[..., Any, Any], declared: Callbacks) -> tuple[Callback, ...]:
    try:
        callbacks = callbacks_of(declared)
        for callback in callbacks:
            task.lane.registry.callback_call(callback, task.lane.settings)
    except ArgumentsError as error:
        raise TaskDeclarationError(f"Task {task.name!r}: {error}") from error
    return callbacks


def _limits(task: Task[..., Any, Any], limits: Sequence[LimitPolicy], queue: Queue) -> tuple[NamedLimit, ...]:
    invalid = validate_limits(limits)
    if invalid:
        raise TaskDeclarationError(f"Task {task.name!r}: {invalid}")
    try:
        return named_limits(task.name, limits, queue, len(task.signature.names))
    except ValueError as error:
        raise TaskDeclarationError(f"Task {task.name!r}: {error}") from error


def _policy(fields: TaskOptions, queue: Queue, settings: Settings) -> Policy:
    return Policy(
        queue=queue.name,
        max_queued=queue.max_queued,
        timeout=to_seconds(fields.get("timeout", settings.timeout)),
        retry=fields.get("retry", Retry()),
        retention=to_seconds(fields.get("retention", settings.retention)),
        cancel_grace=to_seconds(fields.get("cancel_grace", settings.cancel_grace)),
        expires=to_seconds(fields.get("expires")),
        deadline=to_seconds(fields.get("deadline")),
        max_worker_losses=fields.get("max_worker_losses", 3),
        max_log_size=fields.get("max_log_size", MAX_LOG_SIZE),
        keep_logs=fields.get("keep_logs", False),
        priority=fields.get("priority", 0),
        on_disconnect=fields.get("on_disconnect", "continue"),
    )


def _policy_errors(task: Task[..., Any, Any]) -> list[str]:
    policy, errors = task.policy, []
    retry: object = policy.retry
    if not isinstance(retry, Retry):
        errors.append(f"retry={retry!r}: this is Retry(attempts=…).")
    for name in ("timeout", "expires", "deadline"):
        seconds = getattr(policy, name)
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            errors.append(f"{name}={seconds!r}: this is a number of seconds above 0.")
    amounts: dict[str, object] = {
        "retention": policy.retention,
        "cancel_grace": policy.cancel_grace,
        "max_worker_losses": policy.max_worker_losses,
    }
    errors += [
        f"{name}={amount!r}: this is a number, not below 0."
        for name, amount in amounts.items()
        if not (isinstance(amount, int | float) and amount >= 0)
    ]
    size: object = policy.max_log_size
    if not (isinstance(size, int) and size >= 0):
        errors.append(f"max_log_size={size!r}: this is a whole number of bytes, not below 0.")
    keep_logs: object = policy.keep_logs
    if not isinstance(keep_logs, bool):
        errors.append(f"keep_logs={keep_logs!r}: this is True or False.")
    if policy.priority not in PRIORITIES:
        errors.append(f"priority={policy.priority}: priorities go from -1000 to 1000, higher first.")
    if task.version not in VERSIONS:
        errors.append(f"version={task.version}: versions go from 1 to 999.")
    return errors
