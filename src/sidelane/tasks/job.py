"""The typed handle on one job."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sidelane.model.errors import JobError
from sidelane.model.event import Cursor, Event
from sidelane.model.job import JobRecord

R = TypeVar("R")


class OpenLane(Protocol):
    """What a handle asks of the open lane it came from."""

    async def record(self, job_id: str) -> JobRecord: ...
    async def result(self, job_id: str, *, timeout: float | None) -> str: ...
    def events(self, job_id: str, after: Cursor | None) -> AsyncGenerator[Event, None]: ...
    async def cancel(self, job_id: str) -> JobRecord: ...
    async def requeue(self, job_id: str) -> JobRecord: ...


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """One submitted job, known by its id, whose result is an `R`."""

    id: str
    lane: OpenLane = field(repr=False, compare=False)
    decode: Callable[[str], Any] = field(repr=False, compare=False)
    created: bool = True  # false where a submit found this job already there

    async def record(self) -> JobRecord:
        """Look the job up. Raises `UnknownJob` or `JobGone`."""
        return await self.lane.record(self.id)

    async def result(self, timeout: float | None = None) -> R:
        """Wait up to `timeout` seconds (None: for ever) for the result.

        Raises `JobFailed` with the problem, `JobCancelled`, or `NotFinished` when the time is over; `JobError` when the task
        has changed and the result does not fit its type.
        """
        return self.read(await self.lane.result(self.id, timeout=timeout))

    def read(self, text: str) -> R:
        """Read the JSON text of its result. Raises `JobError` when the task has changed and it does not fit its type."""
        try:
            result: R = self.decode(text)
        except TypeError as error:
            raise JobError(f"The result of job {self.id!r} does not fit its task's type any more: {error}.") from error
        return result

    def events(self, after: Cursor | None = None) -> AsyncGenerator[Event, None]:
        """Follow the job's log from after a cursor; the last event is its end."""
        return self.lane.events(self.id, after)

    async def cancel(self) -> JobRecord:
        """Cancel it at once while queued; ask it to stop while running; a finished job stays as it is."""
        return await self.lane.cancel(self.id)

    async def requeue(self) -> JobRecord:
        """Bring the finished job back. Raises `JobConflict` when another holds its unique key."""
        return await self.lane.requeue(self.id)
