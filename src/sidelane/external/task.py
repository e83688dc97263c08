"""Declaration of external tasks, which are typed and submitted like any other task, but run elsewhere."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from sidelane.external.completion import CompletionHandler, CompletionStatus
from sidelane.external.outbox import DISPATCH_TASK, dispatch_spec
from sidelane.model.errors import ConfigurationError, SidelaneError, TaskDeclarationError, UnknownJob
from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.model.queue import Queue
from sidelane.tasks.decorator import make_task
from sidelane.tasks.registry import Registry
from sidelane.tasks.task import Lane, Task
from sidelane.tasks.task_options import PolicyOptions, TaskOptions
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import require_receivable, require_sendable
from sidelane.transports.job_messages import CompletionMessage, DispatchedJob

I = TypeVar("I")  # noqa: E741 - the input
R = TypeVar("R")

EncodeInput = Callable[[DispatchedJob], str | Mapping[str, Any]]
"""Encodes a dispatched job in a receiver's own format.

The function returns the body of the message, or a mapping to send as JSON.
"""

DecodeResult = Callable[[Message], CompletionMessage | None]
"""Decodes a completion from a sender's own format. None ignores the message, and any exception dead-letters the message."""


class NotCallableHere(SidelaneError):
    """This task runs elsewhere: submit a call of it instead of calling it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Where a task's jobs are sent, and where their completions are received."""

    send_to: Endpoint
    replies_from: Endpoint | None = None
    encode: EncodeInput | None = None
    decode: DecodeResult | None = None


class ExternalTask(Task[[I], Any, R], Generic[I, R]):
    """A task that runs elsewhere. A message, an HTTP request or the application itself completes the jobs of such a task."""

    def __init__(
        self, function: Callable[..., Any], *, completions: CompletionHandler, routing: Routing, **fields: Any
    ) -> None:
        super().__init__(function, **fields)
        self.routing = routing
        self.mode = "remote"
        self.dispatch_factory = self._dispatch_spec
        self._completions = completions

    async def complete(self, job_id: str, result: R) -> bool:
        """Complete an external job with its result; return False if its attempt is over.

        A result that is not of the task's type fails the attempt. Raises `UnknownJob`, `LaneNotOpen` or `StoreUnavailable`.
        """
        return await self._apply(CompletionMessage(job=job_id, result=result))

    async def fail(self, job_id: str, problem: Problem, *, retry: bool = True) -> bool:
        """Fail an external job with a problem; return False if its attempt is over.

        With `retry=False`, there is no further attempt. Raises `UnknownJob`, `LaneNotOpen` or `StoreUnavailable`.
        """
        return await self._apply(CompletionMessage(job=job_id, problem=problem, retry=retry))

    async def _apply(self, message: CompletionMessage) -> bool:
        applied = await self._completions.apply(message, trusted_tasks=(self.name, *self.aliases))
        if applied.status in (CompletionStatus.UNKNOWN, CompletionStatus.FORGED):  # forged: a job of another task
            raise UnknownJob(f"There is no job {message.job!r} of task {self.name!r}.")
        return applied.status is not CompletionStatus.LATE

    def _dispatch_spec(self, record: JobRecord, lease: Lease, seconds: float, arguments: str | None) -> JobSpec:
        dispatch = self.lane.registry.tasks[DISPATCH_TASK]
        return dispatch_spec(
            dispatch, record, lease, seconds=seconds, arguments=arguments, to=str(self.routing.send_to)
        )  # fmt: skip


def make_external_task(
    lane: Lane,
    completions: CompletionHandler,
    name: str,
    *,
    takes: type[I],
    gives: type[R],
    routing: Routing,
    fields: PolicyOptions,
    queue: Queue,
) -> ExternalTask[I, R]:
    """Declare a task that runs elsewhere.

    Raises `TaskDeclarationError` if the declaration is invalid, and `ConfigurationError` if its jobs could not be completed.
    """
    error = _routing_error(lane, routing)
    if error:
        raise ConfigurationError(f"External task {name!r}: {error}")
    options: TaskOptions = {"name": name, "process": False, "keep_logs": False, **fields}
    make = partial(ExternalTask[I, R], completions=completions, routing=routing)
    function = _not_callable_here(name, takes, gives)
    task = make_task(function, options, lane=lane, queue=queue, task_type=make)
    if task.policy.timeout is None or not math.isfinite(task.policy.timeout):
        raise TaskDeclarationError(f"Task {name!r}: timeout=None: a missing completion would never be noticed.")
    if not isinstance(task, ExternalTask):  # what `make` returned
        raise TypeError
    return task


def external_tasks(registry: Registry) -> list[ExternalTask[Any, Any]]:
    """Return the external tasks of a lane."""
    return [task for name, task in registry.tasks.items() if isinstance(task, ExternalTask) and name == task.name]


def _routing_error(lane: Lane, routing: Routing) -> str:
    """Return the error of a routing, or an empty text if the routing is valid."""
    try:
        require_sendable(routing.send_to)
        if routing.replies_from is not None:
            require_receivable(routing.replies_from)
    except ConfigurationError as error:
        return str(error)
    if routing.replies_from is None:
        if routing.encode is None and not lane.settings.jobs_url:
            return (
                "it has no replies_from=…, so its external workers complete jobs over HTTP, and need to know where: set "
                "SIDELANE_JOBS_URL to where they reach the routes of jobs, such as https://api.example.com/jobs."
            )
        return ""
    for other in external_tasks(lane.registry):
        if other.routing.replies_from == routing.replies_from and other.routing.decode != routing.decode:
            return f"task {other.name!r} receives from {routing.replies_from} too, with another decode=…."
    return ""


def _not_callable_here(name: str, takes: Any, gives: Any) -> Callable[..., Any]:
    """Return a function with the task's types that raises `NotCallableHere`."""

    def external(input: Any) -> Any:  # noqa: A002 - its name to users
        raise NotCallableHere(f"Task {name!r} runs elsewhere: submit a call of it instead of calling it.")

    external.__annotations__ = {"input": takes, "return": gives}
    external.__name__, external.__doc__ = name, f"Task {name!r}, which runs elsewhere."
    external.__module__, external.__qualname__ = "lane", f"external_task({name!r})"
    return external
