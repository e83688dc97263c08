"""Declaring tasks that run elsewhere: typed, and called like any other."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from sidelane.data.files import Files
from sidelane.engine.client import Client
from sidelane.engine.declaration import PolicyFields, TaskFields, declare
from sidelane.engine.registry import Registry
from sidelane.engine.task import Lane, Task
from sidelane.model.errors import ConfigurationError, SidelaneError, TaskDeclarationError, UnknownJob
from sidelane.model.job import JobRecord, JobSpec, Lease
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.model.queue import Queue
from sidelane.remote.address import Via
from sidelane.remote.completing import Answer, Completing
from sidelane.remote.handover import SEND, sending_spec
from sidelane.remote.messages import Offer, Reply
from sidelane.transports.address import Address, PubSub
from sidelane.transports.opening import Transports

I = TypeVar("I")  # noqa: E741 - the input
R = TypeVar("R")

Encode = Callable[[Offer], str | Mapping[str, Any]]
"""Writes an offer as its receiver wants it: the body of the message, or what is to be its JSON."""

Decode = Callable[[Message], Reply | None]
"""Reads a reply as its sender writes it; None: it is none, and there is nothing to do. Whatever it raises, the message is bad."""


class RunsElsewhere(SidelaneError):
    """This task runs outside: submit a call of it instead of calling it."""


class RemoteLane(Lane, Protocol):
    """What hand-overs ask of the lane."""

    @property
    def client(self) -> Client: ...
    @property
    def transports(self) -> Transports: ...
    @property
    def files(self) -> Files: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a task's jobs go outside, and how what becomes of them comes back."""

    via: Via
    reply: Address | None = None
    encode: Encode | None = None
    decode: Decode | None = None


class Remote(Task[[I], Any, R], Generic[I, R]):
    """A task that runs outside. Its jobs end by a reply, by HTTP, or as the application itself says here."""

    def __init__(self, function: Callable[..., Any], *, outside: RemoteLane, way: Way, **fields: Any) -> None:
        super().__init__(function, **fields)
        self.way = way
        self.mode = "remote"
        self.hand_over = self._sending
        self._outside = outside

    async def complete(self, job_id: str, result: R) -> bool:
        """End a job that is outside with its result, on the application's own word; false where it is outside no more.

        A result that is not of the task's type is a failure of the job. Raises `UnknownJob`, `NotOpen`, `StoreUnavailable`.
        """
        return await self._apply(Reply(job=job_id, result=result))

    async def fail(self, job_id: str, problem: Problem, *, retry: bool = True) -> bool:
        """End a job that is outside with a problem, on the application's own word; false where it is outside no more.

        `retry=False`: without another try. Raises `UnknownJob`, `NotOpen`, `StoreUnavailable`.
        """
        return await self._apply(Reply(job=job_id, problem=problem, retry=retry))

    async def _apply(self, reply: Reply) -> bool:
        completing = Completing(self._outside.client, self._outside.registry)
        answered = await completing.apply(reply, trusting=(self.name, *self.aliases))
        if answered.answer in (Answer.UNKNOWN, Answer.FORGED):  # there is none, or it is another task's
            raise UnknownJob(f"There is no job {reply.job!r} of task {self.name!r}.")
        return answered.answer is not Answer.LATE

    def _sending(self, record: JobRecord, lease: Lease, seconds: float, arguments: str | None) -> JobSpec:
        send = self._outside.registry.tasks[SEND]
        return sending_spec(send, record, lease, seconds=seconds, arguments=arguments, to=str(self.way.via))


def declare_remote(
    lane: RemoteLane,
    name: str,
    *,
    takes: type[I],
    gives: type[R],
    way: Way,
    fields: PolicyFields,
    queue: Queue,
) -> Remote[I, R]:
    """Make a task that runs elsewhere. Raises `TaskDeclarationError`, and `ConfigurationError` where nothing could come back."""
    wrong = _wrong(lane, way)
    if wrong:
        raise ConfigurationError(f"Remote task {name!r}: {wrong}")
    named: TaskFields = {"name": name, "process": False, **fields}
    make = partial(Remote[I, R], outside=lane, way=way)
    task = declare(_elsewhere(name, takes, gives), named, lane=lane, queue=queue, settings=lane.settings, make=make)
    if task.policy.timeout is None or not math.isfinite(task.policy.timeout):
        raise TaskDeclarationError(f"Task {name!r}: timeout=None: nobody would notice that no answer comes.")
    if not isinstance(task, Remote):  # what `make` gave
        raise TypeError
    return task


def remotes(registry: Registry) -> list[Remote[Any, Any]]:
    """List the tasks of a lane that run elsewhere."""
    return [task for name, task in registry.tasks.items() if isinstance(task, Remote) and name == task.name]


def _wrong(lane: RemoteLane, way: Way) -> str:
    if isinstance(way.via, PubSub) and way.via.topic is None:
        return "via=PubSub(…) needs a topic to send to."
    if isinstance(way.reply, PubSub) and way.reply.subscription is None:
        return "reply=PubSub(…) needs a subscription to receive from."
    if way.reply is None and way.encode is None and not lane.settings.jobs_url:
        return (
            "it has no reply=…, so its outside workers answer by HTTP, and need to know where: set SIDELANE_JOBS_URL to where "
            "they reach the routes of jobs, such as https://api.example.com/jobs."
        )
    for other in remotes(lane.registry):
        if way.reply is not None and other.way.reply == way.reply and other.way.decode != way.decode:
            return f"task {other.name!r} gets its replies from {way.reply} too, with another decode=…."
    return ""


def _elsewhere(name: str, takes: Any, gives: Any) -> Callable[..., Any]:
    def elsewhere(input: Any) -> Any:  # noqa: A002 - its name to users
        raise RunsElsewhere(f"Task {name!r} runs outside: submit a call of it instead of calling it.")

    elsewhere.__annotations__ = {"input": takes, "return": gives}
    elsewhere.__name__, elsewhere.__doc__ = name, f"Task {name!r}, which runs outside."
    elsewhere.__module__, elsewhere.__qualname__ = "lane", f"remote({name!r})"
    return elsewhere
