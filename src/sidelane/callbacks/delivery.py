"""Callback delivery: the internal tasks that send callbacks. A callback is a follow-up job of the job that it reports."""

import asyncio
import inspect
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json

from sidelane.callbacks.http_client import EndpointGone, NotDelivered, WebhookClient
from sidelane.callbacks.payload import job_event, webhook_body
from sidelane.callbacks.signing import SecretError, Secrets, webhook_headers
from sidelane.callbacks.ssrf import AddressRefused
from sidelane.callbacks.webhook import FINISHED_STATES, On, WebhookTarget
from sidelane.files.references import MAX_URL_LIFETIME
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
from sidelane.telemetry.events import CallbackTried
from sidelane.transports import cloudevents
from sidelane.transports.data_reference import fit_message
from sidelane.transports.endpoints import StoredEndpoint, sending

PROGRESS = "sidelane.progress"
"""Name of the internal task that reports the progress of a job."""

WEBHOOK_RETRY = Retry(
    attempts=10, backoff=Delays((5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0))
)  # fmt: skip
"""The schedule that Standard Webhooks recommends: ten attempts in three days."""

PROGRESS_RETRY = Retry(attempts=4, backoff=Delays((1.0, 5.0, 15.0)))
"""Retries of progress callbacks. There are few, because old progress has no value."""

TIMEOUT = 30.0
"""Seconds of one attempt, including the lookup of the secret and the creation of the body."""

MAX_WORKER_LOSSES = 10
"""Worker losses that a callback may have. Workers often stop while they wait for a callback, and a callback is never the cause."""

RETENTION = 60.0
"""Seconds for which finished progress callbacks are kept."""

PER_RECEIVER = "callbacks-per-receiver"
"""Name of the limit that keeps a receiver that does not answer from taking all slots."""

