"""Delivering: callbacks are jobs of Sidelane's own, which follow the jobs that they tell of."""

import asyncio
import inspect
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json

from sidelane.callbacks.events import fit_message, job_event
from sidelane.callbacks.http_client import EndpointGone, NotDelivered, WebhookClient
from sidelane.callbacks.payload import webhook_body
from sidelane.callbacks.secrets import SecretError, Secrets
from sidelane.callbacks.signing import webhook_headers
from sidelane.callbacks.ssrf import AddressRefused
from sidelane.callbacks.webhook import FINISHED_STATES, On, WebhookTarget
from sidelane.model.errors import (
    JobError,
    PermanentFailure,
    RetryLater,
    StoreUnavailable,
    TransportError,
)
from sidelane.model.job import JobRecord
from sidelane.model.limit import ConcurrencyLimit
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.model.retry import Delays, Retry
from sidelane.services import Services
from sidelane.tasks.context import Context
from sidelane.tasks.decorator import add_internal_task
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK
from sidelane.tasks.placeholders import finished_job
from sidelane.tasks.registry import PayloadBuilder, ProblemRule
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane, Task
from sidelane.transports import cloudevents
from sidelane.transports.endpoints import PubSub, Sqs

PROGRESS = "sidelane.progress"
"""The task that tells how far a job is."""

WEBHOOK_RETRY = Retry(
    attempts=10, backoff=Delays((5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0))
)  # fmt: skip
"""The schedule that Standard Webhooks recommends: ten tries in three days."""

PROGRESS_RETRY = Retry(attempts=4, backoff=Delays((1.0, 5.0, 15.0)))
"""That of progress: what is older is of no use."""

TIMEOUT = 30.0
"""Seconds for one try: the exchange, with the secret and the body that go before it."""

MAX_WORKER_LOSSES = 10
"""How many workers may be lost under a callback: it is often what they wait for, and never what ends them."""

RETENTION = 60.0
"""Seconds for which it is remembered that progress was told."""

PER_RECEIVER = "callbacks-per-receiver"
"""The limit that keeps a receiver that does not answer from taking all slots."""

