"""Reply receiver: applies the completion messages of one endpoint. Every worker runs one receiver for each endpoint of its lane."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from sidelane.client.put_aside import note_put_aside
from sidelane.external.completion import CompletionHandler, CompletionStatus
from sidelane.external.task import DecodeResult, external_tasks
from sidelane.model.errors import (
    ConfigurationError,
    FileError,
    FilesUnavailable,
    MalformedMessage,
    PayloadTooLarge,
    StoreError,
    UnknownTask,
)
from sidelane.services import Services
from sidelane.transports.cloudevents import trace_of
from sidelane.transports.contract import Delivery, Endpoint, Receiver, Transport
from sidelane.transports.data_reference import fetch_data
from sidelane.transports.job_messages import CompletionMessage, read_claim, read_completion
from sidelane.transports.receive_loop import ReceiveLoop

MAX_PER_RECEIVE = 100
"""Completions that are applied concurrently."""

OTHER_WORKER_DELAY = 2.0
"""Seconds before redelivery if this process does not know the task, because another worker may know it."""

OUT_OF_ORDER_DELAY = 1.0
MAX_DELIVERIES = 2
"""Seconds for which events wait for missing earlier events, and how often. After that, the events are applied with a gap."""

MAX_OUT_OF_ORDER = 1_000
"""Out-of-order messages that are counted here; beyond that, all counts start again."""

logger = logging.getLogger(__name__)


class ReplyReceiver:
    """Receives the completions of all tasks that share an endpoint, and applies each before it is acknowledged."""

    def __init__(
        self, endpoint: Endpoint, tasks: frozenset[str], decode: DecodeResult | None,
        services: Services, completions: CompletionHandler,
    ) -> None:  # fmt: skip
        self._endpoint = endpoint
        self._tasks = tasks
        self._decode = decode
        self._services = services
        self._completions = completions
        self._out_of_order = Counter[str]()  # deliveries by message id: not every transport counts them
        self._loop = ReceiveLoop(f"the replies of {endpoint}", applying=f"apply the replies of {endpoint}")

    @property
    def error(self) -> str | None:
        """Why replies cannot be received or applied at the moment, or None."""
        return self._loop.error

    async def run(self) -> None:
        """Receive until cancelled."""
        await self._loop.run(self._endpoint, self._services.transports, self._receive)

    async def _receive(self, transport: Transport, receiver: Receiver) -> None:
        while True:
            await self._receive_some(receiver)

    async def _receive_some(self, receiver: Receiver) -> None:
        """Receive and apply some messages.

        Messages of different jobs are applied concurrently, and messages of one job in order.
        """
        jobs: dict[Any, list[tuple[Delivery, CompletionMessage]]] = {}
        deliveries = await self._loop.receive(receiver, MAX_PER_RECEIVE)
        messages = [await self._loop.handle(each, self._read(each)) for each in deliveries]
        for delivery, message in zip(deliveries, messages, strict=True):
            if message is not None:
                jobs.setdefault(message.job or ("key", message.key), []).append((delivery, message))
        await asyncio.gather(*map(self._apply_all, jobs.values()))

    async def _read(self, delivery: Delivery) -> CompletionMessage | None:
        """Read a message. Acknowledge it if it must be ignored, and dead-letter it if it cannot be read."""
        try:
            if self._decode is None:
                return await self._read_authorized(delivery)
            message = self._decode(delivery.message)
            if message is not None and not isinstance(message, CompletionMessage):
                raise MalformedMessage(f"`decode` returned {type(message).__name__}, not a CompletionMessage.")
        except (StoreError, FilesUnavailable, ConfigurationError) as error:  # the message is not the cause
            self._loop.apply_failed(error)
            await delivery.release(OTHER_WORKER_DELAY)
            return None
        except Exception as error:  # noqa: BLE001 - whatever the application's own function raises, its message is bad
            logger.warning("a message of %s is no reply: %s", self._endpoint, error)
            known = isinstance(error, MalformedMessage | FileError)
            await self._put_aside(delivery, str(error) if known else f"decode: {error!r}")
            return None
        if message is None:
            await delivery.ack()
        return message

    async def _read_authorized(self, delivery: Delivery) -> CompletionMessage | None:
        """Read a message in Sidelane's own format if its token is valid.

        Otherwise acknowledge the message without parsing the other members.
        """
        message = await fetch_data(delivery.message, self._services.files.get_text)
        job, token = read_claim(message)
        if await self._completions.lease(job, token) is not None:
            return read_completion(message)
        logger.warning("a reply of %s changed nothing: it is %s", self._endpoint, CompletionStatus.FORGED)
        await delivery.ack()
        return None

    async def _apply_all(self, received: Sequence[tuple[Delivery, CompletionMessage]]) -> None:
        """Apply the messages of one job in their order."""
        for delivery, message in sorted(received, key=lambda each: (each[1].ends, each[1].ordinal or 0)):
            await self._loop.handle(delivery, self._apply(delivery, message))

    async def _apply(self, delivery: Delivery, message: CompletionMessage) -> None:
        deliveries = max(delivery.count, self._out_of_order[delivery.message.id] + 1)
        apply = partial(
            self._completions.apply, message, trusted_tasks=self._tasks, wait_for_gaps=deliveries <= MAX_DELIVERIES,
            trace=trace_of(delivery.message),
        )  # fmt: skip
        try:
            applied = await self._loop.apply(delivery, apply, (StoreError, FilesUnavailable))
        except (MalformedMessage, PayloadTooLarge) as error:
            logger.warning("a reply of %s cannot be applied: %s", self._endpoint, error)
            await self._put_aside(delivery, str(error))
        except UnknownTask:
            await delivery.release(OTHER_WORKER_DELAY)
        else:
            await self._acknowledge(delivery, message, applied.status)

    async def _put_aside(self, delivery: Delivery, reason: str) -> None:
        await delivery.dead_letter(reason)
        await note_put_aside(
            self._services.client.store, delivery.message.id, str(self._endpoint), receiver="", reason=reason
        )

    async def _acknowledge(self, delivery: Delivery, message: CompletionMessage, status: CompletionStatus) -> None:
        """Acknowledge a message that was applied. Release the message if earlier events are missing."""
        if status is CompletionStatus.EARLY:
            self._out_of_order[delivery.message.id] += 1
            await delivery.release(OUT_OF_ORDER_DELAY)
            return
        self._out_of_order.pop(delivery.message.id, None)
        if len(self._out_of_order) > MAX_OUT_OF_ORDER:
            self._out_of_order.clear()
        if status not in (CompletionStatus.ACCEPTED, CompletionStatus.REPEATED):
            expected = status is CompletionStatus.LATE  # as after a redelivery
            logger.log(
                logging.DEBUG if expected else logging.WARNING, "a reply of %s for job %s changed nothing: it is %s",
                self._endpoint, message.job or message.key, status,
            )  # fmt: skip
        await delivery.ack()


def reply_receivers(services: Services, completions: CompletionHandler) -> list[ReplyReceiver]:
    """Return a receiver for each endpoint of the lane's replies. Raises `LaneNotOpen` or `MissingExtra`."""
    names: dict[Endpoint, set[str]] = {}
    decodes: dict[Endpoint, DecodeResult | None] = {}
    for task in external_tasks(services.registry):
        if task.routing.replies_from is not None:
            names.setdefault(task.routing.replies_from, set()).update((task.name, *task.aliases))
            decodes[task.routing.replies_from] = task.routing.decode
    for endpoint in names:
        endpoint.require_driver()
    return [
        ReplyReceiver(endpoint, frozenset(tasks), decodes[endpoint], services, completions)
        for endpoint, tasks in names.items()
    ]
