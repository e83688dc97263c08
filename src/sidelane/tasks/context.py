"""Context: a running task's access to its attempt, as in `ctx: Context = Use(Context)`."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.event import NewEvent, named_event, progress_event
from sidelane.model.history import Usage
from sidelane.model.job import JobSpec
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call, Task, check_lane, ensure_call
from sidelane.telemetry.tracer import NO_TRACER, Tracer

R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stopped(SidelaneError):
    """The attempt is to stop; raised by `ctx.check()` in a task that runs in a thread or a process."""


class Pending(Protocol[T_co]):
    """A pending result. Await the result on the event loop, or call `.wait()` in a thread."""

    def wait(self, timeout: float | None = None) -> T_co: ...
    def __await__(self) -> Generator[Any, None, T_co]: ...


class TaskChannel(Protocol):
    """The channel from a running task to its job, whether it runs on the event loop, in a thread or in a process.

    `registry` is that of the lane whose worker runs the task. `thread` identifies the thread that runs the task's function, None
    on the event loop.
    """

    thread: int | None

    @property
    def registry(self) -> object: ...
    def put(self, entry: NewEvent) -> Awaitable[None]: ...
    def stopping(self) -> bool: ...
    def report_usage(self, usage: Usage) -> None: ...
    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One attempt of one job, as its task sees the attempt. `user` and `labels` are those of the submit.

    `trace` is the `traceparent` of the attempt if it is traced, else that of the submit. `tracer` starts spans below it.
    `remaining` is the number of seconds to the job's deadline when the attempt began, or None without a deadline.
    """

    injectable: ClassVar[bool] = True  # so that `Use` accepts this class

    job_id: str
    task: str
    queue: str
    attempt: int
    user: str | None = None
    key: str | None = None
    parent: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    trace: str | None = None
    remaining: float | None = None
    payload_limit: int = 1_048_576
    channel: TaskChannel = field(repr=False, compare=False)
    tracer: Tracer = field(default=NO_TRACER, repr=False, compare=False)

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every attempt of this job, e.g. for payments."""
        return self.job_id

    def progress(self, percent: float, message: str = "") -> Awaitable[None]:
        """Report the progress of the job, from 0 to 100. The progress is sent immediately; an await only waits for buffer space."""
        return self.channel.put(progress_event(percent, message, self.payload_limit))

    def emit(self, name: str, data: object) -> Awaitable[None]:
        """Add an event to the job's log. Raises ValueError if the name is reserved."""
        return self.channel.put(named_event(name, data, self.payload_limit))

    def report_usage(self, *, input_tokens: int = 0, output_tokens: int = 0, cost: float = 0.0) -> None:
        """Report what this attempt used: tokens of a language model, and a cost in any currency. Several reports are added up.

        The job and the history of its task show the sums. Raises ValueError if a number is negative, not finite or too large.
        """
        self.channel.report_usage(Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost))

    def check(self) -> None:
        """Raise `Stopped` if the attempt was cancelled or has timed out. Use `check` in tasks that run in threads and processes."""
        if self.channel.stopping():
            raise Stopped

    def submit(self, call: Call[R], *, cancel: Literal["leave", "cascade"] = "leave") -> Pending[Job[R]]:
        """Submit a child job, which inherits this job's user and trace. In a thread or a process, call `.wait()` on the result.

        With `cancel="cascade"`, the child is cancelled with this job. Raises `ArgumentsError` or `PayloadTooLarge`, and
        `ConfigurationError` if the call's task is of another lane. Awaiting the result raises what a submit raises.
        """
        if cancel not in ("leave", "cascade"):
            raise ArgumentsError(f"cancel={cancel!r}: this is 'leave' or 'cascade'.")
        check_lane(ensure_call(call), self.channel.registry)
        if call.options.user is None and self.user is not None:
            call = call.with_options(user=self.user)
        spec = call.spec(parent=self.job_id, trace=self.trace, cascade=cancel == "cascade")
        return self.channel.submit(call.task, spec)


current_context: ContextVar[Context | None] = ContextVar("sidelane_context", default=None)
"""The context of the attempt to which the running code belongs, on the event loop, in a thread or in a child process."""


class Completed:
    """An awaitable that is already done."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


COMPLETED = Completed()


class LoopPending(Generic[T]):
    """A pending result of a task on the event loop. The work begins when the result is awaited."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._awaitable = awaitable

    def wait(self, timeout: float | None = None) -> T:
        """Raise RuntimeError, because `wait` would block the event loop that has to do the work."""
        raise RuntimeError("This task runs on the event loop: await the result instead of calling wait().")

    def __await__(self) -> Generator[Any, None, T]:
        return self._awaitable.__await__()


class ThreadPending(Generic[T]):
    """A pending result of a task in a thread. The work runs on the worker's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[], Awaitable[T]]) -> None:
        async def run() -> T:
            return await start()

        self._future = asyncio.run_coroutine_threadsafe(run(), loop)

    def wait(self, timeout: float | None = None) -> T:
        """Block this thread until the result is available. Raises TimeoutError after `timeout` seconds."""
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self._future).__await__()
