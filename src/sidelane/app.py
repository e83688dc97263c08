"""Sidelane: the object that a project declares once."""

import importlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
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
from sidelane.client.batch_handle import Batch
from sidelane.client.bulk_actions import declare_bulk_actions
from sidelane.client.client import Client
from sidelane.client.declarations import save_declarations
from sidelane.client.file_references import declare_file_removal
from sidelane.client.load_recorder import LoadRecorder
from sidelane.client.schedules import Schedules
from sidelane.client.sync_client import SyncClient
from sidelane.configuration import Configuration, load_settings
from sidelane.consumers.consumer import Consumer, MessageHandler
from sidelane.consumers.receiver import message_receivers
from sidelane.consumers.registry import ConsumerRegistry
from sidelane.exporters.tracing import tracing
from sidelane.external.completion import CompletionHandler
from sidelane.external.dispatch import declare_dispatch
from sidelane.external.reply_receiver import reply_receivers
from sidelane.external.task import DecodeResult, EncodeInput, ExternalTask, Routing, make_external_task
from sidelane.lane_context import LaneContext
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.errors import ConfigurationError
from sidelane.model.queue import Queue
from sidelane.model.schedule import CatchUp
from sidelane.model.settings import Settings
from sidelane.remote_worker.worker import message_worker
from sidelane.services import Services
from sidelane.stores.factory import is_in_memory, open_store, redact_url
from sidelane.tasks.declared_queues import queue_of, queues_by_name, selected_queues
from sidelane.tasks.decorator import TaskDecorator, make_task
from sidelane.tasks.job import Job
from sidelane.tasks.registry import PayloadBuilderT, ProblemRule
from sidelane.tasks.resources import Resource, ResourceDecorator, declare_resource
from sidelane.tasks.task import Call, Task
from sidelane.tasks.task_options import PolicyOptions, TaskOptions, check_task_options
from sidelane.transports.contract import Endpoint
from sidelane.transports.factory import TransportPool
from sidelane.worker.capacity import QueueShare, WeightedQueues, WorkerCapacity, internal_share
from sidelane.worker.worker import BackgroundService, Worker, run_in_background

