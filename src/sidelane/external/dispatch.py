"""Dispatch of external jobs: the internal task that sends a job to its external worker, while the attempt has time left."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from sidelane.callbacks.http_client import NotDelivered, WebhookClient
from sidelane.callbacks.signing import Secrets
from sidelane.client.client import Client
from sidelane.external.completion import TOKEN_KEY, make_token
from sidelane.external.http import HttpTransport
from sidelane.external.outbox import DISPATCH_TASK
from sidelane.external.task import ExternalTask
from sidelane.files.file import File
from sidelane.files.files import Files
from sidelane.files.references import MAX_URL_LIFETIME
from sidelane.model.errors import (
    ConfigurationError,
    FilesUnavailable,
    RetryLater,
    SidelaneError,
    StoreUnavailable,
    TransportMisconfigured,
    TransportUnavailable,
    UnknownTask,
)
from sidelane.model.job import Failure, JobRecord, Lease
from sidelane.model.limit import ConcurrencyLimit
from sidelane.model.message import Message
from sidelane.model.outcome import AttemptResult
from sidelane.model.problem import Problem
from sidelane.model.retry import Exponential, Retry
from sidelane.services import Services
from sidelane.tasks.context import Context
from sidelane.tasks.decorator import add_internal_task
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane
from sidelane.telemetry.events import Cause
from sidelane.transports.data_reference import fit_message
from sidelane.transports.endpoints import sending
from sidelane.transports.job_messages import SOURCE, DispatchedJob, write_dispatched
from sidelane.worker.attempt_telemetry import record_external_attempt, report_accepted_end
from sidelane.worker.outcome import add_job_context, report_end, retry_or_fail

TIMEOUT = 60.0
"""Seconds that one attempt to send may take."""

MAX_CONCURRENT = 20
PER_ENDPOINT = "dispatches-per-endpoint"
"""Jobs that all workers together send concurrently to one endpoint. An endpoint that does not answer must not take all slots."""

RETRY_BACKOFF = Exponential(first=0.5, max_delay=30.0)
"""Delay before the next attempt to send."""

OTHER_WORKER_DELAY = 1.0
"""Seconds before another attempt if this worker does not know the task, because another worker may know it."""

logger = logging.getLogger(__name__)


def declare_dispatch(lane: Lane, services: Services, webhooks: WebhookClient, secrets: Secrets) -> None:
    """Register the internal task that dispatches jobs."""
    dispatcher = Dispatcher(services)
    services.transports.register("http", partial(HttpTransport, webhooks, secrets))

    async def send(
        job: str, attempt: int, nonce: str, to: str, arguments: str | None = None, *,
        ctx: Context = Use(Context),
    ) -> None:  # fmt: skip
        await dispatcher.send(Lease(job, attempt, nonce), arguments, ctx)

    limits = [ConcurrencyLimit(MAX_CONCURRENT, per="user", on_limit="wait", name=PER_ENDPOINT)]
    add_internal_task(
        lane, send, name=DISPATCH_TASK, queue=DISPATCH_QUEUE, timeout=TIMEOUT, max_worker_losses=10, limits=limits,
        retry=Retry(attempts=10, backoff=RETRY_BACKOFF),
    )  # fmt: skip


async def dispatch_message(
    client: Client,
    task: ExternalTask[Any, Any],
    record: JobRecord,
    lease: Lease,
    *,
    arguments: str | None,
    seconds: float,
) -> DispatchedJob:
    """Return the message that an external worker receives for a job. Raises `ArgumentsError` or `StoreUnavailable`."""
    spec = record.spec
    values = task.decode_arguments(spec.arguments if arguments is None else arguments, spec.version)
    text, _ = task.signature.encode((), values)
    jobs_url = client.settings.jobs_url.rstrip("/")
    return DispatchedJob(
        job=record.id, task=task.name, version=task.version, attempt=lease.attempt, key=spec.key,
        input=json.loads(text)["input"], timeout=round(seconds, 3),
        token=make_token(await client.key(TOKEN_KEY), lease),
        complete_url=f"{jobs_url}/{record.id}/complete" if jobs_url else None,
        events_url=f"{jobs_url}/{record.id}/events" if jobs_url else None,
        traceparent=spec.trace,
    )  # fmt: skip


class DispatchFailed(SidelaneError):
    """The job could not be sent to its external worker."""

    status = 502

    def problem(self) -> Problem:
        return Problem(status=502, title="Dispatch failed", detail=str(self))


class Dispatcher:
    """Sends jobs of one lane to their external workers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def send(self, lease: Lease, arguments: str | None, ctx: Context) -> None:
        """Send a job to its external worker under this lease. `arguments` is set if the job's record does not contain the
        arguments.

        Raises `RetryLater` if another attempt may help. Otherwise, or without time for another attempt, the job's attempt ends as
        failed.
        """
        started, store = time.monotonic(), self._services.client.store
        try:
            (record,) = await store.get([lease.job_id])
        except StoreUnavailable as error:
            raise RetryLater(RETRY_BACKOFF.delay(ctx.attempt)) from error
        if not isinstance(record, JobRecord) or record.external_lease != lease:
            return  # the job has ended or the lease was swept meanwhile
        task = self._services.registry.tasks.get(record.spec.task)
        if not isinstance(task, ExternalTask):
            unknown = UnknownTask(f"No external task named {record.spec.task!r} is registered here.")
            raise RetryLater(OTHER_WORKER_DELAY) from unknown
        left = ctx.remaining or task.policy.timeout or TIMEOUT
        try:
            dispatched = await dispatch_message(
                self._services.client, task, record, lease, arguments=arguments, seconds=left
            )
            if task.signature.takes_files:
                dispatched = replace(
                    dispatched, input=await with_file_urls(self._services.files, dispatched.input, left)
                )
            await self._deliver(task, dispatched)
        except (TransportUnavailable, FilesUnavailable, NotDelivered, StoreUnavailable) as error:
            wait = max(RETRY_BACKOFF.delay(ctx.attempt), getattr(error, "retry_after", None) or 0.0)
            if wait < left - (time.monotonic() - started):
                logger.warning("job %s is not dispatched to %s yet: %s", record.id, task.routing.send_to, error)
                raise RetryLater(wait) from error
            detail = f"The external worker of task {task.name!r} could not be reached in time."
            await self._give_up(task, record, lease, ctx, detail, error)
        except (SidelaneError, TypeError, ValueError) as error:
            detail = f"The external worker of task {task.name!r} cannot be reached with this configuration."
            await self._give_up(task, record, lease, ctx, detail, error)

    async def _deliver(self, task: ExternalTask[Any, Any], dispatched: DispatchedJob) -> None:
        """Send a message. Raises `TransportUnavailable` or `NotDelivered` if another attempt may help, and another error if not."""
        endpoint = task.routing.send_to
        with sending(self._services.telemetry.tracer, endpoint) as span:
            dispatched = replace(dispatched, traceparent=span.traceparent or dispatched.traceparent)
            message = _message(task, dispatched, self._services.client.settings.jobs_url or SOURCE)
            transport = await self._services.transports.get(endpoint)
            max_size = transport.max_message_size
            if task.routing.encode is None:
                lifetime = min(max(dispatched.timeout, 1.0), MAX_URL_LIFETIME)
                message = await fit_message(
                    message, max_size, self._services.files, name=f"{dispatched.id}.json", lifetime=lifetime
                )  # fmt: skip
            elif message.size > max_size:
                raise TransportMisconfigured(
                    f"The message has {message.size:,} bytes; {endpoint} accepts {max_size:,}."
                )
            (error,) = await transport.send([message])
            if error is not None:
                raise error

    async def _give_up(
        self, task: ExternalTask[Any, Any], record: JobRecord, lease: Lease, ctx: Context, detail: str, error: Exception
    ) -> None:
        """End the attempt as failed. The dispatch job then succeeds, so that one failure causes only one dead letter."""
        failed = DispatchFailed(detail)
        reason = f"{type(error).__name__}: {error}"[:1000]
        logger.error("job %s could not be dispatched to %s: %s", record.id, task.routing.send_to, reason)
        failure = Failure(problem=failed.problem(), error=reason)
        ended = retry_or_fail(failure, failed, failures=record.failures, retry=task.policy.retry)
        outcome = add_job_context(ended, record.id, lease.attempt)
        store, report = self._services.client.store, AttemptResult(lease=lease, outcome=outcome)
        try:
            (accepted,) = await store.finish([report])
        except StoreUnavailable:
            raise RetryLater(OTHER_WORKER_DELAY) from error
        if accepted:
            report_end(record, outcome)
            report_accepted_end(self._services.telemetry, record, report, Cause.EXTERNAL)
            record_external_attempt(self._services.telemetry, record, report, ctx.trace)


