"""SyncClient: a lane for code without an event loop, e.g. scripts, Django views and notebooks."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from sidelane.client.batch_handle import Batch
from sidelane.client.client import Client
from sidelane.model.batch import BatchRecord
from sidelane.model.durations import Duration
from sidelane.model.errors import JobError
from sidelane.model.event import Event
from sidelane.model.job import JobRecord
from sidelane.tasks.job import Job
from sidelane.tasks.task import Call

R = TypeVar("R")
T = TypeVar("T")


class SyncClient:
    """An open lane whose event loop runs in a separate thread. Each method blocks until it has its result.

    with lane.sync_client() as client:
        report = client.result(client.submit(call))
    """

    def __init__(self, open_lane: Callable[[], AbstractAsyncContextManager[Any]], client: Callable[[], Client]) -> None:
        self._open_lane = open_lane
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sidelane-sync-client", daemon=True)
        self._lane: AbstractAsyncContextManager[Any] | None = None

    def __enter__(self) -> "SyncClient":
        self._thread.start()
        try:
            self._lane = self._open_lane()
            self._wait(self._lane.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._lane is not None:
                self._wait(self._lane.__aexit__(None, None, None))
        finally:
            self._stop()

    def submit(self, call: Call[R]) -> Job[R]:
        """Submit a call as a durable job."""
        return self._wait(self._client().submit(call))

    def submit_many(
        self,
        calls: Iterable[Call[R]],
        *,
        then: Call[Any] | Sequence[Call[Any]] = (),
        id: str | None = None,  # noqa: A002 - named like the option of a call
        user: str | None = None,
        retention: Duration | None = None,
    ) -> Batch[R]:
        """Submit calls as one batch; see `Sidelane.submit_many`."""
        return self._wait(self._client().submit_many(calls, then=then, id=id, user=user, retention=retention))

    def wait(self, batch: Batch[Any], timeout: Duration | None = None) -> BatchRecord:
        """Wait up to `timeout` seconds for a batch's end. Raises `ResultNotReady`."""
        return self._wait(batch.wait(timeout))

    def results(self, batch: Batch[R], timeout: Duration | None = None) -> list[R | JobError]:
        """Wait up to `timeout` seconds for a batch's end. Return the result of each of its jobs, or its error."""
        return self._wait(batch.results(timeout))

    def result(self, job: Job[R], timeout: Duration | None = None) -> R:
        """Wait up to `timeout` seconds for a job's result. Raises `JobFailed`, `JobCancelled` or `ResultNotReady`."""
        return self._wait(job.result(timeout))

    def record(self, job: Job[Any]) -> JobRecord:
        """Return a job's record."""
        return self._wait(job.record())

    def cancel(self, job: Job[Any]) -> JobRecord:
        """Cancel a job."""
        return self._wait(job.cancel())

    def requeue(self, job: Job[Any]) -> JobRecord:
        """Queue a finished job again."""
        return self._wait(job.requeue())

    def events(self, job: Job[Any]) -> Iterator[Event]:
        """Yield the events of a job's log to its end."""
        events = job.events()
        while True:
            event = self._wait(anext(events, None))
            if event is None:
                return
            yield event

    def _wait(self, awaitable: Awaitable[T]) -> T:
        async def run() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