In = TypeVar("In")
R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Sidelane:
    """A lane for slow work. Declare tasks, open the lane, submit calls and run workers.

        lane = Sidelane(tasks=["shop.tasks"], queues=[Queue("chat"), Queue("gpu", worker_concurrency=1)])

        @lane.task(queue="chat", timeout=180)
        async def answer(question: str) -> AsyncIterator[str]: ...

        async with lane.open(workers=1):
            job = await answer.submit("Why?")
            print(await job.result(timeout=60))

    `tasks` names the modules that declare tasks. These modules are imported when the lane opens, so that they can import the lane.
    Settings come from `SIDELANE_*`, then `[tool.sidelane]`; the arguments `store` and `settings` override both. `secrets`, a
    mapping or a function of a name, sign webhooks; other secrets come from `SIDELANE_WEBHOOK_SECRET_<NAME>`. Raises
    `ConfigurationError`.
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
        self.queues, self._modules = queues_by_name(queues), tasks
        self.services = services = Services(self.settings)
        self.registry, self.files, self.telemetry = services.registry, services.files, services.telemetry
        self.schedules = Schedules(lambda: self.client, self.registry)
        self.consumers = ConsumerRegistry(self, lambda: self.client)
        self._opener: Opener = _open
        self._webhooks = WebhookClient(AddressPolicy.of(self.settings), telemetry=self.telemetry)
        all_secrets = Secrets(secrets)
        self.callback_delivery = declare_callbacks(self, self.services, self._webhooks, all_secrets)
        self.progress_notifier = ProgressNotifier(self.services, self.callback_delivery)
        self.completions = CompletionHandler(self.services, on_progress=self.progress_notifier.on_progress)
        declare_dispatch(self, self.services, self._webhooks, all_secrets)
        declare_file_removal(self)
        declare_bulk_actions(self, lambda: self.client.store)

    @property
    def settings(self) -> Settings:
        """The settings of this lane."""
        return self.configuration.settings

    @property
    def client(self) -> Client:
        """The client of the open store. Raises `LaneNotOpen`."""
        return self.services.client

    @property
    def task(self) -> TaskDecorator:
        """Register a function as a task: `@lane.task` or `@lane.task(queue=…, timeout=…)`; see `TaskOptions`.

        Raises `TaskDeclarationError` if the name is taken or the policy is invalid, and `UnknownQueue` if its queue is undeclared.
        """
        return cast(TaskDecorator, partial(_declare_task, self))

    @property
    def dead_letter(self) -> TaskDecorator:
        """Register the task that runs for each permanently failed job. Write `@lane.dead_letter` over a function of one argument,
        `letter: FinishedJob`. The task runs as a separate job, with a policy as for `task`. The task's own failures do not run it
        again. Raises the errors of `task`, and `TaskDeclarationError` if the lane already has such a task.
        """
        return cast(TaskDecorator, partial(_declare_dead_letter, self))

    def external_task(
        self,
        name: str,
        *,
        input: type[In],  # noqa: A002 - the name of its one argument
        result: type[R],
        send_to: Endpoint,
        replies_from: Endpoint | None = None,
        encode: EncodeInput | None = None,
        decode: DecodeResult | None = None,
        **fields: Unpack[PolicyOptions],
    ) -> ExternalTask[In, R]:
        """Register a task of one argument that runs elsewhere. Jobs are sent to `send_to`; messages from `replies_from` end them.

        Without `replies_from`, jobs end over HTTP or by `complete`. `encode` and `decode` convert messages for workers with a
        different format. The policy is as for `task`; `timeout` bounds the wait for each reply. Raises the errors of
        `task`, and `ConfigurationError` if jobs of the task could not be completed.
        """
        routing = Routing(send_to=send_to, replies_from=replies_from, encode=encode, decode=decode)
        check_task_options(name, fields, external=True)
        queue = queue_of(self.queues, name, fields)
        task = make_external_task(
            self, self.completions, name, takes=input, gives=result, routing=routing, fields=fields, queue=queue
        )
        self.registry.add(task)
        return task

    @property
    def resource(self) -> ResourceDecorator:
        """Declare a resource that a worker opens and tasks take with `Use`. Write `@lane.resource` to open it once per process, or
        `@lane.resource(scope="attempt")`. With `exclusive=True`, a resource can be open only once, e.g. a model on a GPU, so
        isolation workers do not open it. Raises `TaskDeclarationError`.
        """
        return cast(ResourceDecorator, declare_resource)

    def middleware(self, wrapper: Callable[..., AsyncIterator[None]]) -> Callable[..., AsyncIterator[None]]:
        """Wrap every attempt with an async generator that takes its context and yields once. Raises `ConfigurationError`."""
        return self.registry.add_middleware(wrapper)

    def problem(
        self, *types: type[BaseException], status: int, title: str = "", final: bool = False
    ) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
        """Set the problem that clients see if a task raises one of these errors. With `final`, such errors are not retried.

        As a decorator, `problem` takes a function of the error that returns the detail. Otherwise the detail is the error's
        message.
        """
        return self.registry.add_rule(ProblemRule(types, status, title, final))

    def callback_payload(self, function: PayloadBuilderT) -> PayloadBuilderT:
        """Register a function that creates the bodies of callbacks: `Webhook(…, body=function)`.

        The function takes a `FinishedJob`, and returns a string or a value to write as JSON. The function may be a coroutine
        function, and workers find it by its name. Raises `ConfigurationError` if the name is taken.
        """
        return self.registry.add_payload_builder(function)

    def override(self, resource: Resource[T], value: T) -> AbstractContextManager[None]:
        """Replace a resource by a value within the block, for a test."""
        return self.registry.overriding(resource, value)

    def schedule(
        self,
        name: str,
        call: Call[Any],
        *,
        cron: str | None = None,
        every: Duration | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "once",
        aliases: Sequence[str] = (),
    ) -> None:
        """Submit a call on a schedule: at the times of a cron expression in a time zone, or `every` this many seconds.

        `catch_up` decides what happens to runs missed while no process was up: "once" submits the last, "all" submits each, and
        "skip" submits none. `aliases` are former names. Raises `ConfigurationError`.
        """
        self.schedules.declare(
            name, call, cron=cron, every=to_seconds(every), timezone=timezone, catch_up=catch_up, aliases=tuple(aliases)
        )

    def consumer(self, endpoint: Endpoint, *, name: str | None = None) -> Callable[[MessageHandler], Consumer]:
        """Submit a job for each message of an endpoint: `@lane.consumer(Sqs("requests"))` over a function of the message.

        The function returns a call, or None to skip the message. Every worker calls it, on its event loop. A message counts
        as malformed if the function raises TypeError, KeyError, `ArgumentsError` or ValueError (including pydantic's). `name` is
        the function's name by default. The ids of jobs consist of this name and the message's id. Raises `ConfigurationError`.
        """
        return partial(self.consumers.declare, endpoint, name)

    async def submit(self, call: Call[R]) -> Job[R]:
        """Submit a call as a durable job.

        Raises `LaneNotOpen`, `ArgumentsError`, `PayloadTooLarge`, `LimitReached`, `QueueFull`, `JobConflict` or `StoreUnavailable`.
        Raises `ConfigurationError` if the call's task is of another lane.
        """
        return await self.client.submit(call)

    async def submit_many(
        self,
        calls: Iterable[Call[R]],
        *,
        then: Call[Any] | Sequence[Call[Any]] = (),
        id: str | None = None,  # noqa: A002 - named like the option of a call
        user: str | None = None,
        retention: Duration | None = None,
    ) -> Batch[R]:
        """Submit calls as one batch. Its end submits the calls of `then`. The batch is kept for `retention` seconds after its end.

        `user` is the user of the batch, and the default of its calls. All calls are checked before the first is submitted.
        Rejected calls are listed in the batch; if all are rejected, the first rejection is raised. A repeat with the same `id`, of
        calls with ids, submits the missing ones. Raises the errors of `submit`.
        """
        return await self.client.submit_many(calls, then=then, id=id, user=user, retention=retention)

    def batch(self, batch_id: str) -> Batch[Any]:
        """Return the handle on a batch. Raises `LaneNotOpen`."""
        return self.client.batch(batch_id)

    def job(self, task: Task[..., Any, R], job_id: str) -> Job[R]:
        """Return the typed handle on a job. Raises `LaneNotOpen`."""
        return self.client.job(task, job_id)

    async def callbacks(self, job_id: str) -> list[CallbackRecord]:
        """Return the callbacks of a job and their state. Raises `UnknownJob`, `JobRemoved` or `LaneNotOpen`."""
        return await callbacks_of(self.client, job_id)

    async def redeliver(self, id: str) -> list[CallbackRecord]:  # noqa: A002 - of a callback or a job
        """Deliver a callback, or all callbacks of a finished job, again now and with all retries, whatever their state.

        Receivers get the same `webhook-id` again. Raises `UnknownJob`, `JobRemoved` or `LaneNotOpen`.
        """
        return await redeliver_callbacks(self.client, id)

    def load(self) -> None:
        """Import the modules that declare tasks, and check the tasks. Raises `TaskDeclarationError`."""
        for module in self._modules:
            importlib.import_module(module)
        self.registry.check()

    def open(self, *, workers: int = 0) -> "LaneContext[Sidelane]":
        """Return a context manager that opens the lane: `async with lane.open(workers=1):`.

        `workers` is the number of workers that run in this process; they drain when the lane closes. Entering the context raises
        `StoreUnavailable` or `StoreMisconfigured`, and `ConfigurationError` if the lane is already open.
        """
        return LaneContext(self._opener(self, workers))

    @contextmanager
    def opened_by(self, opener: "Opener") -> Iterator[None]:
        """Let `opener` open the lane within the block, e.g. with a store in memory in tests."""
        before, self._opener = self._opener, opener
        try:
            yield
        finally:
            self._opener = before

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the lane while a FastAPI application runs: `FastAPI(lifespan=lane.lifespan)`."""
        async with self.open(), self.services.api_process.heartbeats(self.client.store):
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
        """Return a worker of the open lane, for these queues (None: all) and this many slots (None: the setting `concurrency`).

        The worker's queues share its slots by their weights. With `strict`, the worker serves the queues in the given order, one
        before the next. An `isolated` worker has one slot, runs isolated jobs only, and drains until its job has ended. Workers
        start isolated workers themselves, each in its own process. Raises `UnknownQueue` or `LaneNotOpen`.
        """
        if is_in_memory(self.settings.store):
            raise ConfigurationError(
                "A store in memory belongs to one connection, and a worker needs two. Use a file as the store, or "
                "sidelane.testing.harness(lane)."
            )
        slots = 1 if isolated else concurrency or self.settings.concurrency
        changed = {"concurrency": slots, **({"shutdown_timeout": math.inf} if isolated else {})}
        share = replace(_queue_share(self.queues, queues, slots, strict=strict), isolated=isolated)
        return Worker(
            self.client.store,
            open_source=lambda: open_store(self.settings.store),
            registry=self.registry,
            settings=self.settings.model_copy(update=changed),
            client=self.client,
            shares=[share] if isolated else [share, internal_share()],
            name=name,
            background_services=lambda worker: [] if isolated else _background_services(self, worker),
            on_progress=self.progress_notifier.on_progress,
            exit_when_stuck=exit_when_stuck or isolated,
        )

    def remote_worker(
        self,
        *,
        receive_from: Endpoint,
        reply_to: Endpoint,
        name: str = "remote-worker",
        concurrency: int | None = None,
        exit_when_stuck: bool = False,
    ) -> AbstractAsyncContextManager[Worker]:
        """Return a worker's context for a machine without access to the store. Jobs are received, and replies sent, as messages.

        Run the worker within the block: `async with lane.remote_worker(receive_from=…, reply_to=…) as worker: await worker.run()`.
        The lane itself need not be open. Raises `ConfigurationError`, `TransportUnavailable` or `TransportMisconfigured`.
        """
        settings = self.settings.model_copy(update={"concurrency": concurrency or self.settings.concurrency})
        return _remote_worker(self, receive_from, reply_to, settings, name, exit_when_stuck=exit_when_stuck)

    def sync_client(self) -> SyncClient:
        """Return a context manager that opens the lane for code without an event loop; see `SyncClient`."""
        return SyncClient(self.open, lambda: self.client)

    @asynccontextmanager
    async def opened_with(self, client: Client) -> AsyncIterator[None]:
        """Use an open client within the block. Raises `ConfigurationError` if the lane is already open, and `MissingExtra`."""
        with self.services.use(client):
            async with tracing(self.telemetry, self.settings), AsyncExitStack() as stack:
                for close in (self.services.transports.close, self._webhooks.close, self.progress_notifier.close):
                    stack.push_async_callback(close)
                await self.schedules.save()
                await save_declarations(client.store, self.queues.values(), self.registry.limits)
                yield


Opener = Callable[[Sidelane, int], AbstractAsyncContextManager[Sidelane]]
"""Opens a lane, with so many workers in this process."""


def _declare_task(lane: Sidelane, function: Callable[..., Any] | None = None, /, **fields: Unpack[TaskOptions]) -> Any:
    if function is None:
        return lambda function: _declare_task(lane, function, **fields)
    name = fields.get("name") or function.__name__
    check_task_options(name, fields)
    queue = queue_of(lane.queues, name, fields)
    task = make_task(function, fields, lane=lane, queue=queue)
    lane.registry.add(task)
    return task


def _declare_dead_letter(
    lane: Sidelane, function: Callable[..., Any] | None = None, /, **fields: Unpack[TaskOptions]
) -> Any:
    if function is None:
        return lambda function: _declare_dead_letter(lane, function, **fields)
    task = _declare_task(lane, function, **fields)
    lane.registry.set_dead_letter_handler(task)
    return task


@asynccontextmanager
async def _open(lane: Sidelane, workers: int) -> AsyncIterator[Sidelane]:
    lane.load()
    async with AsyncExitStack() as stack:
        client = Client(
            await open_store(lane.settings.store),
            settings=lane.settings,
            files=lane.files,
            registry=lane.registry,
            telemetry=lane.telemetry,
        )
        stack.push_async_callback(client.close)
        for warning in client.store.durability_warnings:
            logger.warning("the store %s may lose jobs: %s", redact_url(lane.settings.store), warning)
        await stack.enter_async_context(lane.opened_with(client))
        client.start_maintenance()
        for number in range(workers):
            await stack.enter_async_context(run_in_background(lane.worker(name=f"embedded-{number + 1}")))
        yield lane


@asynccontextmanager
async def _remote_worker(
    lane: Sidelane, receive_from: Endpoint, reply_to: Endpoint, settings: Settings, name: str, *, exit_when_stuck: bool
) -> AsyncIterator[Worker]:
    lane.load()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(tracing(lane.telemetry, settings))
        transports = TransportPool(lane.telemetry)
        stack.push_async_callback(transports.close)
        stack.push_async_callback(lane.files.close)
        worker = message_worker(
            receive_from, reply_to, transports, files=lane.files, registry=lane.registry, settings=settings, name=name,
            exit_when_stuck=exit_when_stuck,
        )  # fmt: skip
        yield await stack.enter_async_context(worker)


def _queue_share(
    declared: Mapping[str, Queue], selected: Mapping[str, int | None] | None, slots: int, *, strict: bool
) -> QueueShare:
    """Return a worker's share of queues; see `selected_queues`."""
    selected = selected_queues(declared, selected)
    capacity = {name: limit or declared[name].worker_concurrency for name, limit in selected.items()}
    weights = {name: declared[name].weight for name in selected}
    return QueueShare(WorkerCapacity(slots, capacity), WeightedQueues(weights, strict=strict))


def _background_services(lane: Sidelane, worker: Worker) -> list[BackgroundService]:
    """Return what runs beside the jobs of a worker: the receivers of replies and of messages, and the record of its load."""
    recorder = LoadRecorder(lane.client.store, lambda: (worker.info(), worker.finished))
    replies = reply_receivers(lane.services, lane.completions)
    return [*replies, *message_receivers(lane.consumers, lane.services), recorder]
