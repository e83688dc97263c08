"""Sending offers: the job that tells the outside of a hand-over, for as long as that is worth it."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from sidelane.callbacks.http_client import NotDelivered, WebhookClient
from sidelane.callbacks.secrets import Secrets
from sidelane.client.client import Client
from sidelane.external.completion_token import PURPOSE, make_token
from sidelane.external.file_links import with_file_urls
from sidelane.external.http_dispatch import post_dispatch
from sidelane.external.http_endpoint import Http
from sidelane.external.outbox import DISPATCH_TASK
from sidelane.external.task import ExternalTask
from sidelane.files.references import MAX_URL_LIFETIME
from sidelane.model.errors import (
    ConfigurationError,
    FilesUnavailable,
    RetryLater,
    SidelaneError,
    StoreUnavailable,
    TransportMisconfigured,
    TransportUnavailable,
)
from sidelane.model.job import Failure, JobRecord, Lease
from sidelane.model.limit import ConcurrencyLimit
from sidelane.model.message import Message
from sidelane.model.outcome import AttemptResult, Failed, Retried
from sidelane.model.problem import Problem
from sidelane.model.retry import Exponential, Retry
from sidelane.services import Services
from sidelane.tasks.context import Context
from sidelane.tasks.decorator import add_internal_task
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane
from sidelane.transports.job_messages import SOURCE, DispatchedJob, data_of, dispatched_message, with_dataref
from sidelane.worker.outcome import add_job_context

TIMEOUT = 60.0
"""Seconds one try may take."""

MAX_CONCURRENT = 20
PER_ENDPOINT = "offers-per-address"
"""How many offers go to one address at once, from all workers together: one that does not answer must not take all slots."""

RETRY_BACKOFF = Exponential(first=0.5, max_delay=30.0)
"""How long to wait before the next try."""

OTHER_WORKER_DELAY = 1.0
"""Seconds after which a hand-over is looked at again whose task this worker does not know: another may."""

logger = logging.getLogger(__name__)


def declare_dispatch(lane: Lane, services: Services, webhooks: WebhookClient, secrets: Secrets) -> None:
    """Register the task that sends offers."""
    sending = Dispatcher(services, webhooks, secrets)

    async def send(
        job: str, attempt: int, nonce: str, to: str, arguments: str | None = None, *,
        ctx: Context = Use(Context),
    ) -> None:  # fmt: skip
        await sending.send(Lease(job, attempt, nonce), arguments, ctx)

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
    """Make the offer of a job that is outside. Raises `ArgumentsDoNotFit`, `StoreUnavailable`."""
    spec = record.spec
    values = task.decode_arguments(spec.arguments if arguments is None else arguments, spec.version)
    text, _ = task.signature.encode((), values)
    here = client.settings.jobs_url.rstrip("/")
    return DispatchedJob(
        job=record.id, task=task.name, version=task.version, attempt=lease.attempt, key=spec.key,
        input=json.loads(text)["input"], timeout=round(seconds, 3),
        token=make_token(await client.key(PURPOSE), lease),
        complete_url=f"{here}/{record.id}/complete" if here else None,
        events_url=f"{here}/{record.id}/events" if here else None,
        traceparent=spec.trace,
    )  # fmt: skip


class DispatchFailed(SidelaneError):
    """The job could not be handed over."""

    status = 502

    def problem(self) -> Problem:
        return Problem(status=502, title="Not handed over", detail=str(self))


class Dispatcher:
    """Sends offers of one lane's jobs."""

    def __init__(self, services: Services, webhooks: WebhookClient, secrets: Secrets) -> None:
        self._services = services
        self._webhooks = webhooks
        self._secrets = secrets

    async def send(self, lease: Lease, arguments: str | None, ctx: Context) -> None:
        """Send the offer of a job that is outside under this lease; `arguments` where its record does not hold them.

        What may work later raises `TryLater`. When its time is over, or it never will, the attempt ends as failed.
        """
        began, store = time.monotonic(), self._services.client.store
        try:
            (record,) = await store.get([lease.job_id])
        except StoreUnavailable as error:
            raise RetryLater(RETRY_BACKOFF.delay(ctx.attempt)) from error
        if not isinstance(record, JobRecord) or record.external_lease != lease:
            return  # it has ended meanwhile, or its time is over
        task = self._services.registry.tasks.get(record.spec.task)
        if not isinstance(task, ExternalTask):
            raise RetryLater(OTHER_WORKER_DELAY)
        left = ctx.remaining or task.policy.timeout or TIMEOUT
        try:
            offer = await dispatch_message(
                self._services.client, task, record, lease, arguments=arguments, seconds=left
            )
            if task.signature.takes_files:
                offer = replace(offer, input=await with_file_urls(self._services.files, offer.input, left))
            await self._deliver(task, offer)
        except (TransportUnavailable, FilesUnavailable, NotDelivered, StoreUnavailable) as error:
            wait = max(RETRY_BACKOFF.delay(ctx.attempt), getattr(error, "retry_after", None) or 0.0)
            if wait < left - (time.monotonic() - began):
                logger.warning("job %s is not handed over to %s yet: %s", record.id, task.routing.send_to, error)
                raise RetryLater(wait) from error
            said = f"The outside worker of task {task.name!r} could not be reached in time."
            await self._give_up(task, record, lease, said, error)
        except (SidelaneError, TypeError, ValueError) as error:
            said = f"The outside worker of task {task.name!r} cannot be reached as things are set up."
            await self._give_up(task, record, lease, said, error)

    async def _deliver(self, task: ExternalTask[Any, Any], offer: DispatchedJob) -> None:
        """Raises `TransportUnavailable` or `NotDelivered` where it may work later, another error where it never will."""
        message = _message(task, offer, self._services.client.settings.jobs_url or SOURCE)
        via = task.routing.send_to
        if isinstance(via, Http):
            await post_dispatch(self._webhooks, self._secrets, via, message, offer.traceparent)
            return
        transport = await self._services.transports.to(via)
        size = message.size
        if size > transport.largest:
            if task.routing.encode is not None:
                raise TransportMisconfigured(f"The offer is {size:,} bytes; {via} takes {transport.largest:,}.")
            message = await self._by_reference(message, offer, f"The offer is {size:,} bytes; {via} takes fewer")
        (error,) = await transport.send([message])
        if error is not None:
            raise error

    async def _by_reference(self, message: Message, offer: DispatchedJob, why: str) -> Message:
        """Put the data of an offer into a file, and a link to it in their place. Raises `TransportUnusable`."""
        lasts = min(max(offer.timeout, 1.0), MAX_URL_LIFETIME)
        try:
            link = await self._services.files.put_text(data_of(message), name=f"{offer.id}.json", lasts=lasts)
        except FilesUnavailable:
            raise
        except SidelaneError as error:
            raise TransportMisconfigured(f"{why}, and its data cannot be kept in a file: {error}") from error
        if "://" not in link:
            raise TransportMisconfigured(
                f"{why}, and files are in a folder that has no address for others: set SIDELANE_FILES_URL, or use a bucket."
            )
        return with_dataref(message, link)

    async def _give_up(
        self, task: ExternalTask[Any, Any], record: JobRecord, lease: Lease, said: str, error: Exception
    ) -> None:
        """End the attempt as failed. The job that was to send it has done its part by that: one failure is one dead letter."""
        met = DispatchFailed(said)
        words = f"{type(error).__name__}: {error}"[:1000]
        logger.error("job %s could not be handed over to %s: %s", record.id, task.routing.send_to, words)
        failure = Failure(problem=met.problem(), error=words)
        delay = task.policy.retry.next_delay(record.failures + 1, met)
        outcome = Failed(failure) if delay is None else Retried(failure, delay)
        try:
            await self._services.client.store.finish(
                [AttemptResult(lease=lease, outcome=add_job_context(outcome, record.id, lease.attempt))]
            )
        except StoreUnavailable:
            raise RetryLater(OTHER_WORKER_DELAY) from error


def _message(task: ExternalTask[Any, Any], offer: DispatchedJob, source: str) -> Message:
    """Write an offer as its receiver wants it. Raises `ConfigurationError` where the task's own `encode` fails."""
    encode = task.routing.encode
    if encode is None:
        return dispatched_message(offer, source)
    try:
        written = encode(offer)
        if isinstance(written, str):
            return Message(body=written, id=offer.id, group=offer.job)
        if isinstance(written, Mapping):
            body = to_json(dict(written)).decode()
            return Message(body=body, id=offer.id, group=offer.job, attributes={"content-type": "application/json"})
    except Exception as error:
        raise ConfigurationError(f"Its `encode` failed: {type(error).__name__}: {error}") from error
    raise ConfigurationError(f"Its `encode` gave {type(written).__name__}: it gives a text, or what is to be its JSON.")
