"""Serving: a worker for machines without access to the store, which takes its jobs as messages and answers with messages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

from sidelane.files.files import Files
from sidelane.model.errors import LaneNotOpen, StoreUnavailable
from sidelane.model.job import JobSpec, Lease, Submission
from sidelane.model.outcome import LeaseStatus
from sidelane.model.settings import Settings
from sidelane.model.worker import WorkerInfo
from sidelane.remote_worker.replies import ReplySender
from sidelane.remote_worker.source import MessageJobSource
from sidelane.stores.contract import Subscription
from sidelane.tasks.internal_queues import without_internal
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.tasks.task import Task
from sidelane.transports.endpoints import Address
from sidelane.transports.factory import TransportPool
from sidelane.transports.receive_loop import require_receivable, require_sendable
from sidelane.worker.capacity import QueueShare, WeightedQueues, WorkerCapacity
from sidelane.worker.heartbeat import HEARTBEATS_PER_LEASE
from sidelane.worker.worker import Worker

R = TypeVar("R")

NO_STORE = (
    "This worker takes offers and has no store, so its tasks can submit nothing. Let whoever made the offer do it: as then=…, or "
    "by the task's result."
)

NEVER = 86_400.0


@asynccontextmanager
async def message_worker(
    offers: Address,
    replies: Address,
    transports: TransportPool,
    *,
    files: Files,
    registry: Registry,
    settings: Settings,
    name: str,
    exit_when_stuck: bool,
) -> AsyncIterator[Worker]:
    """Make a worker that takes offers and sends replies, to be run within the block.

    A silent worker keeps its offers for as long as the setting `lease` says. Raises `ConfigurationError`, `TransportUnavailable`
    and `TransportUnusable`.
    """
    require_receivable(offers)
    require_sendable(replies)
    queue, sender = str(offers), await transports.to(replies)
    answers = ReplySender(sender, files)
    async with (await transports.to(offers)).receiving(hold=settings.lease_duration) as receiver:
        limit = min(settings.payload_limit, answers.most or settings.payload_limit)
        source = MessageJobSource(receiver, answers, queue=queue, tasks=_servable(registry), files=files)
        loop = asyncio.get_running_loop()

        async def beats() -> CrossLoopHeartbeat:
            return CrossLoopHeartbeat(source, loop)

        yield Worker(
            source,
            open_source=beats,
            registry=registry,
            settings=settings.model_copy(update={"payload_limit": limit}),
            client=NullClient(),
            shares=[QueueShare(WorkerCapacity(settings.concurrency, {queue: None}), WeightedQueues({queue: 1}))],
            name=name,
            background_services=[source],
            exit_when_stuck=exit_when_stuck,
        )


def _servable(registry: Registry) -> dict[str, AnyTask]:
    """Give the tasks that an offer may name: the users' own that run here."""
    return {name: task for name, task in without_internal(registry.tasks).items() if task.mode != "remote"}


class CrossLoopHeartbeat:
    """What the heartbeat's thread speaks to: the same source, which lives on the main loop, for there are its deliveries.

    A main loop that is stuck extends nothing, so that what it holds is given to others.
    """

    def __init__(self, source: MessageJobSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        beat = asyncio.run_coroutine_threadsafe(self._source.heartbeat(worker, leases, lease=lease), self._loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(beat), lease / HEARTBEATS_PER_LEASE)
        except TimeoutError as error:
            raise StoreUnavailable("The offers in hand could not be extended in time.") from error

    @asynccontextmanager
    async def watch(self, *topics: str) -> AsyncIterator[Subscription]:
        yield _NoHints()

    async def close(self) -> None: ...


class _NoHints:
    """The hints of a source that gives none: nobody tells this worker that a job of its was cancelled."""

    async def wait(self, timeout: float | None = None) -> bool:
        await asyncio.sleep(NEVER if timeout is None else timeout)
        return False


class NullClient:
    """What tasks find where they expect the open lane."""

    @property
    def store(self) -> NoReturn:
        raise LaneNotOpen(NO_STORE)

    async def submit_spec(self, spec: JobSpec) -> Submission:
        raise LaneNotOpen(NO_STORE)

    async def keep_files(self, spec: JobSpec, text: str) -> None:
        """Nothing: whoever made the offer keeps the files that the reply names."""

    def job(self, task: Task[..., Any, R], job_id: str, *, created: bool = True) -> NoReturn:
        raise LaneNotOpen(NO_STORE)
