"""Remote worker: runs jobs on a machine without access to the store; receives them as messages and replies with messages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

from sidelane.files.files import Files
from sidelane.model.errors import LaneNotOpen, StoreUnavailable
from sidelane.model.job import JobSpec, Lease, Submission
from sidelane.model.outcome import AttemptResult, LeaseStatus
from sidelane.model.settings import Settings
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.model.worker import WorkerInfo
from sidelane.model.worker_request import Instructions
from sidelane.remote_worker.replies import ReplySender
from sidelane.remote_worker.source import MessageJobSource
from sidelane.stores.contract import Subscription
from sidelane.tasks.internal_queues import without_internal
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.tasks.task import Task
from sidelane.telemetry.port import Telemetry
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import require_receivable, require_sendable
from sidelane.transports.factory import TransportPool
from sidelane.worker.capacity import QueueShare, WeightedQueues, WorkerCapacity
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE
from sidelane.worker.worker import Worker

R = TypeVar("R")

NO_STORE = (
    "This remote worker has no store, so its tasks cannot submit jobs. Submit them where the store is: with then=…, or from the "
    "task's result."
)

NEVER = 86_400.0


@asynccontextmanager
async def message_worker(
    receive_from: Endpoint,
    reply_to: Endpoint,
    transports: TransportPool,
    *,
    files: Files,
    registry: Registry,
    settings: Settings,
    name: str,
    exit_when_stuck: bool,
) -> AsyncIterator[Worker]:
    """Return a worker that receives jobs and sends replies. Run it within the context.

    If a worker extends no delivery for `lease_duration` seconds, its jobs are delivered again. Raises `ConfigurationError`,
    `TransportUnavailable` or `TransportMisconfigured`.
    """
    require_receivable(receive_from)
    require_sendable(reply_to)
    queue = str(receive_from)
    replies = ReplySender(await transports.get(reply_to), files)
    transport = await transports.get(receive_from)
    async with transport.open_receiver(visibility_timeout=settings.lease_duration) as receiver:
        limit = min(settings.payload_limit, replies.max_result_size or settings.payload_limit)
        source = MessageJobSource(receiver, replies, queue=queue, tasks=_runnable_tasks(registry), files=files)
        loop = asyncio.get_running_loop()

        async def open_heartbeat() -> CrossLoopHeartbeat:
            return CrossLoopHeartbeat(source, loop)

        yield Worker(
            source,
            open_source=open_heartbeat,
            registry=registry,
            settings=settings.model_copy(update={"payload_limit": limit}),
            client=NullClient(registry, transports.telemetry),
            shares=[QueueShare(WorkerCapacity(settings.concurrency, {queue: None}), WeightedQueues({queue: 1}))],
            name=name,
            background_services=lambda worker: [source],
            exit_when_stuck=exit_when_stuck,
        )


def _runnable_tasks(registry: Registry) -> dict[str, AnyTask]:
    """Return the tasks that a remote worker runs, without internal and external tasks."""
    return {name: task for name, task in without_internal(registry.tasks).items() if task.mode != "remote"}


class CrossLoopHeartbeat:
    """Heartbeat that the heartbeat thread runs on the main loop, because the deliveries belong to that loop.

    If the main loop is blocked, no delivery is extended, so that its jobs are delivered to other workers.
    """

    def __init__(self, source: MessageJobSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        result = asyncio.run_coroutine_threadsafe(self._source.heartbeat(worker, leases, lease=lease), self._loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(result), lease / HEARTBEATS_PER_LEASE)
        except TimeoutError as error:
            raise StoreUnavailable("The jobs in flight could not be extended in time.") from error

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        """Do nothing, because a main loop that is stuck cannot release deliveries, and they are delivered again anyway."""
        return [False] * len(reports)

    async def read_values(self, names: Sequence[str]) -> list[VersionedValue | None]:
        """Return nothing, because requests for stacks do not reach a remote worker."""
        return [None] * len(names)

    async def set_value(self, change: ValueChange) -> bool:
        return False

    @asynccontextmanager
    async def watch(self, *topics: str) -> AsyncIterator[Subscription]:
        yield NullSubscription()

    async def close(self) -> None: ...


class NullSubscription:
    """Subscription without notifications, because cancellations do not reach a remote worker."""

    async def wait(self, timeout: float | None = None) -> bool:
        await asyncio.sleep(NEVER if timeout is None else timeout)
        return False


class NullClient:
    """Client of tasks on a machine without a store. This client cannot submit jobs."""

    def __init__(self, registry: Registry, telemetry: Telemetry) -> None:
        self.registry = registry
        self.telemetry = telemetry

    @property
    def store(self) -> NoReturn:
        raise LaneNotOpen(NO_STORE)

    async def submit_spec(self, spec: JobSpec) -> Submission:
        raise LaneNotOpen(NO_STORE)

    async def keep_files(self, spec: JobSpec, text: str) -> None:
        """Do nothing, because the lane that dispatched the job keeps the files that the reply names."""

    async def follow_instructions(self, worker_id: str, on_read: Callable[[Instructions], None]) -> None:
        """Report that nothing is paused, because the lane that dispatches the jobs knows the pauses."""
        on_read(Instructions())

    def job(self, task: Task[..., Any, R], job_id: str, *, created: bool = True) -> NoReturn:
        raise LaneNotOpen(NO_STORE)
