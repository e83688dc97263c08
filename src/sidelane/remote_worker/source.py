"""Message job source.

A remote worker claims a job by receiving a message, renews it by extending the delivery, and ends it by a reply.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from pydantic_core import to_json

from sidelane.files.files import Files
from sidelane.model.codec import without_collecting
from sidelane.model.errors import (
    ConfigurationError,
    FilesUnavailable,
    MalformedMessage,
    StoreUnavailable,
    TransportError,
    TransportMisconfigured,
    TransportUnavailable,
    UnknownFile,
)
from sidelane.model.job import JobRecord, JobSpec, Lease, State
from sidelane.model.message import Message
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    EventAppend,
    Failed,
    LeaseStatus,
    Lost,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.problem import Problem
from sidelane.model.worker import Claimed, ClaimRequest, Claims, WorkerInfo
from sidelane.remote_worker.replies import ReplySender
from sidelane.stores.contract import Subscription
from sidelane.tasks.registry import AnyTask
from sidelane.transports.contract import Delivery, Receiver
from sidelane.transports.data_reference import fetch_data
from sidelane.transports.job_messages import DispatchedJob, read_dispatched_header, read_input
from sidelane.transports.receive_loop import ReceiveLoop

MAX_DELIVERIES = 3
"""Number of deliveries after which a job with an unknown task fails, because no other worker seems to know the task."""

MAX_SKIPPED = 1_000
"""Maximum number of skipped jobs whose deliveries are counted. Beyond that, all counts start again."""

RETRY_DELAY = 10.0
"""Seconds before redelivery of a job that this worker skips, because another worker may know its task."""

UNKNOWN = Problem(status=404, title="Unknown task", detail="No worker that receives these jobs knows the task.")
UNSENT = Problem(status=502, title="Not sent", detail="The task ended, and its result could not be sent.")

UNSENDABLE = (TransportMisconfigured, ConfigurationError, ValueError)
"""Errors of a reply that can never be sent, because it is too large, has no file storage, or is nested too deeply to be parsed."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class InFlightJob:
    """A job that this worker runs. `replied` is true after its completion has been sent."""

    dispatched: DispatchedJob
    delivery: Delivery
    replied: bool = False