CallbackTarget = Annotated[WebhookTarget | Sqs | PubSub, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """What became of a callback: the status that its receiver answered, or why nothing was sent."""

    status: int | None = None
    skipped: str | None = None


class UnknownPayload(NotDelivered):
    """The worker knows no function of this name that makes bodies."""


def declare_callbacks(lane: Lane, services: Services, webhooks: WebhookClient, secrets: Secrets) -> "CallbackDelivery":
    """Register the tasks that deliver callbacks."""
    delivering = CallbackDelivery(services, webhooks, secrets)

    async def callback(
        to: CallbackTarget,
        body: str | None = None,
        on: On = "end",
        progress: bool = False,
        *,
        ctx: Context = Use(Context),
    ) -> DeliveryResult:
        job = await delivering.job(ctx)
        if job.state not in FINISHED_STATES[on]:
            return DeliveryResult(
                skipped=f"the job was brought back meanwhile, and is {job.state}: its next end is told"
            )
        return await delivering.tell(to, body, job, ctx.job_id)

    async def progress(to: CallbackTarget, body: str | None = None, *, ctx: Context = Use(Context)) -> DeliveryResult:
        job = await delivering.job(ctx)
        if job.state.finished or job.progress is None:
            return DeliveryResult(skipped="the job has ended")
        return await delivering.tell(to, body, job, f"{ctx.job_id}.{job.last}")

    limits = [ConcurrencyLimit(lane.settings.callback_concurrency, per="user", on_limit="wait", name=PER_RECEIVER)]
    delivering.end = add_internal_task(
        lane, callback, name=CALLBACK_TASK, queue=CALLBACK_QUEUE, timeout=TIMEOUT, max_worker_losses=MAX_WORKER_LOSSES,
        limits=limits, retry=WEBHOOK_RETRY,
    )  # fmt: skip
    delivering.progress = add_internal_task(
        lane, progress, name=PROGRESS, queue=CALLBACK_QUEUE, timeout=TIMEOUT, limits=limits, retry=PROGRESS_RETRY,
        retention=RETENTION,
    )  # fmt: skip
    lane.registry.rules += [
        ProblemRule((NotDelivered, SecretError), 502, "Not delivered", final=False),
        ProblemRule((EndpointGone,), 410, "Receiver gone", final=True),
        ProblemRule((AddressRefused,), 422, "Address refused", final=True),
    ]
    return delivering


class CallbackDelivery:
    """Tells the receivers of one lane's jobs."""

    end: Task[..., Any, DeliveryResult]
    progress: Task[..., Any, DeliveryResult]

    def __init__(self, services: Services, webhooks: WebhookClient, secrets: Secrets) -> None:
        self._services = services
        self._webhooks = webhooks
        self._secrets = secrets

    async def job(self, ctx: Context) -> JobRecord:
        """Look up the job that is told of. Raises `GiveUp` where it is gone, `TryLater` while the store is away."""
        try:
            return await self._services.client.record(ctx.parent or "")
        except JobError as error:
            raise PermanentFailure(Problem(status=410, title="Nothing to tell", detail=str(error))) from error
        except StoreUnavailable as error:
            raise RetryLater(1.0) from error

    async def tell(
        self, to: WebhookTarget | Sqs | PubSub, body: str | None, job: JobRecord, name: str
    ) -> DeliveryResult:
        """Tell a receiver of a job as it is. `name`: what is the same whenever the same is told again.

        Raises `NotDelivered`, `SecretError`, `AddressRefused`, `GiveUp` where the body cannot be made.
        """
        message_id = name.replace(
            ".", ":"
        )  # a full stop would blur what is signed (Standard Webhooks, signature scheme)
        text = None if body is None else await self._made(body, job)
        if isinstance(to, WebhookTarget):
            return await self._post(to, webhook_body(job, time.time()) if text is None else text, message_id)
        await self._send(to, job, text, message_id)
        return DeliveryResult()

    async def preview(self, callback: JobRecord) -> tuple[str, str]:
        """Say, of a job that delivers a callback, whom it tells what."""
        job = await self._services.client.record(callback.spec.parent or "")
        called = self.end.decode_arguments(callback.spec.arguments, callback.spec.version)
        receiver = callback.spec.user or ""
        if called["body"] is not None:
            return receiver, await self._made(called["body"], job)
        if isinstance(called["to"], WebhookTarget):
            return receiver, webhook_body(job, time.time())
        return receiver, cloudevents.write(job_event(job, callback.id, self._source))

    async def _post(self, to: WebhookTarget, text: str, message_id: str) -> DeliveryResult:
        secrets = [] if to.secret is None else await self._secrets.of(to.secret)
        named = {name.lower() for name in to.headers}
        form = {} if "content-type" in named else {"Content-Type": "application/json"}
        headers = {**form, **to.headers, **webhook_headers(message_id, text, secrets)}
        answer = await self._webhooks.deliver(to.url, text.encode(), headers)
        return DeliveryResult(status=answer.status)

    async def _send(self, to: Sqs | PubSub, job: JobRecord, text: str | None, message_id: str) -> None:
        try:
            transport = await self._services.transports.to(to)
            if text is None:
                message = await fit_message(
                    job_event(job, message_id, self._source), transport.largest, self._services.files
                )
            else:
                message = Message(body=text, id=message_id, group=job.id)
            (wrong,) = await transport.send([message])
        except TransportError as error:
            wrong = error
        if wrong is not None:
            raise NotDelivered(f"{to} did not take it: {wrong}") from wrong

    @property
    def _source(self) -> str:
        return self._services.settings.jobs_url or "sidelane"

    async def _made(self, name: str, job: JobRecord) -> str:
        """Have the function of this name make the body."""
        function = self._services.registry.payload_builders.get(name)
        if function is None:
            raise UnknownPayload(f"No function named {name!r} is marked with @lane.callback_body here.")
        told = replace(finished_job(job), at=job.ended or time.time())
        try:
            value = await _called(function, told)
            return value if isinstance(value, str) else to_json(value, inf_nan_mode="null").decode()
        except (PermanentFailure, RetryLater):
            raise
        except Exception as error:
            detail = (
                f"The function {name!r} that makes the body of this callback failed: {type(error).__name__}: {error}"
            )
            raise PermanentFailure(Problem(status=500, title="No body", detail=detail[:1000])) from error


async def _called(function: PayloadBuilder, told: Any) -> Any:
    """Call a function that makes bodies: on the loop if it is asynchronous, else in a thread, where it keeps nobody waiting."""
    value = function(told) if inspect.iscoroutinefunction(function) else await asyncio.to_thread(function, told)
    return await value if inspect.isawaitable(value) else value
