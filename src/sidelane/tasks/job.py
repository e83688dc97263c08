"""Job: the typed handle on one submitted job."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import JobError
from sidelane.model.event import Cursor, Event
from sidelane.model.job import JobRecord

R = TypeVar("R")


class JobClient(Protocol):
    """The client of a handle. This class is a protocol because the client itself is in a higher layer."""

    async def record(self, job_id: str) -> JobRecord: ...
    async def result(self, job_id: str, *, timeout: float | None) -> str: ...
    def events(self, job_id: str, after: Cursor | None) -> AsyncGenerator[Event, None]: ...
    async def cancel(self, job_id: str) -> JobRecord: ...
    async def requeue(self, job_id: str) -> JobRecord: ...


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """A handle on one submitted job, whose result is an `R`."""

    id: str
    client: JobClient = field(repr=False, compare=False)
    decode: Callable[[str], Any] = field(repr=False, compare=False)
    created: bool = True  # false if a submit found that the job exists

    async def record(self) -> JobRecord:
        """Return the job's record. Raises `UnknownJob` or `JobRemoved`."""
        return await self.client.record(self.id)

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait up to `timeout` seconds (None: for ever) for the result.

        Raises `JobFailed` with the problem if the job failed, `JobCancelled` if it was cancelled, and `ResultNotReady` on timeout.
        Raises `JobError` if the task has changed and the result no longer matches its type.
        """
        return self.read(await self.client.result(self.id, timeout=to_seconds(timeout)))

    def read(self, text: str) -> R:
        """Decode the JSON text of the job's result.

        Raises `JobError` if the task has changed and the result no longer matches its type.
        """
        try:
            result: R = self.decode(text)
        except TypeError as error:
            raise JobError(f"The result of job {self.id!r} no longer fits its task's type: {error}.") from error
        return result

    def events(self, after: Cursor | None = None) -> AsyncGenerator[Event, None]:
        """Yield the events of the job's log after a cursor as they are stored. The last event is the job's end."""
        return self.client.events(self.id, after)

    async def cancel(self) -> JobRecord:
        """Cancel the job.

        A queued job is cancelled immediately, a running job is asked to stop, and a finished job does not change.
        """
        return await self.client.cancel(self.id)

    async def requeue(self) -> JobRecord:
        """Queue the finished job again. Raises `JobConflict` if another job has its unique key."""
        return await self.client.requeue(self.id)
