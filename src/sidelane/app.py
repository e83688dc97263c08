"""Sidelane: the one object a user makes."""

import importlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, TypeVar, Unpack, cast

from sidelane.callbacks.addresses import Reach
from sidelane.callbacks.delivering import declare_callbacks
from sidelane.callbacks.poster import Poster
from sidelane.callbacks.progress import ProgressTold
from sidelane.callbacks.records import CallbackRecord, callbacks_of, redelivered
from sidelane.callbacks.secrets import Secrets, SecretSource
from sidelane.data.files import Files
from sidelane.engine.batch import Batch
from sidelane.engine.blocking import Blocking
from sidelane.engine.claiming import Share
from sidelane.engine.client import Client
from sidelane.engine.configuration import Configuration, load
from sidelane.engine.declaration import PolicyFields, TaskDecorator, TaskFields, declare
from sidelane.engine.embedding import embedded
from sidelane.engine.handle import Job
from sidelane.engine.holding import declare_file_removal
from sidelane.engine.registry import Around, BodyT, ProblemRule, Registry
from sidelane.engine.resource import Resource, ResourceDecorator, declare_resource
from sidelane.engine.scheduling import Schedules
from sidelane.engine.side import SIDE_QUEUES, check_name, side_share
from sidelane.engine.slots import Slots
from sidelane.engine.task import Call, Task
from sidelane.engine.turns import Turns
from sidelane.engine.worker import Worker
from sidelane.model.errors import ConfigurationError, NotOpen, UnknownQueue
from sidelane.model.queue import DEFAULT_QUEUE, Queue
from sidelane.model.schedule import CatchUp
from sidelane.model.settings import Settings
from sidelane.remote.address import Via
from sidelane.remote.declaration import Decode, Encode, Remote, Way, declare_remote
from sidelane.remote.intake import Intake, Intakes, Requests
from sidelane.remote.listening import listeners
from sidelane.remote.sending import declare_sending
from sidelane.remote.serving import serving
from sidelane.remote.taking import taking
from sidelane.stores.opening import in_memory, open_store, without_password
from sidelane.testing.harness import Harness, harness
from sidelane.transports.address import Address
from sidelane.transports.opening import Transports