class MessageJobSource:
    """Claims, renews and ends jobs over messages: the source of a remote worker's jobs.

    Only as many messages are received as slots are free. `tasks` are the tasks that this worker can run. Inputs that did not fit
    into their messages are in `files`.
    """

    def __init__(
        self, receiver: Receiver, replies: ReplySender, *, queue: str, tasks: Mapping[str, AnyTask], files: Files
    ) -> None:
        self._receiver = receiver
        self._replies = replies
        self._queue = queue
        self._tasks = tasks
        self._files = files
        self._loop = ReceiveLoop(f"jobs from {queue}")
        self._wanted = 0
        self._claimed = asyncio.Event()
        self._arrived: deque[Delivery] = deque()
        self._signal = _Signal()
        self._in_flight: dict[Lease, InFlightJob] = {}
        self._skipped = Counter[str]()  # deliveries by id

    @property
    def error(self) -> str | None:
        """Why jobs cannot be received at the moment, or None."""
        return self._loop.error

    async def run(self) -> None:
        """Receive as many jobs as slots are free. Raises `TransportMisconfigured`."""
        try:
            while True:
                await self._claimed.wait()
                try:
                    self._arrived.extend(await self._loop.receive(self._receiver, self._wanted))
                except TransportUnavailable as error:
                    await self._loop.wait_after(error)
                else:
                    self._claimed.clear()
                    self._signal.set()
        finally:
            while self._arrived:
                delivery = self._arrived.popleft()
                await self._loop.handle(delivery, delivery.release())

    async def claim(self, request: ClaimRequest) -> Claims:
        """Return jobs that have arrived, and receive more for the slots that remain free."""
        claimed: list[Claimed] = []
        while self._arrived and len(claimed) < request.limit:
            found = await self._claim(self._arrived.popleft(), request.tasks or {})
            claimed += [found] if found else []
        self._wanted = request.limit - len(claimed)
        if self._wanted:
            self._claimed.set()
        return Claims(tuple(claimed))

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        """Extend deliveries by `lease` seconds. Cancellations and lost leases do not reach a remote worker."""
        jobs = [self._in_flight[each] for each in leases if each in self._in_flight]
        try:
            await asyncio.gather(*(each.delivery.extend(lease) for each in jobs))
        except TransportError as error:
            raise StoreUnavailable(str(error)) from error
        return [LeaseStatus.HELD] * len(leases)

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        """Send events."""
        with _as_store_error():
            return list(await asyncio.gather(*map(self._append, appends)))

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        """Send completions, then acknowledge their messages; release the messages of released jobs."""
        jobs = [self._in_flight[report.lease] for report in reports]
        with _as_store_error():
            ended = await asyncio.gather(*map(self._end, jobs, reports), return_exceptions=True)
            for error in ended:
                if error is not None:
                    raise error
        for report in reports:
            del self._in_flight[report.lease]
        return [True] * len(reports)

    @asynccontextmanager
    async def watch(self, *topics: str) -> AsyncIterator[Subscription]:
        """Subscribe to the arrival of jobs."""
        yield self._signal

    async def close(self) -> None:
        """Do nothing, because the caller closes the transports."""

    async def _claim(self, delivery: Delivery, tasks: Mapping[str, int]) -> Claimed | None:
        """Return the claim of a job. Return None if its message is malformed, for other workers, or a redelivery."""
        try:
            message = await fetch_data(delivery.message, self._files.get_text)
            dispatched = read_dispatched_header(message)
            known = dispatched.task in self._tasks and tasks.get(dispatched.task, 0) >= dispatched.version
            record = self._record(dispatched, message) if known else None
        except (MalformedMessage, UnknownFile) as error:
            logger.warning("message %s is not a dispatched job that can be read: %s", delivery.message.id, error)
            await self._loop.handle(delivery, delivery.dead_letter(str(error)))
            return None
        except (FilesUnavailable, ConfigurationError) as error:
            logger.warning("the input of message %s cannot be read for now: %s", delivery.message.id, error)
            await self._loop.handle(delivery, delivery.release(RETRY_DELAY))
            return None
        lease = Lease(dispatched.job, dispatched.attempt, dispatched.token)
        if lease in self._in_flight:  # only the newest delivery of a message can be extended and acknowledged
            self._in_flight[lease].delivery = delivery
            return None
        if record is None:
            await self._loop.handle(delivery, self._skip(dispatched, delivery))
            return None
        self._in_flight[lease] = InFlightJob(dispatched, delivery)
        return Claimed(record, lease, remaining=dispatched.timeout, offered=True)

    def _record(self, dispatched: DispatchedJob, message: Message) -> JobRecord:
        """Return the record of a job whose input has not been read. Raises `MalformedMessage`."""
        with without_collecting():
            arguments = _arguments(self._tasks[dispatched.task], read_input(message))
        spec = JobSpec(
            id=dispatched.job, task=dispatched.task, version=dispatched.version, arguments=arguments,
            queue=self._queue, key=dispatched.key, trace=dispatched.traceparent,
        )  # fmt: skip
        return JobRecord(spec=spec, sequence=0, state=State.RUNNING, attempt=dispatched.attempt, submitted=time.time())

    async def _skip(self, dispatched: DispatchedJob, delivery: Delivery) -> None:
        """Release a job to other workers, or fail the job if no worker seems to know its task."""
        self._skipped[dispatched.id] += 1  # not every transport counts deliveries
        deliveries = max(self._skipped[dispatched.id], delivery.count)
        if dispatched.task in self._tasks or deliveries < MAX_DELIVERIES:
            logger.info("job %s (%s) is left to other workers", dispatched.job, dispatched.task)
            await delivery.release(RETRY_DELAY)
        else:
            logger.warning("job %s: no worker here knows the task %s, so it fails", dispatched.job, dispatched.task)
            await self._replies.refusal(dispatched, UNKNOWN)
            await delivery.ack()
        if len(self._skipped) > MAX_SKIPPED:
            self._skipped.clear()

    async def _append(self, append: EventAppend) -> bool:
        job = self._in_flight.get(append.lease)
        if job is None:  # a repeated call, and the job has ended meanwhile: the events were sent with its completion
            return False
        try:
            await self._replies.events(job.dispatched, append.ordinal, append.entries)
        except UNSENDABLE as error:
            logger.error("job %s: events cannot be sent and are left out: %s", job.dispatched.job, error)
        return True

    async def _end(self, job: InFlightJob, report: AttemptResult) -> None:
        match report.outcome:
            case Succeeded() | Failed() | Retried() as outcome:
                if not job.replied:
                    await self._reply(job, outcome, report)
                    job.replied = True
                await job.delivery.ack()
            case Cancelled():
                await job.delivery.ack()
            case Released(delay):
                await job.delivery.release(delay)
            case Lost():
                await job.delivery.release()  # as if this worker had died: the transport counts deliveries
            case Dispatched():
                await job.delivery.release(RETRY_DELAY)

    async def _reply(self, job: InFlightJob, outcome: Succeeded | Failed | Retried, report: AttemptResult) -> None:
        """Send a completion. If the completion can never be sent, send a failure instead."""
        try:
            await self._replies.end(job.dispatched, outcome, report)
        except UNSENDABLE as error:
            logger.error("job %s: its completion cannot be sent: %s", job.dispatched.job, error)
            await self._replies.refusal(job.dispatched, UNSENT)


class _Signal:
    """Wakes the worker when jobs have arrived."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return False
        self._event.clear()
        return True


def _arguments(task: AnyTask, input_: object) -> str:
    """Return an input as arguments.

    The input is the argument of a task with one parameter, and otherwise an object with all arguments.
    """
    names = task.signature.names
    if len(names) == 1:
        return to_json({names[0]: input_}).decode()
    return to_json({} if input_ is None else input_).decode()


@contextmanager
def _as_store_error() -> Iterator[None]:
    """Raise `StoreUnavailable` if the transport is unavailable, because a worker retries after that error."""
    try:
        yield
    except TransportUnavailable as error:
        raise StoreUnavailable(str(error)) from error
