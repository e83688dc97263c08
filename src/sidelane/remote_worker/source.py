"""A source of jobs that others hand over: claimed by receiving an offer, kept by extending it, ended by a reply."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
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
from sidelane.transports.job_messages import DispatchedJob, fetch_data, read_asked, read_dispatched
from sidelane.transports.receive_loop import ReceiveLoop

MAX_DELIVERIES = 3
"""Deliveries after which an offer that nobody here knows the task of is answered, for nobody else seems to either."""

MAX_SKIPPED = 1_000
"""Offers whose deliveries are counted here; with more of them, counting begins anew."""

RETRY_DELAY = 10.0
"""Seconds after which an offer comes again that this worker passes over: another may know its task."""

UNKNOWN = Problem(status=404, title="Unknown task", detail="No worker that takes these offers knows the task.")
UNSENT = Problem(status=502, title="Not sent", detail="The task ended, and what it came to could not be sent.")

UNSENDABLE = (TransportMisconfigured, ConfigurationError, ValueError)
"""What is raised over that which can never be sent: too large, nowhere to keep it, nested too deep to be read back."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class InFlightJob:
    """An offer that this worker has taken. `replied`: its end has been sent."""

    offer: DispatchedJob
    delivery: Delivery
    replied: bool = False


class MessageJobSource:
    """What a worker claims from where there is no store. A lease is the offer's: its job, its attempt and its token.

    As an attendant of its worker, it receives as many offers as the worker has room for. `tasks` are those it can run; inputs that
    did not fit into their messages are in `files`.
    """

    def __init__(
        self, receiver: Receiver, replies: ReplySender, *, queue: str, tasks: Mapping[str, AnyTask], files: Files
    ) -> None:
        self._receiver = receiver
        self._replies = replies
        self._queue = queue
        self._tasks = tasks
        self._files = files
        self._receiving = ReceiveLoop(f"receive offers from {queue}")
        self._wanted = 0
        self._asked = asyncio.Event()
        self._arrived: deque[Delivery] = deque()
        self._hint = _Hint()
        self._held: dict[Lease, InFlightJob] = {}
        self._passed = Counter[str]()  # how often each was passed over

    @property
    def error(self) -> str | None:
        """Why no offers come in, while none can."""
        return self._receiving.error

    async def run(self) -> None:
        """Receive what there is room for. Raises `TransportUnusable`."""
        try:
            while True:
                await self._asked.wait()
                try:
                    self._arrived.extend(await self._receiving.receive(self._receiver, self._wanted))
                except TransportUnavailable as error:
                    await self._receiving.after(error)
                else:
                    self._asked.clear()
                    self._hint.give()
        finally:
            while self._arrived:
                delivery = self._arrived.popleft()
                await _settled(delivery.release(), delivery)

    async def claim(self, request: ClaimRequest) -> Claims:
        """Take the offers that have arrived, and ask for more where there is room left."""
        claimed: list[Claimed] = []
        while self._arrived and len(claimed) < request.limit:
            found = await self._claimed(self._arrived.popleft(), request.tasks or {})
            claimed += [found] if found else []
        self._wanted = request.limit - len(claimed)
        if self._wanted:
            self._asked.set()
        return Claims(tuple(claimed))

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        """Keep offers from coming again for `lease` seconds. Nobody says here that a job was cancelled, or given to another."""
        held = [self._held[each] for each in leases if each in self._held]
        try:
            await asyncio.gather(*(each.delivery.extend(lease) for each in held))
        except TransportError as error:
            raise StoreUnavailable(str(error)) from error
        return [LeaseStatus.HELD] * len(leases)

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        """Send events."""
        with _as_store():
            return list(await asyncio.gather(*map(self._append, appends)))

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        """Send how jobs ended, and acknowledge their offers once that is sent; give those back that were released."""
        held = [self._held[report.lease] for report in reports]
        with _as_store():
            ended = await asyncio.gather(*map(self._end, held, reports), return_exceptions=True)
            for error in ended:
                if error is not None:
                    raise error
        for report in reports:
            del self._held[report.lease]
        return [True] * len(reports)

    @asynccontextmanager
    async def watch(self, *topics: str) -> AsyncIterator[Subscription]:
        """Be woken when offers have arrived."""
        yield self._hint

    async def close(self) -> None:
        """Nothing: whoever opened the transports closes them."""

    async def _claimed(self, delivery: Delivery, tasks: Mapping[str, int]) -> Claimed | None:
        """Take an offer, unless it is malformed, for other workers, or in hand already."""
        try:
            message = await fetch_data(delivery.message, self._files.get_text)
            offer = read_asked(message)
            known = offer.task in self._tasks and tasks.get(offer.task, 0) >= offer.version
            record = self._record(offer, message) if known else None
        except (MalformedMessage, UnknownFile) as error:
            logger.warning("message %s is no offer that can be read: %s", delivery.message.id, error)
            await _settled(delivery.reject(str(error)), delivery)
            return None
        except (FilesUnavailable, ConfigurationError) as error:
            logger.warning("the input of message %s cannot be read for now: %s", delivery.message.id, error)
            await _settled(delivery.release(RETRY_DELAY), delivery)
            return None
        lease = Lease(offer.job, offer.attempt, offer.token)
        if lease in self._held:  # it came again all the same; only its newest delivery can be extended and acknowledged
            self._held[lease].delivery = delivery
            return None
        if record is None:
            await _settled(self._pass_over(offer, delivery), delivery)
            return None
        self._held[lease] = InFlightJob(offer, delivery)
        return Claimed(record, lease, remaining=offer.timeout, offered=True)

    def _record(self, offer: DispatchedJob, message: Message) -> JobRecord:
        """Make the job of an offer whose input has not been read. Raises `MalformedMessage`."""
        with without_collecting():
            arguments = _arguments(self._tasks[offer.task], read_dispatched(message).input)
        spec = JobSpec(
            id=offer.job, task=offer.task, version=offer.version, arguments=arguments,
            queue=self._queue, key=offer.key, trace=offer.traceparent,
        )  # fmt: skip
        return JobRecord(spec=spec, sequence=0, state=State.RUNNING, attempt=offer.attempt, submitted=time.time())

    async def _pass_over(self, offer: DispatchedJob, delivery: Delivery) -> None:
        """Leave an offer to others; one that has been left by all, as far as can be told, is answered."""
        self._passed[offer.id] += 1  # not every transport counts
        if offer.task in self._tasks or max(self._passed[offer.id], delivery.count) < MAX_DELIVERIES:
            logger.info("job %s (%s) is left to other workers", offer.job, offer.task)
            await delivery.release(RETRY_DELAY)
        else:
            logger.warning("job %s: no worker here knows the task %s, so it fails", offer.job, offer.task)
            await self._replies.refusal(offer, UNKNOWN)
            await delivery.ack()
        if len(self._passed) > MAX_SKIPPED:
            self._passed.clear()

    async def _append(self, append: EventAppend) -> bool:
        held = self._held.get(append.lease)
        if held is None:  # tried again, and its job has ended meanwhile: these went along with the end
            return False
        try:
            await self._replies.events(held.offer, append.ordinal, append.entries)
        except UNSENDABLE as error:
            logger.error("job %s: events of it cannot be sent and are left out: %s", held.offer.job, error)
        return True

    async def _end(self, held: InFlightJob, report: AttemptResult) -> None:
        match report.outcome:
            case Succeeded() | Failed() | Retried() as outcome:
                if not held.replied:
                    await self._reply(held, outcome, report)
                    held.replied = True
                await held.delivery.ack()
            case Cancelled():
                await held.delivery.ack()
            case Released(delay):
                await held.delivery.release(delay)
            case Lost():
                await held.delivery.release()  # as if this worker had died: the transport counts
            case Dispatched():
                await held.delivery.release(RETRY_DELAY)

    async def _reply(self, held: InFlightJob, outcome: Succeeded | Failed | Retried, report: AttemptResult) -> None:
        """Send the end of a job. One that will never be taken is sent as a failure instead."""
        try:
            await self._replies.end(held.offer, outcome, report.ordinal, report.entries)
        except UNSENDABLE as error:
            logger.error("job %s: what it came to cannot be sent: %s", held.offer.job, error)
            await self._replies.refusal(held.offer, UNSENT)


class _Hint:
    """Wakes whoever waits for offers."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    def give(self) -> None:
        self._given.set()

    async def wait(self, timeout: float | None = None) -> bool:
        try:
            await asyncio.wait_for(self._given.wait(), timeout)
        except TimeoutError:
            return False
        self._given.clear()
        return True


def _arguments(task: AnyTask, given: object) -> str:
    """Write an offer's input as the arguments of a task: of a task with one parameter it is the argument, else it holds them."""
    names = task.signature.names
    if len(names) == 1:
        return to_json({names[0]: given}).decode()
    return to_json({} if given is None else given).decode()


async def _settled(ending: Awaitable[None], delivery: Delivery) -> None:
    """Wait until a delivery is out of hand. Where that cannot be said to the transport, it comes again by itself."""
    try:
        await ending
    except TransportError as error:
        logger.warning("message %s comes again: %s", delivery.message.id, error)


@contextmanager
def _as_store() -> Iterator[None]:
    """Say of a transport that is away what a worker expects of a store: it tries again until it is back."""
    try:
        yield
    except TransportUnavailable as error:
        raise StoreUnavailable(str(error)) from error