def _message(task: ExternalTask[Any, Any], dispatched: DispatchedJob, source: str) -> Message:
    """Return the message of a dispatched job. Raises `ConfigurationError` if the task's own `encode` fails."""
    encode = task.routing.encode
    if encode is None:
        return write_dispatched(dispatched, source)
    message = Message(body="", id=dispatched.id, group=dispatched.job, traceparent=dispatched.traceparent)
    trace = {"traceparent": dispatched.traceparent} if dispatched.traceparent else {}
    try:
        encoded = encode(dispatched)
        if isinstance(encoded, str):
            return replace(message, body=encoded, attributes=trace)
        if isinstance(encoded, Mapping):
            body = to_json(dict(encoded)).decode()
            return replace(message, body=body, attributes={"content-type": "application/json", **trace})
    except Exception as error:
        raise ConfigurationError(f"Its `encode` failed: {type(error).__name__}: {error}") from error
    raise ConfigurationError(f"Its `encode` returned {type(encoded).__name__}, which is neither a text nor a mapping.")


async def with_file_urls(files: Files, value: Any, seconds: float) -> Any:
    """Return JSON in which each file has a download link as `url`, because external workers cannot open the file storage.

    Links are valid for `seconds`, a week at most. Files in a folder without a public URL get no link. Raises `FilesUnavailable` or
    `ConfigurationError`.
    """
    if isinstance(value, list):
        return [await with_file_urls(files, each, seconds) for each in value]
    if not isinstance(value, dict):
        return value
    file = _file(value)
    if file is None:
        return {name: await with_file_urls(files, each, seconds) for name, each in value.items()}
    link = await files.url(file, expires=min(max(seconds, 1.0), MAX_URL_LIFETIME))
    return {**value, "url": link} if "://" in link else value


def _file(value: dict[str, Any]) -> File | None:
    if "file" not in value:
        return None
    try:
        return File.model_validate(value)
    except ValidationError:  # another object with a member of this name
        return None
