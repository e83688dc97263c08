"""Sidelane: the one object a user makes."""

import importlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, Unpack, cast

from sidelane.callbacks.delivery import declare_callbacks
from sidelane.callbacks.http_client import WebhookClient
from sidelane.callbacks.progress import ProgressNotifier
from sidelane.callbacks.signing import Secrets, SecretSource
from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.status import CallbackRecord, callbacks_of, redeliver_callbacks
from sidelane.client.batch import Batch
from sidelane.client.client import Client
from sidelane.client.file_references import declare_file_removal
from sidelane.client.schedules import Schedules
from sidelane.client.sync_client import SyncClient
from sidelane.configuration import Configuration, load_settings
from sidelane.consumers.consumer import Consumer, ConsumerRegistry, MessageHandler
from sidelane.consumers.receiver import message_receivers
from sidelane.external.completion import CompletionHandler
from sidelane.external.dispatch import declare_dispatch
from sidelane.external.reply_receiver import reply_receivers
from sidelane.external.task import DecodeResult, EncodeInput, ExternalTask, Routing, make_external_task
from sidelane.model.errors import ConfigurationError, UnknownQueue
from sidelane.model.queue import DEFAULT_QUEUE, Queue
from sidelane.model.schedule import CatchUp
from sidelane.model.settings import Settings
from sidelane.remote_worker.worker import message_worker
from sidelane.services import Services
from sidelane.stores.factory import is_in_memory, open_store, redact_url
from sidelane.tasks.decorator import PolicyOptions, TaskDecorator, TaskOptions, make_task
from sidelane.tasks.internal_queues import check_not_internal
from sidelane.tasks.job import Job
from sidelane.tasks.registry import Middleware, PayloadBuilderT, ProblemRule
from sidelane.tasks.resources import Resource, ResourceDecorator, declare_resource
from sidelane.tasks.task import Call, Task
from sidelane.transports.contract import Endpoint
from sidelane.transports.factory import TransportPool
from sidelane.worker.capacity import QueueShare, WeightedQueues, WorkerCapacity, internal_share
from sidelane.worker.worker import BackgroundService, Worker, run_in_background

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
        self.configuration: Configuration = load_settings(**{"store": store, **(settings or {})})
        for queue in queues:
            check_not_internal(queue.name)
        self.queues = {queue.name: queue for queue in queues}
        if len(self.queues) < len(queues):
            raise ConfigurationError("Two queues of this lane have the same name.")
        self.queues.setdefault(DEFAULT_QUEUE, Queue(DEFAULT_QUEUE))
        self.services = Services(self.settings)
        self.registry, self.files = self.services.registry, self.services.files
        self.schedules = Schedules(lambda: self.client)
        self.consumers = ConsumerRegistry()
        self._modules = tasks
        self._webhooks = WebhookClient(AddressPolicy.of(self.settings))
        known_secrets = Secrets(secrets)
        self.callback_delivery = declare_callbacks(self, self.services, self._webhooks, known_secrets)
        self._progress = ProgressNotifier(self.services, self.callback_delivery)
        self.completions = CompletionHandler(self.services, on_progress=self._progress.on_progress)
        declare_dispatch(self, self.services, self._webhooks, known_secrets)
        declare_file_removal(self)

    @property
    def settings(self) -> Settings:
        """The settings this lane was made with."""
        return self.configuration.settings

    @property
    def client(self) -> Client:
        """The open store. Raises `LaneNotOpen`."""
        return self.services.client

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

    def external_task(
        self,
        name: str,
        *,
        input: type[In],  # noqa: A002 - what a worker is given
        result: type[R],
        send_to: Endpoint,
        replies_from: Endpoint | None = None,
        encode: EncodeInput | None = None,
        decode: DecodeResult | None = None,
        **fields: Unpack[PolicyOptions],
    ) -> ExternalTask[In, R]:
        """Register a task that runs elsewhere, over one argument: its jobs are offered to `via` and end by messages of `reply`.

        Without `reply` they end over HTTP, or by `complete`. `encode` and `decode` serve workers with a form of their own. The
        policy is as for `task`; `timeout` bounds the wait for each answer. Raises as `task` does, and `ConfigurationError`.
        """
        routing = Routing(send_to=send_to, replies_from=replies_from, encode=encode, decode=decode)
        check_not_internal(name)
        queue = self._queue(name, fields)
        task = make_external_task(
            self, self.completions, name, takes=input, gives=result, routing=routing, fields=fields, queue=queue
        )
        self.registry.add(task)
        return task

    @property
    def resource(self) -> ResourceDecorator:
        """Declare something that a worker opens and tasks take with `Use`: `@lane.resource`, once per process, or
        `@lane.resource(scope="attempt")`, with each attempt. `exclusive=True`: it can be open only once, such as a model on a GPU,
        so no isolation worker opens it. Raises `TaskDeclarationError`.
        """
        return cast(ResourceDecorator, declare_resource)

    def middleware(self, wrapper: Callable[..., AsyncIterator[None]]) -> Callable[..., AsyncIterator[None]]:
        """Wrap every attempt: an async generator over its context that yields once, as for tracing or error reports."""
        wrap: Middleware = asynccontextmanager(wrapper)
        self.registry.middleware.append(wrap)
        return wrapper

    def problem(
        self, *types: type[BaseException], status: int, title: str = "", final: bool = False
    ) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
        """Say which problem clients see when a task raises one of these errors; `final`: without another try.

        As a decorator, the function gives the problem's detail; alone, the error's own words are it.
        """
        return self.registry.add_rule(ProblemRule(types, status, title, final))

    def callback_payload(self, function: PayloadBuilderT) -> PayloadBuilderT:
        """Let this function make the bodies of callbacks that name it: `Webhook(…, body=function)`.

        It is given how the job ended, an `Ended`, and gives a text, or what JSON can hold; it may be a coroutine function. Workers
        find it by its name. Raises `ConfigurationError` where the name is taken.
        """
        return self.registry.add_payload_builder(function)

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

    def consumer(self, address: Endpoint, *, name: str | None = None) -> Callable[[MessageHandler], Consumer]:
        """Make jobs of the messages that come in at an address: `@lane.intake(Sqs("requests"))` over a function that gives the
        call that a message asks for, or None.

        It is told of each message by every worker of the lane, on its event loop. What it raises as ValueError (pydantic's too),
        TypeError, KeyError or `ArgumentsError` says that the message is malformed. `name` is the function's unless it is given;
        jobs have ids made of it and the message's. Raises `ConfigurationError`.
        """

        return partial(self.consumers.declare, address, name)

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
        retention: float | None = None,
    ) -> Batch[R]:
        """Submit calls as one batch, whose end submits the calls of `then`; it is kept for `retention` seconds after that.

        `user` is whose the batch is, and whose its calls are that name none. All calls are checked before the first is submitted;
        what the store refuses is listed in the batch, and raised where it refuses all. A repeat with the same `id`, of calls with
        ids, submits what is missing. Raises `NotOpen`, `ArgumentsError`, `PayloadTooLarge`, `LimitReached`, `QueueFull`,
        `JobConflict`, `StoreUnavailable`.
        """
        return await self.client.submit_many(calls, then=then, id=id, user=user, retention=retention)

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
        return await redeliver_callbacks(self.client, id)

    def load(self) -> None:
        """Import the modules that declare tasks and check what they declare. Raises `TaskDeclarationError`."""
        for module in self._modules:
            importlib.import_module(module)
        self.registry.check()

    @asynccontextmanager
    async def open(self, *, workers: int = 0) -> AsyncIterator["Sidelane"]:
        """Open the lane, with so many workers in this process; they drain when it closes.

        Raises `ConfigurationError` when it is open already, `StoreUnavailable` and `StoreUnusable`.
        """
        self.load()
        async with AsyncExitStack() as stack:
            client = Client(await open_store(self.settings.store), settings=self.settings, files=self.files)
            stack.push_async_callback(client.close)
            for danger in client.store.durability_warnings:
                logger.warning("the store %s may lose jobs: %s", redact_url(self.settings.store), danger)
            await stack.enter_async_context(self.opened_with(client))
            client.start_maintenance()
            for number in range(workers):
                await stack.enter_async_context(run_in_background(self.worker(name=f"embedded-{number + 1}")))
            yield self

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the lane for as long as a FastAPI application runs: `FastAPI(lifespan=lane.lifespan)`."""
        async with self.open():
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
        if is_in_memory(self.settings.store):
            raise ConfigurationError(
                "A store in memory belongs to one connection, and a worker needs two. Give the lane a file, or use "
                "sidelane.testing.harness(lane)."
            )
        slots = 1 if isolated else concurrency or self.settings.concurrency
        changed = {"concurrency": slots, **({"shutdown_timeout": math.inf} if isolated else {})}
        share = replace(self._share(wanted, slots, strict=strict), isolated=isolated)
        return Worker(
            self.client.store,
            open_source=lambda: open_store(self.settings.store),
            registry=self.registry,
            settings=self.settings.model_copy(update=changed),
            client=self.client,
            shares=[share] if isolated else [share, internal_share()],
            name=name,
            background_services=[] if isolated else self._receivers(),
            on_progress=self._progress.on_progress,
            exit_when_stuck=exit_when_stuck or isolated,
        )

    @asynccontextmanager
    async def remote_worker(
        self,
        *,
        receive_from: Endpoint,
        reply_to: Endpoint,
        name: str = "serve",
        concurrency: int | None = None,
        exit_when_stuck: bool = False,
    ) -> AsyncIterator[Worker]:
        """Give a worker for a machine without access to the store: it takes offers of jobs and sends replies.

        Run it in the block: `async with lane.remote_worker(receive_from=…, reply_to=…) as worker: await worker.run()`. The
        lane itself need not be open. Raises `ConfigurationError`, `TransportUnavailable` and `TransportMisconfigured`.
        """
        self.load()
        settings = self.settings.model_copy(update={"concurrency": concurrency or self.settings.concurrency})
        async with AsyncExitStack() as stack:
            transports = TransportPool()
            stack.push_async_callback(transports.close)
            stack.push_async_callback(self.files.close)
            worker = message_worker(
                receive_from, reply_to, transports, files=self.files, registry=self.registry, settings=settings, name=name,
                exit_when_stuck=exit_when_stuck,
            )  # fmt: skip
            yield await stack.enter_async_context(worker)

    def sync_client(self) -> SyncClient:
        """Open the lane for code without an event loop: `with lane.blocking() as b: b.result(b.submit(call))`."""
        return SyncClient(self.open, lambda: self.client)

    @asynccontextmanager
    async def opened_with(self, client: Client) -> AsyncIterator[None]:
        """Use a client that is open already, for as long as the block. Raises `ConfigurationError` if the lane is open."""
        with self.services.use(client):
            async with AsyncExitStack() as stack:
                for close in (self.services.transports.close, self._webhooks.close, self._progress.close):
                    stack.push_async_callback(close)
                await self.schedules.save()
                yield

    def _share(self, wanted: Mapping[str, int | None], slots: int, *, strict: bool) -> QueueShare:
        """Give the share of a worker that serves these queues."""
        queues = {name: limit or self.queues[name].worker_concurrency for name, limit in wanted.items()}
        return QueueShare(
            WorkerCapacity(slots, queues),
            WeightedQueues({name: self.queues[name].weight for name in wanted}, strict=strict),
        )

    def _task(self, function: Callable[..., Any] | None = None, /, **fields: Unpack[TaskOptions]) -> Any:
        if function is None:
            return lambda function: self._task(function, **fields)
        name = fields.get("name") or function.__name__
        check_not_internal(name)
        queue = self._queue(name, fields)
        task = make_task(function, fields, lane=self, queue=queue)
        self.registry.add(task)
        return task

    def _queue(self, task: str, fields: PolicyOptions) -> Queue:
        """Find the queue that a task is declared for. Raises `UnknownQueue`."""
        name = fields.get("queue", DEFAULT_QUEUE)
        if name not in self.queues:
            raise UnknownQueue(
                f"Task {task!r} wants queue {name!r}; this lane declares {', '.join(self.queues)}. "
                f"Add Queue({name!r}) to its queues."
            )
        return self.queues[name]

    def _receivers(self) -> list[BackgroundService]:
        """Make what receives replies and consumed messages beside the jobs of a worker."""
        return [*reply_receivers(self.services, self.completions), *message_receivers(self.consumers, self.services)]

    def _dead_letter(self, function: Callable[..., Any] | None = None, /, **fields: Unpack[TaskOptions]) -> Any:
        if function is None:
            return lambda function: self._dead_letter(function, **fields)
        task = self._task(function, **fields)
        self.registry.set_dead_letter_handler(task)
        return task
