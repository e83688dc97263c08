"""What a running task can ask and say: `ctx: Context = Use(Context)`."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.event import NewEvent, named_event, progress_event
from sidelane.model.job import JobSpec
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call, Task, ensure_call

R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stopped(SidelaneError):
    """The attempt has been asked to stop; raised by `ctx.check()` in a task that runs outside the event loop."""


class Pending(Protocol[T_co]):
    """Something under way: await it on the loop, or `.wait()` for it in a thread."""

    def wait(self, timeout: float | None = None) -> T_co: ...
    def __await__(self) -> Generator[Any, None, T_co]: ...


class TaskChannel(Protocol):
    """The way from a running task to its job, wherever the task runs: on the loop, in a thread, in a process."""

    def put(self, entry: NewEvent) -> Awaitable[None]: ...
    def stopping(self) -> bool: ...
    def submit(self, task: Task[..., Any, R], spec: JobSpec) -> Pending[Job[R]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One attempt of one job, as its task sees it. `user`, `labels` and `trace` are those of the submit.

    `remaining` is how many seconds the job's deadline left when the attempt began; None without one.
    """

    given_by_worker: ClassVar[bool] = True  # what `Use` asks of a class

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

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every attempt of this job, for payments, mail and model calls."""
        return self.job_id

    def progress(self, percent: float, message: str = "") -> Awaitable[None]:
        """Report how far the job is, from 0 to 100. It is on its way at once; awaiting it only waits for room."""
        return self.channel.put(progress_event(percent, message, self.payload_limit))

    def emit(self, name: str, data: object) -> Awaitable[None]:
        """Add an event of the task's own to the job's log. Raises ValueError on a reserved name."""
        return self.channel.put(named_event(name, data, self.payload_limit))

    def check(self) -> None:
        """Raise `Stopped` when the attempt was cancelled or its time is over: for tasks in threads and processes."""
        if self.channel.stopping():
            raise Stopped

    def submit(self, call: Call[R], *, cancel: Literal["leave", "cascade"] = "leave") -> Pending[Job[R]]:
        """Submit a child job, which inherits this job's user and trace. Outside the event loop, call `.wait()` on the answer.

        `cancel="cascade"`: when this job is cancelled, so is the child. Raises `ArgumentsError` and `PayloadTooLarge`, and the
        answer what a submit raises.
        """
        if cancel not in ("leave", "cascade"):
            raise ArgumentsError(f"cancel={cancel!r}: this is 'leave' or 'cascade'.")
        if ensure_call(call).options.user is None and self.user is not None:
            call = call.with_options(user=self.user)
        spec = call.spec(parent=self.job_id, trace=self.trace, cascade=cancel == "cascade")
        return self.channel.submit(call.task, spec)


class Completed:
    """An awaitable with nothing left to wait for."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


COMPLETED = Completed()


class LoopPending(Generic[T]):
    """Something that begins when it is awaited, on the loop."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._awaitable = awaitable

    def wait(self, timeout: float | None = None) -> T:
        """Refuse: to wait here would stop the loop that has to do the work."""
        raise RuntimeError("This task runs on the event loop: await the answer instead of calling wait().")

    def __await__(self) -> Generator[Any, None, T]:
        return self._awaitable.__await__()


class ThreadPending(Generic[T]):
    """Something under way on the worker's loop, asked for by a thread: `.wait()` for it there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[], Awaitable[T]]) -> None:
        async def run() -> T:
            return await start()

        self._future = asyncio.run_coroutine_threadsafe(run(), loop)

    def wait(self, timeout: float | None = None) -> T:
        """Block this thread until it is there."""
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self._future).__await__()