CallbackTarget = Annotated[WebhookTarget | StoredEndpoint, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """Result of a callback: the status of the response, or why nothing was sent."""

    status: int | None = None
    skipped: str | None = None


class UnknownPayload(NotDelivered):
    """The worker knows no payload function of this name."""


def declare_callbacks(lane: Lane, services: Services, webhooks: WebhookClient, secrets: Secrets) -> "CallbackDelivery":
    """Register the internal tasks that send callbacks."""
    delivery = CallbackDelivery(services, webhooks, secrets)

    async def callback(
        to: CallbackTarget,
        body: str | None = None,
        on: On = "end",
        progress: bool = False,
        *,
        ctx: Context = Use(Context),
    ) -> DeliveryResult:
        job = await delivery.job(ctx)
        if job.state not in FINISHED_STATES[on]:
            return DeliveryResult(
                skipped=f"the job was requeued meanwhile and is {job.state}: its next end is reported"
            )
        return await delivery.deliver(to, body, job, ctx.job_id)

    async def progress(to: CallbackTarget, body: str | None = None, *, ctx: Context = Use(Context)) -> DeliveryResult:
        job = await delivery.job(ctx)
        if job.state.finished or job.progress is None:
            return DeliveryResult(skipped="the job has ended")
        return await delivery.deliver(to, body, job, f"{ctx.job_id}.{job.last}")

    limits = [ConcurrencyLimit(lane.settings.callback_concurrency, per="user", on_limit="wait", name=PER_RECEIVER)]
    delivery.end = add_internal_task(
        lane, callback, name=CALLBACK_TASK, queue=CALLBACK_QUEUE, timeout=TIMEOUT, max_worker_losses=MAX_WORKER_LOSSES,
        limits=limits, retry=WEBHOOK_RETRY,
    )  # fmt: skip
    delivery.progress = add_internal_task(
        lane, progress, name=PROGRESS, queue=CALLBACK_QUEUE, timeout=TIMEOUT, limits=limits, retry=PROGRESS_RETRY,
        retention=RETENTION,
    )  # fmt: skip
    lane.registry.rules += [
        ProblemRule((NotDelivered, SecretError), 502, "Not delivered", final=False, internal=True),
        ProblemRule((EndpointGone,), 410, "Receiver gone", final=True, internal=True),
        ProblemRule((AddressRefused,), 422, "Address refused", final=True, internal=True),
    ]
    return delivery


class CallbackDelivery:
    """Sends the callbacks of one lane."""

    end: Task[..., Any, DeliveryResult]
    progress: Task[..., Any, DeliveryResult]

    def __init__(self, services: Services, webhooks: WebhookClient, secrets: Secrets) -> None:
        self._services = services
        self._webhooks = webhooks
        self._secrets = secrets

    async def check_secret(self, name: str, elsewhere: str = "") -> None:
        """Check a secret as a delivery would use it. `elsewhere` are the secrets in the environment of another process.

        Raises `SecretError` if the secret is missing or invalid, and `MissingExtra`.
        """
        webhook_headers("check", "", elsewhere.split() or await self._secrets.get(name))

    async def job(self, ctx: Context) -> JobRecord:
        """Return the job to report.

        Raises `PermanentFailure` if it was removed, and `RetryLater` while the store is unavailable.
        """
        try:
            return await self._services.client.record(ctx.parent or "")
        except JobError as error:
            raise PermanentFailure(Problem(status=410, title="Job removed", detail=str(error))) from error
        except StoreUnavailable as error:
            raise RetryLater(1.0) from error

    async def deliver(
        self, to: WebhookTarget | StoredEndpoint, body: str | None, job: JobRecord, name: str
    ) -> DeliveryResult:
        """Send a callback about the current state of a job. `name` is the same for all repetitions of one callback.

        Raises `NotDelivered`, `SecretError` or `AddressRefused`, and `PermanentFailure` if the body cannot be created.
        """
        started = time.monotonic()
        try:
            result = await self._deliver(to, body, job, name)
        except Exception as error:
            self._report(to, job, started, getattr(error, "response", None), type(error).__name__)
            raise
        self._report(to, job, started, result.status)
        return result

    async def _deliver(
        self, to: WebhookTarget | StoredEndpoint, body: str | None, job: JobRecord, name: str
    ) -> DeliveryResult:
        message_id = name.replace(
            ".", ":"
        )  # a full stop separates what is signed (Standard Webhooks, signature scheme)
        text = None if body is None else await self._payload(body, job)
        if isinstance(to, WebhookTarget):
            text = webhook_body(job, time.time()) if text is None else text
            return await self._post(to, text, message_id, job.spec.trace)
        await self._send(to, job, text, message_id)
        return DeliveryResult()

    def _report(
        self, to: WebhookTarget | StoredEndpoint, job: JobRecord, started: float, status: int | None, error: str = ""
    ) -> None:
        """Report one try to telemetry."""
        telemetry = self._services.telemetry
        if telemetry.wants(CallbackTried):
            age = 0.0 if job.ended is None else max(0.0, time.time() - job.ended)
            seconds = time.monotonic() - started
            telemetry.report(
                CallbackTried(job=job.id, kind=to.kind, seconds=seconds, age=age, status=status, error=error)
            )

    async def preview(self, callback: JobRecord) -> tuple[str, str]:
        """Return the receiver and the body of a callback's job."""
        job = await self._services.client.record(callback.spec.parent or "")
        arguments = self.end.decode_arguments(callback.spec.arguments, callback.spec.version)
        receiver = callback.spec.user or ""
        if arguments["body"] is not None:
            return receiver, await self._payload(arguments["body"], job)
        if isinstance(arguments["to"], WebhookTarget):
            return receiver, webhook_body(job, time.time())
        return receiver, cloudevents.write(job_event(job, callback.id, self._source))

    async def _post(self, to: WebhookTarget, text: str, message_id: str, trace: str | None) -> DeliveryResult:
        secrets = [] if to.secret is None else await self._secrets.get(to.secret)
        names = {name.lower() for name in to.headers}
        defaults = {} if "content-type" in names else {"Content-Type": "application/json"}
        headers = {**defaults, **to.headers, **webhook_headers(message_id, text, secrets)}
        response = await self._webhooks.deliver(to.url, text.encode(), headers, trace=trace)
        return DeliveryResult(status=response.status)

    async def _send(self, to: StoredEndpoint, job: JobRecord, text: str | None, message_id: str) -> None:
        with sending(self._services.telemetry.tracer, to) as span:
            try:
                transport = await self._services.transports.get(to)
                if text is None:
                    event = job_event(job, message_id, self._source, trace=span.traceparent)
                    message = await fit_message(
                        cloudevents.message(event, group=job.id),
                        transport.max_message_size, self._services.files, name=f"{job.id}.json", lifetime=MAX_URL_LIFETIME,
                    )  # fmt: skip
                else:
                    trace = {"traceparent": span.traceparent} if span.traceparent else {}
                    message = Message(body=text, id=message_id, group=job.id, attributes=trace)
                (failed,) = await transport.send([message])
            except TransportError as error:
                failed = error
            if failed is not None:
                raise NotDelivered(f"{to} did not accept it: {failed}") from failed

    @property
    def _source(self) -> str:
        return self._services.settings.jobs_url or "sidelane"

    async def _payload(self, name: str, job: JobRecord) -> str:
        """Return the body that the payload function of this name creates."""
        function = self._services.registry.payload_builders.get(name)
        if function is None:
            raise UnknownPayload(f"No function named {name!r} is marked with @lane.callback_payload here.")
        finished = finished_job(job)
        arguments = self._services.registry.with_types(job.spec.task, finished.arguments)
        finished = replace(finished, arguments=arguments, at=job.ended or time.time())
        try:
            value = await _call(function, finished)
            return value if isinstance(value, str) else to_json(value, inf_nan_mode="null").decode()
        except (PermanentFailure, RetryLater):
            raise
        except Exception as error:
            detail = f"The payload function {name!r} of this callback failed: {type(error).__name__}: {error}"
            raise PermanentFailure(Problem(status=500, title="No payload", detail=detail[:1000])) from error


async def _call(function: PayloadBuilder, job: Any) -> Any:
    """Call a payload function. An asynchronous function runs on the event loop, and any other function in a thread."""
    value = function(job) if inspect.iscoroutinefunction(function) else await asyncio.to_thread(function, job)
    return await value if inspect.isawaitable(value) else value
