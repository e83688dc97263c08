"""Declaring tasks that run elsewhere: typed, and called like any other."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from sidelane.external.completion import CompletionHandler, CompletionStatus
from sidelane.external.http_endpoint import SendTarget
from sidelane.external.outbox import DISPATCH_TASK, dispatch_spec
from sidelane.model.errors import ConfigurationError, SidelaneError, TaskDeclarationError, UnknownJob
from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.model.queue import Queue
from sidelane.tasks.decorator import PolicyOptions, TaskOptions, make_task
from sidelane.tasks.registry import Registry
from sidelane.tasks.task import Lane, Task
from sidelane.transports.endpoints import Address, PubSub
from sidelane.transports.job_messages import CompletionMessage, DispatchedJob

I = TypeVar("I")  # noqa: E741 - the input
R = TypeVar("R")

EncodeInput = Callable[[DispatchedJob], str | Mapping[str, Any]]
"""Writes an offer as its receiver wants it: the body of the message, or what is to be its JSON."""

DecodeResult = Callable[[Message], CompletionMessage | None]
"""Reads a reply as its sender writes it; None: it is none, and there is nothing to do. Whatever it raises, the message is bad."""


class NotCallableHere(SidelaneError):
    """This task runs outside: submit a call of it instead of calling it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How a task's jobs go outside, and how what becomes of them comes back."""

    send_to: SendTarget
    replies_from: Address | None = None
    encode: EncodeInput | None = None
    decode: DecodeResult | None = None


class ExternalTask(Task[[I], Any, R], Generic[I, R]):
    """A task that runs outside. Its jobs end by a reply, by HTTP, or as the application itself says here."""

    def __init__(
        self, function: Callable[..., Any], *, completions: CompletionHandler, way: Routing, **fields: Any
    ) -> None:
        super().__init__(function, **fields)
        self.routing = way
        self.mode = "remote"
        self.dispatch_factory = self._sending
        self._completions = completions

    async def complete(self, job_id: str, result: R) -> bool:
        """End a job that is outside with its result, on the application's own word; false where it is outside no more.

        A result that is not of the task's type is a failure of the job. Raises `UnknownJob`, `NotOpen`, `StoreUnavailable`.
        """
        return await self._apply(CompletionMessage(job=job_id, result=result))

    async def fail(self, job_id: str, problem: Problem, *, retry: bool = True) -> bool:
        """End a job that is outside with a problem, on the application's own word; false where it is outside no more.

        `retry=False`: without another try. Raises `UnknownJob`, `NotOpen`, `StoreUnavailable`.
        """
        return await self._apply(CompletionMessage(job=job_id, problem=problem, retry=retry))

    async def _apply(self, reply: CompletionMessage) -> bool:
        answered = await self._completions.apply(reply, trusting=(self.name, *self.aliases))
        if answered.answer in (
            CompletionStatus.UNKNOWN,
            CompletionStatus.FORGED,
        ):  # there is none, or it is another task's
            raise UnknownJob(f"There is no job {reply.job!r} of task {self.name!r}.")
        return answered.answer is not CompletionStatus.LATE

    def _sending(self, record: JobRecord, lease: Lease, seconds: float, arguments: str | None) -> JobSpec:
        send = self.lane.registry.tasks[DISPATCH_TASK]
        return dispatch_spec(send, record, lease, seconds=seconds, arguments=arguments, to=str(self.routing.send_to))


def make_external_task(
    lane: Lane,
    completions: CompletionHandler,
    name: str,
    *,
    takes: type[I],
    gives: type[R],
    way: Routing,
    fields: PolicyOptions,
    queue: Queue,
) -> ExternalTask[I, R]:
    """Make a task that runs elsewhere. Raises `TaskDeclarationError`, and `ConfigurationError` where nothing could come back."""
    wrong = _wrong(lane, way)
    if wrong:
        raise ConfigurationError(f"ExternalTask task {name!r}: {wrong}")
    named: TaskOptions = {"name": name, "process": False, **fields}
    make = partial(ExternalTask[I, R], completions=completions, way=way)
    task = make_task(_elsewhere(name, takes, gives), named, lane=lane, queue=queue, task_type=make)
    if task.policy.timeout is None or not math.isfinite(task.policy.timeout):
        raise TaskDeclarationError(f"Task {name!r}: timeout=None: nobody would notice that no answer comes.")
    if not isinstance(task, ExternalTask):  # what `make` gave
        raise TypeError
    return task


def external_tasks(registry: Registry) -> list[ExternalTask[Any, Any]]:
    """List the tasks of a lane that run elsewhere."""
    return [task for name, task in registry.tasks.items() if isinstance(task, ExternalTask) and name == task.name]


def _wrong(lane: Lane, way: Routing) -> str:
    if isinstance(way.send_to, PubSub) and way.send_to.topic is None:
        return "via=PubSub(…) needs a topic to send to."
    if isinstance(way.replies_from, PubSub) and way.replies_from.subscription is None:
        return "reply=PubSub(…) needs a subscription to receive from."
    if way.replies_from is None and way.encode is None and not lane.settings.jobs_url:
        return (
            "it has no reply=…, so its outside workers answer by HTTP, and need to know where: set SIDELANE_JOBS_URL to where "
            "they reach the routes of jobs, such as https://api.example.com/jobs."
        )
    for other in external_tasks(lane.registry):
        if (
            way.replies_from is not None
            and other.routing.replies_from == way.replies_from
            and other.routing.decode != way.decode
        ):
            return f"task {other.name!r} gets its replies from {way.replies_from} too, with another decode=…."
    return ""


def _elsewhere(name: str, takes: Any, gives: Any) -> Callable[..., Any]:
    def elsewhere(input: Any) -> Any:  # noqa: A002 - its name to users
        raise NotCallableHere(f"Task {name!r} runs outside: submit a call of it instead of calling it.")

    elsewhere.__annotations__ = {"input": takes, "return": gives}
    elsewhere.__name__, elsewhere.__doc__ = name, f"Task {name!r}, which runs outside."
    elsewhere.__module__, elsewhere.__qualname__ = "lane", f"remote({name!r})"
    return elsewhere
