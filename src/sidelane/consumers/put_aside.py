"""Messages that a consumer cannot use. A copy of each is an internal job, which operators look at, requeue or purge.

The first attempt of such a job fails with the reason. An attempt after a requeue handles the message as if it had just arrived.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from sidelane.client.client import Client
from sidelane.client.put_aside import note_put_aside, read_put_aside
from sidelane.consumers.consumer import Consumer
from sidelane.consumers.submission import submit_once
from sidelane.model.durations import DAY
from sidelane.model.errors import (
    ArgumentsError,
    JobRefused,
    LimitReached,
    MalformedMessage,
    PayloadTooLarge,
    PermanentFailure,
    QueueFull,
    RetryLater,
    StoreError,
    StoreUnavailable,
)
from sidelane.model.job import State
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.stores.contract import MAX_PAGE_ITEMS
from sidelane.tasks.context import Context
from sidelane.tasks.decorator import add_internal_task
from sidelane.tasks.internal_queues import MESSAGE_QUEUE
from sidelane.tasks.resources import Use
from sidelane.tasks.task import Lane
from sidelane.transports.receive_loop import REDELIVERY_DELAY

MAX_SIZE: Final = 262_144
"""Bytes of a message, body and attributes together, of which a copy is kept."""

RETENTION: Final = 14.0 * DAY
"""Seconds for which a copy is kept, the longest time for which a queue keeps messages."""

BUSY_DELAY: Final = 1.0
"""Seconds before another attempt while the store is unavailable or the queue is full."""

TITLE: Final = "Message put aside"
"""Title of the problem of a message that its consumer cannot use."""

logger = logging.getLogger(__name__)


def message_task(consumer: str) -> str:
    """Return the name of the internal task that handles messages of a consumer again.

    Each consumer has its own, so that only workers that have the consumer start its jobs.
    """
    return f"{INTERNAL_PREFIX}message.{consumer}"


def declare_put_aside(lane: Lane, consumer: Consumer, client: Callable[[], Client]) -> None:
    """Register the internal task that handles messages of a consumer again."""

    async def handle_again(
        id: str, body: str, attributes: dict[str, str], group: str | None, reason: str, id_retention: float, *,  # noqa: A002
        ctx: Context = Use(Context),
    ) -> str | None:  # fmt: skip
        if ctx.attempt == 1:
            raise _not_usable(reason)
        message = Message(body=body, id=id, attributes=attributes, group=group)
        try:
            spec = await consumer.spec(message, id_retention=id_retention)
            if spec is None:
                return None
            await submit_once(client(), spec, id)
        except (StoreUnavailable, QueueFull) as error:
            raise RetryLater(BUSY_DELAY) from error
        except LimitReached as error:
            raise RetryLater(error.retry_after or REDELIVERY_DELAY) from error
        except (MalformedMessage, JobRefused) as error:
            raise _not_usable(str(error)) from error
        return spec.id

    add_internal_task(lane, handle_again, name=message_task(consumer.name), queue=MESSAGE_QUEUE, retention=RETENTION)


async def put_aside(client: Client, consumer: Consumer, message: Message, reason: str, *, id_retention: float) -> None:
    """Keep a copy of a message that a consumer could not use, and note the reason.

    A message that comes again has the same copy, and is noted once. A message of which no copy can be kept is noted each time.
    An unavailable store is only logged, because the message is safe.
    """
    try:
        copy = await _keep_copy(client, consumer, message, reason, id_retention)
    except StoreError as error:
        logger.warning("message %s was put aside, of which the store keeps no copy: %s", message.id, error)
        return
    except (ArgumentsError, PayloadTooLarge, JobRefused) as error:
        logger.warning("message %s was put aside, and no copy of it is kept: %s", message.id, error)
        copy = ""
    if copy is not None:
        await note_put_aside(client.store, message.id, str(consumer.endpoint), consumer.name, reason, job=copy)


async def _keep_copy(
    client: Client, consumer: Consumer, message: Message, reason: str, id_retention: float
) -> str | None:
    """Return the id of the job with the copy of a message, or None if the message was noted before and is still put aside."""
    if len(message.body) > MAX_SIZE:
        raise PayloadTooLarge(f"It is larger than {MAX_SIZE:,} bytes.")
    digest = hashlib.sha256(f"{consumer.name}\n{message.id}".encode(errors="replace")).hexdigest()[:16]
    task = client.registry.tasks[message_task(consumer.name)].options(id=f"message-{digest}")
    spec = task.call(
        body=message.body, id=message.id, attributes=dict(message.attributes), group=message.group, reason=reason,
        id_retention=id_retention,
    ).spec()  # fmt: skip
    if len(spec.arguments.encode()) > MAX_SIZE:
        raise PayloadTooLarge(f"It is larger than {MAX_SIZE:,} bytes.")
    submission = await client.submit_spec(replace(spec, follow_ups=()))
    if submission.created:
        return spec.id
    if submission.record.state is State.SUCCEEDED:
        await client.store.requeue([spec.id])
        return spec.id
    newest = await read_put_aside(
        client.store, MAX_PAGE_ITEMS
    )  # not there: the process ended before it noted the message
    return None if any(each.job == spec.id for each in newest) else spec.id


def _not_usable(reason: str) -> PermanentFailure:
    return PermanentFailure(Problem(status=HTTPStatus.UNPROCESSABLE_ENTITY, title=TITLE, detail=reason))
