"""Declaring tasks: the arguments of `@lane.task(...)`, and the types it gives to functions of every kind."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from pydantic import BaseModel

from sidelane.model.errors import ArgumentsError, TaskDeclarationError
from sidelane.model.limit import LimitPolicy, validate_limits
from sidelane.model.options import PRIORITIES, Callback, Callbacks, Disconnect, callbacks_of
from sidelane.model.queue import Queue
from sidelane.model.retry import Retry
from sidelane.model.settings import Settings
from sidelane.tasks.internal_queues import INTERNAL_QUEUES
from sidelane.tasks.limit_binding import NamedLimit, named_limits
from sidelane.tasks.signature import Result
from sidelane.tasks.task import Lane, Policy, Task, Upgrade

P = ParamSpec("P")
R = TypeVar("R")

VERSIONS = range(1, 1000)


class PolicyOptions(TypedDict, total=False):
    """What every task may be declared with, wherever it runs. Durations are seconds.

    `timeout` bounds one attempt, `deadline` all of them, `start_within` the wait for the first; `losses` is how many workers may
    die under a job; `keep` how long it is kept after its end; `limits` bind each of its jobs, as do those of its queue;
    `callback`, a `Webhook` or a `Notice` or several, is told of each of its jobs.
    """

    queue: str
    timeout: float | None
    retry: Retry
    expires: float | None
    deadline: float | None
    max_worker_losses: int
    priority: int
    limits: Sequence[LimitPolicy]
    retention: float
    cancel_grace: float
    on_disconnect: Disconnect
    version: int
    upgrade: Upgrade
    aliases: Sequence[str]
    callback: Callbacks


class TaskOptions(PolicyOptions, total=False):
    """What `@lane.task(...)` takes. `process=True` runs the task in a child that a timeout can kill."""

    name: str
    process: bool


class TaskDecorator(Protocol):
    """What `@lane.task` is: it turns a function of any kind into a task of the right type, with the fields given before."""

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
    make: Callable[..., Task[..., Any, Any]] = Task,
) -> Task[..., Any, Any]:
    """Make a task of a function, of the kind that `make` makes. Raises `TaskDeclarationError` on a policy that cannot be."""
    name = fields.get("name") or function.__name__
    task = make(
        function,
        lane=lane,
        name=name,
        policy=_policy(fields, queue, lane.settings),
        process=fields.get("process", False),
        version=fields.get("version", 1),
        upgrade=fields.get("upgrade"),
        aliases=tuple(fields.get("aliases", ())),
    )
    for wrong in _wrong(task):
        raise TaskDeclarationError(f"Task {name!r}: {wrong}")
    limits, callbacks = _limits(task, fields.get("limits", ()), queue), _callbacks(task, fields.get("callback", ()))
    task.policy = replace(task.policy, limits=limits, callbacks=callbacks)
    return task


def add_internal_task(lane: Lane, function: Callable[..., Any], **fields: Unpack[TaskOptions]) -> Task[..., Any, Any]:
    """Register a task that does side work on an internal queue."""
    task = make_task(function, fields, lane=lane, queue=INTERNAL_QUEUES[fields["queue"]])
    lane.registry.add(task)
    return task


def _callbacks(task: Task[..., Any, Any], given: Callbacks) -> tuple[Callback, ...]:
    try:
        callbacks = callbacks_of(given)
        for callback in callbacks:
            task.lane.registry.callback_call(callback, task.lane.settings)
    except ArgumentsError as error:
        raise TaskDeclarationError(f"Task {task.name!r}: {error}") from error
    return callbacks


def _limits(task: Task[..., Any, Any], limits: Sequence[LimitPolicy], queue: Queue) -> tuple[NamedLimit, ...]:
    wrong = validate_limits(limits)
    if wrong:
        raise TaskDeclarationError(f"Task {task.name!r}: {wrong}")
    try:
        return named_limits(task.name, limits, queue, len(task.signature.names))
    except ValueError as error:
        raise TaskDeclarationError(f"Task {task.name!r}: {error}") from error


def _policy(fields: TaskOptions, queue: Queue, settings: Settings) -> Policy:
    return Policy(
        queue=queue.name,
        max_queued=queue.max_queued,
        timeout=fields.get("timeout", settings.timeout),
        retry=fields.get("retry", Retry()),
        retention=fields.get("retention", settings.retention),
        cancel_grace=fields.get("cancel_grace", settings.cancel_grace),
        expires=fields.get("expires"),
        deadline=fields.get("deadline"),
        max_worker_losses=fields.get("max_worker_losses", 3),
        priority=fields.get("priority", 0),
        on_disconnect=fields.get("on_disconnect", "continue"),
    )


def _wrong(task: Task[..., Any, Any]) -> list[str]:
    policy, found = task.policy, []
    for name in ("timeout", "expires", "deadline"):
        seconds = getattr(policy, name)
        if seconds is not None and not seconds > 0:
            found.append(f"{name}={seconds}: this is a number of seconds above 0.")
    amounts = {
        "retention": policy.retention,
        "cancel_grace": policy.cancel_grace,
        "max_worker_losses": policy.max_worker_losses,
    }
    found += [f"{name}={amount}: this cannot be below 0." for name, amount in amounts.items() if amount < 0]
    if policy.priority not in PRIORITIES:
        found.append(f"priority={policy.priority}: priorities go from -1000 to 1000, higher first.")
    if task.version not in VERSIONS:
        found.append(f"version={task.version}: versions go from 1 to 999.")
    return found