In = TypeVar("In")
R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Sidelane:
    """A lane for slow work: declare tasks on it, open it, submit calls, run workers.

        lane = Sidelane(tasks=["shop.tasks"], queues=[Queue("chat"), Queue("gpu", concurrency=1)])

        @lane.task(queue="chat", timeout=180)
        async def answer(question: str) -> AsyncIterator[str]: ...

        async with lane.running(workers=1):
            job = await answer.submit("Why?")
            print(await job.result(timeout=60))

    `tasks` names the modules that declare tasks; they are imported when the lane opens, so that they can import the lane.
    Settings come from `SIDELANE_*`, then `[tool.sidelane]`; `store` and `settings` given here beat both. `secrets`, by name or as a
    function of the name, sign webhooks; `SIDELANE_WEBHOOK_SECRET_<NAME>` are those of the rest. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        *,
        tasks: Sequence[str] = (),
        queues: Sequence[Queue] = (),
        store: str | None = None,
        settings: Mapping[str, Any] | None = None,
        secrets: SecretSource = MappingProxyType({}),
    ) -> None:
        self.configuration: Configuration = load(**{"store": store, **(settings or {})})
        for queue in queues:
            check_name(queue.name)
        self.queues = {queue.name: queue for queue in queues}
        if len(self.queues) < len(queues):
            raise ConfigurationError("Two queues of this lane have the same name.")
        self.queues.setdefault(DEFAULT_QUEUE, Queue(DEFAULT_QUEUE))
        self.registry = Registry()
        self.schedules = Schedules(lambda: self.client)
        self.transports = Transports()
        self.intakes = Intakes()
        self.poster = Poster(Reach.of(self.settings))
        self.secrets = Secrets(secrets)
        self._delivering = declare_callbacks(self, self._own)
        self._progress = ProgressTold(self, self._delivering)
        self.registry.progressed = self._progress.heard
        self._modules = tasks
        self._client: Client | None = None
        self.files = Files(self.settings.files, url=self.settings.files_url, client=lambda: self.client)
        declare_file_removal(self, self._own)
        declare_sending(self, self._own)

    @property
    def settings(self) -> Settings:
        """The settings this lane was made with."""
        return self.configuration.settings

    @property
    def client(self) -> Client:
        """The open store. Raises `NotOpen`."""
        if self._client is None:
            raise NotOpen
        return self._client

    @property
    def task(self) -> TaskDecorator:
        """Register a function as a task: `@lane.task` or `@lane.task(queue=…, timeout=…)`; see `TaskFields`.

        Raises `TaskDeclarationError` on a name that is taken or a policy that cannot be, `UnknownQueue` on a queue that the lane
        does not declare.
        """
        return cast(TaskDecorator, self._task)

    @property
    def dead_letter(self) -> TaskDecorator:
        """Register a task that is told of each job of this lane that fails for good: `@lane.dead_letter`, over a function of one
        argument, `letter: Ended`. It runs as a job of its own, with the policy given as for `task`; its own failures are not told.

        Raises as `task` does, and `TaskDeclarationError` on a second one.
        """
        return cast(TaskDecorator, self._dead_letter)

    def remote(
        self,
        name: str,
        *,
        input: type[In],  # noqa: A002 - what a worker is given
        result: type[R],
        via: Via,
        reply: Address | None = None,
        encode: Encode | None = None,
        decode: Decode | None = None,
        **fields: Unpack[PolicyFields],
    ) -> Remote[In, R]:
        """Register a task that runs elsewhere, over one argument: its jobs are offered to `via` and end by messages of `reply`.

        Without `reply` they end over HTTP, or by `complete`. `encode` and `decode` serve workers with a form of their own. The
        policy is as for `task`; `timeout` bounds the wait for each answer. Raises as `task` does, and `ConfigurationError`.
        """
        way = Way(via=via, reply=reply, encode=encode, decode=decode)
        check_name(name)
        queue = self._queue(name, fields)
        task = declare_remote(self, name, takes=input, gives=result, way=way, fields=fields, queue=queue)
        self.registry.add(task)
        return task

    @property
    def resource(self) -> ResourceDecorator:
        """Declare something that a worker opens and tasks take with `Use`: `@lane.resource`, once per process, or
        `@lane.resource(scope="attempt")`, with each attempt. `exclusive=True`: it can be open only once, such as a model on a GPU,
        so no isolation worker opens it. Raises `TaskDeclarationError`.
        """
        return cast(ResourceDecorator, declare_resource)

    def around(self, wrapper: Callable[..., AsyncIterator[None]]) -> Callable[..., AsyncIterator[None]]:
        """Wrap every attempt: an async generator over its context that yields once, as for tracing or error reports."""
        wrap: Around = asynccontextmanager(wrapper)
        self.registry.arounds.append(wrap)
        return wrapper

    def problem(
        self, *types: type[BaseException], status: int, title: str = "", final: bool = False
    ) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
        """Say which problem clients see when a task raises one of these errors; `final`: without another try.

        As a decorator, the function gives the problem's detail; alone, the error's own words are it.
        """
        return self.registry.add_rule(ProblemRule(types, status, title, final))

    def callback_body(self, function: BodyT) -> BodyT:
        """Let this function make the bodies of callbacks that name it: `Webhook(…, body=function)`.

        It is given how the job ended, an `Ended`, and gives a text, or what JSON can hold; it may be a coroutine function. Workers
        find it by its name. Raises `ConfigurationError` where the name is taken.
        """
        return self.registry.add_body(function)

    def override(self, resource: Resource[T], value: T) -> AbstractContextManager[None]:
        """Give tasks this value in place of a resource, for a test."""
        return self.registry.overriding(resource, value)

    def schedule(
        self,
        name: str,
        call: Call[Any],
        *,
        cron: str | None = None,
        every: float | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "once",
        aliases: Sequence[str] = (),
    ) -> None:
        """Submit a call by itself: at the times of a cron expression in a time zone, or `every` so many seconds.

        Of firings that nobody was there for, `catch_up` makes up for the last ("once"), for each ("all") or for none ("skip").
        `aliases` are names it had before. Raises `ConfigurationError`.
        """
        self.schedules.declare(
            name, call, cron=cron, every=every, timezone=timezone, catch_up=catch_up, aliases=tuple(aliases)
        )

    def intake(self, address: Address, *, name: str | None = None) -> Callable[[Requests], Intake]:
        """Make jobs of the messages that come in at an address: `@lane.intake(Sqs("requests"))` over a function that gives the
        call that a message asks for, or None.

        It is told of each message by every worker of the lane, on its event loop. What it raises as ValueError (pydantic's too),
        TypeError, KeyError or `ArgumentsError` says that the message is malformed. `name` is the function's unless it is given;
        jobs have ids made of it and the message's. Raises `ConfigurationError`.
        """

        return partial(self.intakes.declare, address, name)

    async def submit(self, call: Call[R]) -> Job[R]:
        """Make a call a durable job.

        Raises `NotOpen`, `ArgumentsError`, `PayloadTooLarge`, `LimitReached`, `QueueFull`, `JobConflict`, `StoreUnavailable`.
        """
        return await self.client.submit(call)

    async def submit_many(
        self,
        calls: Iterable[Call[R]],
        *,
        then: Call[Any] | Sequence[Call[Any]] = (),
        id: str | None = None,  # noqa: A002 - named like the option of a call
        user: str | None = None,
        keep: float | None = None,
    ) -> Batch[R]:
        """Submit calls as one batch, whose end submits the calls of `then`; it is kept for `keep` seconds after that.

        `user` is whose the batch is, and whose its calls are that name none. All calls are checked before the first is submitted;
        what the store refuses is listed in the batch, and raised where it refuses all. A repeat with the same `id`, of calls with
        ids, submits what is missing. Raises `NotOpen`, `ArgumentsError`, `PayloadTooLarge`, `LimitReached`, `QueueFull`,
        `JobConflict`, `StoreUnavailable`.
        """
        return await self.client.submit_many(calls, then=then, id=id, user=user, keep=keep)

    def batch(self, batch_id: str) -> Batch[Any]:
        """Give the handle on a batch. Raises `NotOpen`."""
        return self.client.batch(batch_id)

    def job(self, task: Task[..., Any, R], job_id: str) -> Job[R]:
        """Give the typed handle on a job. Raises `NotOpen`."""
        return self.client.job(task, job_id)

    async def callbacks(self, job_id: str) -> list[CallbackRecord]:
        """List the callbacks of a job, with what has become of each. Raises `UnknownJob` or `JobGone`, `NotOpen`."""
        return await callbacks_of(self.client, job_id)

    async def redeliver(self, id: str) -> list[CallbackRecord]:  # noqa: A002 - of either
        """Deliver a callback once more, or all of a job that has ended, now and with all its tries, whatever has become of it.

        Receivers see the same `webhook-id` again. Raises `UnknownJob` or `JobGone`, `NotOpen`.
        """
        return await redelivered(self.client, id)

    def load(self) -> None:
        """Import the modules that declare tasks and check what they declare. Raises `TaskDeclarationError`."""
        for module in self._modules:
            importlib.import_module(module)
        self.registry.check()

    @asynccontextmanager
    async def running(self, *, workers: int = 0) -> AsyncIterator["Sidelane"]:
        """Open the lane, with so many workers in this process; they drain when it closes.

        Raises `ConfigurationError` when it is open already, `StoreUnavailable` and `StoreUnusable`.
        """
        self.load()
        async with AsyncExitStack() as stack:
            client = Client(await open_store(self.settings.store), settings=self.settings, files=self.files)
            stack.push_async_callback(client.close)
            self._close_with(stack)
            for danger in client.store.dangers:
                logger.warning("the store %s may lose jobs: %s", without_password(self.settings.store), danger)
            stack.enter_context(self._opened(client))
            await self.schedules.keep()
            client.start_upkeep()
            for number in range(workers):
                await stack.enter_async_context(embedded(self.worker(name=f"embedded-{number + 1}")))
            yield self

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the lane for as long as a FastAPI application runs: `FastAPI(lifespan=lane.lifespan)`."""
        async with self.running():
            yield

    def worker(
        self,
        *,
        name: str = "worker",
        queues: Mapping[str, int | None] | None = None,
        concurrency: int | None = None,
        strict: bool = False,
        isolated: bool = False,
        exit_when_stuck: bool = False,
    ) -> Worker:
        """Make a worker of the open lane for these queues (None: all), with so many slots (None: as the settings say).

        When it cannot serve all its queues, it does so by their weights, or `strict`ly one before the next in the order given.
        `isolated`: it has one slot, for isolated jobs only, and its drain takes as long as the job in hand; workers start these
        themselves, each in a process of its own.
        Raises `UnknownQueue`, `NotOpen`.
        """
        wanted = dict.fromkeys(self.queues) if queues is None else queues
        for queue in wanted:
            if queue not in self.queues:
                raise UnknownQueue(f"There is no queue {queue!r}; this lane declares {', '.join(self.queues)}.")
        if in_memory(self.settings.store):
            raise ConfigurationError(
                "A store in memory belongs to one connection, and a worker needs two. Give the lane a file, or use lane.testing()."
            )
        slots = 1 if isolated else concurrency or self.settings.concurrency
        changed = {"concurrency": slots, **({"drain": math.inf} if isolated else {})}
        share = replace(self._share(wanted, slots, strict=strict), isolated=isolated)
        return Worker(
            self.client.store,
            open_source=lambda: open_store(self.settings.store),
            registry=self.registry,
            settings=self.settings.model_copy(update=changed),
            submitter=self.client,
            shares=[share] if isolated else [share, side_share()],
            name=name,
            attendants=[] if isolated else [*listeners(self), *taking(self)],
            exit_when_stuck=exit_when_stuck or isolated,
        )

    @asynccontextmanager
    async def serving(
        self,
        *,
        offers: Address,
        replies: Address,
        name: str = "serve",
        concurrency: int | None = None,
        exit_when_stuck: bool = False,
    ) -> AsyncIterator[Worker]:
        """Give a worker for a machine without access to the store: it takes offers of jobs and sends replies.

        It is run in the block: `async with lane.serving(offers=…, replies=…) as worker: await worker.run()`. The lane itself need
        not be open. Raises `ConfigurationError`, `TransportUnavailable` and `TransportUnusable`.
        """
        self.load()
        settings = self.settings.model_copy(update={"concurrency": concurrency or self.settings.concurrency})
        async with AsyncExitStack() as stack:
            transports = Transports()
            stack.push_async_callback(transports.close)
            stack.push_async_callback(self.files.close)
            worker = serving(
                offers, replies, transports, files=self.files, registry=self.registry, settings=settings, name=name,
                exit_when_stuck=exit_when_stuck,
            )  # fmt: skip
            yield await stack.enter_async_context(worker)

    def blocking(self) -> Blocking:
        """Open the lane for code without an event loop: `with lane.blocking() as b: b.result(b.submit(call))`."""
        return Blocking(self.running, lambda: self.client)

    @asynccontextmanager
    async def testing(self) -> AsyncIterator[Harness]:
        """Open the lane on a store in memory with a clock turned by hand, and its files in a folder that goes, for tests."""
        self.load()
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="sidelane-files-"))
            stack.enter_context(self.files.kept_in(folder))
            opened = await stack.enter_async_context(
                harness(self.registry, self.settings, self.files, preview=self._delivering.preview)
            )
            self._close_with(stack)
            stack.enter_context(self._opened(opened.client))
            await self.schedules.keep()
            yield opened

    def _share(self, wanted: Mapping[str, int | None], slots: int, *, strict: bool) -> Share:
        """Give the share of a worker that serves these queues."""
        queues = {name: limit or self.queues[name].concurrency for name, limit in wanted.items()}
        return Share(Slots(slots, queues), Turns({name: self.queues[name].weight for name in wanted}, strict=strict))

    def _task(self, function: Callable[..., Any] | None = None, /, **fields: Unpack[TaskFields]) -> Any:
        if function is None:
            return lambda function: self._task(function, **fields)
        name = fields.get("name") or function.__name__
        check_name(name)
        queue = self._queue(name, fields)
        task = declare(function, fields, lane=self, queue=queue, settings=self.settings)
        self.registry.add(task)
        return task

    def _queue(self, task: str, fields: PolicyFields) -> Queue:
        """Find the queue that a task is declared for. Raises `UnknownQueue`."""
        name = fields.get("queue", DEFAULT_QUEUE)
        if name not in self.queues:
            raise UnknownQueue(
                f"Task {task!r} wants queue {name!r}; this lane declares {', '.join(self.queues)}. "
                f"Add Queue({name!r}) to its queues."
            )
        return self.queues[name]

    def _own(self, function: Callable[..., Any], **fields: Unpack[TaskFields]) -> Task[..., Any, Any]:
        """Register a task of Sidelane's own, which does side work."""
        task = declare(function, fields, lane=self, queue=SIDE_QUEUES[fields["queue"]], settings=self.settings)
        self.registry.add(task)
        return task

    def _dead_letter(self, function: Callable[..., Any] | None = None, /, **fields: Unpack[TaskFields]) -> Any:
        if function is None:
            return lambda function: self._dead_letter(function, **fields)
        task = self._task(function, **fields)
        self.registry.add_hook(task)
        return task

    def _close_with(self, stack: AsyncExitStack) -> None:
        """Close with the lane what its side work has opened."""
        for close in (self.transports.close, self.poster.close, self._progress.close):
            stack.push_async_callback(close)

    @contextmanager
    def _opened(self, client: Client) -> Iterator[None]:
        """Be open with this client. Raises `ConfigurationError` when the lane is open already."""
        if self._client is not None:
            raise ConfigurationError("This lane is open already in this process.")
        self._client = client
        try:
            yield
        finally:
            self._client = None
