"""Serving: a worker for machines without access to the store, which takes its jobs as messages and answers with messages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

from sidelane.data.files import Files
from sidelane.engine.claiming import Share
from sidelane.engine.pulse import BEATS
from sidelane.engine.registry import AnyTask, Registry
from sidelane.engine.side import users
from sidelane.engine.slots import Slots
from sidelane.engine.task import Task
from sidelane.engine.turns import Turns
from sidelane.engine.worker import Worker
from sidelane.model.errors import NotOpen, StoreUnavailable
from sidelane.model.job import JobSpec, Lease, Submission
from sidelane.model.outcome import Verdict
from sidelane.model.settings import Settings
from sidelane.model.worker import WorkerInfo
from sidelane.remote.offers import OfferSource
from sidelane.remote.receiving import check_receives, check_sends
from sidelane.remote.replying import Replies
from sidelane.stores.contract import Wakeups
from sidelane.transports.address import Address
from sidelane.transports.opening import Transports

R = TypeVar("R")

NO_STORE = (
    "This worker takes offers and has no store, so its tasks can submit nothing. Let whoever made the offer do it: as then=…, or "
    "by the task's result."
)

NEVER = 86_400.0


@asynccontextmanager
async def serving(
    offers: Address,
    replies: Address,
    transports: Transports,
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
    check_receives(offers)
    check_sends(replies)
    queue, sender = str(offers), await transports.to(replies)
    answers = Replies(sender, files)
    async with (await transports.to(offers)).receiving(hold=settings.lease) as receiver:
        limit = min(settings.payload_limit, answers.most or settings.payload_limit)
        source = OfferSource(receiver, answers, queue=queue, tasks=_servable(registry), files=files)
        loop = asyncio.get_running_loop()

        async def beats() -> Beats:
            return Beats(source, loop)

        yield Worker(
            source,
            open_source=beats,
            registry=registry,
            settings=settings.model_copy(update={"payload_limit": limit}),
            submitter=NoStore(),
            shares=[Share(Slots(settings.concurrency, {queue: None}), Turns({queue: 1}))],
            name=name,
            attendants=[source],
            exit_when_stuck=exit_when_stuck,
        )


def _servable(registry: Registry) -> dict[str, AnyTask]:
    """Give the tasks that an offer may name: the users' own that run here."""
    return {name: task for name, task in users(registry.tasks).items() if task.mode != "remote"}


class Beats:
    """What the heartbeat's thread speaks to: the same source, which lives on the main loop, for there are its deliveries.

    A main loop that is stuck extends nothing, so that what it holds is given to others.
    """

    def __init__(self, source: OfferSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[Verdict]:
        beat = asyncio.run_coroutine_threadsafe(self._source.heartbeat(worker, leases, lease=lease), self._loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(beat), lease / BEATS)
        except TimeoutError as error:
            raise StoreUnavailable("The offers in hand could not be extended in time.") from error

    @asynccontextmanager
    async def watch(self, *topics: str) -> AsyncIterator[Wakeups]:
        yield _NoHints()

    async def close(self) -> None: ...


class _NoHints:
    """The hints of a source that gives none: nobody tells this worker that a job of its was cancelled."""

    async def wait(self, timeout: float | None = None) -> bool:
        await asyncio.sleep(NEVER if timeout is None else timeout)
        return False


class NoStore:
    """What tasks find where they expect the open lane."""

    @property
    def store(self) -> NoReturn:
        raise NotOpen(NO_STORE)

    async def submit_spec(self, spec: JobSpec) -> Submission:
        raise NotOpen(NO_STORE)

    async def keep_files(self, spec: JobSpec, text: str) -> None:
        """Nothing: whoever made the offer keeps the files that the reply names."""

    def job(self, task: Task[..., Any, R], job_id: str, *, created: bool = True) -> NoReturn:
        raise NotOpen(NO_STORE)
