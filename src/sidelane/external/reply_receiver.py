"""Listening for what comes back: an attendant of every worker for each address that replies come to."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sidelane.external.completion import CompletionHandler, CompletionResult, CompletionStatus
from sidelane.external.task import DecodeResult, external_tasks
from sidelane.model.errors import (
    ConfigurationError,
    FileError,
    FilesUnavailable,
    MalformedMessage,
    PayloadTooLarge,
    StoreError,
    TransportError,
    UnknownTask,
)
from sidelane.outage import RetryUntilAvailable
from sidelane.services import Services
from sidelane.transports.contract import Delivery, Receiver
from sidelane.transports.endpoints import Address
from sidelane.transports.factory import require_driver
from sidelane.transports.job_messages import CompletionMessage, fetch_data, read_claim, read_reply
from sidelane.transports.receive_loop import ReceiveLoop

MAX_PER_RECEIVE = 100
"""Replies that are worked on at once."""

VISIBILITY_TIMEOUT = 30.0
"""Seconds for which a reply is kept from coming again. While the store is away it waits here, so as not to count as one that
cannot be delivered.
"""

OTHER_WORKER_DELAY = 2.0
"""Seconds after which a reply comes again whose task this process does not know: another may."""

OUT_OF_ORDER_DELAY = 1.0
MAX_DELIVERIES = 2
"""Seconds for which events wait for those before them, and how often; then they are taken with a hole."""

MAX_OUT_OF_ORDER = 1_000
"""Events that wait for those before them and are counted here; with more of them, counting begins anew."""

RETRY_DELAY = 10.0
"""Seconds after which a message comes again that this worker broke over."""

MIN_DELAY = 0.5
"""Seconds after which a reply that could not be applied is tried again: the first wait, of those that grow."""

R = TypeVar("R")

logger = logging.getLogger(__name__)


class ReplyReceiver:
    """Takes the replies of one address, for all tasks of this lane that have it, and applies each before it is acknowledged."""

    def __init__(
        self,
        address: Address,
        tasks: frozenset[str],
        decode: DecodeResult | None,
        services: Services,
        completions: CompletionHandler,
    ) -> None:
        self._address = address
        self._tasks = tasks
        self._decode = decode
        self._files = services.files
        self._transports = services.transports
        self._completing = completions
        self._early = Counter[str]()  # how often each was
        self._receiving = ReceiveLoop(f"receive the replies of {address}")
        self._applying = RetryUntilAvailable(f"apply the replies of {address}")

    @property
    def error(self) -> str | None:
        """What keeps it from receiving, or from applying what it has received."""
        return self._receiving.error or self._applying.error

    async def run(self) -> None:
        """Receive for ever."""
        while True:
            try:
                transport = await self._transports.to(self._address)
                async with transport.receiving(hold=VISIBILITY_TIMEOUT) as receiver:
                    while True:
                        await self._take(receiver)
            except (TransportError, ConfigurationError) as error:
                await self._receiving.after(error)
            except Exception as error:
                logger.exception("receiving from %s broke, and begins anew", self._address)
                await self._receiving.after(error)

    async def _take(self, receiver: Receiver) -> None:
        """Take some replies: those of different jobs at once, of one job one after the other."""
        jobs: dict[Any, list[tuple[Delivery, CompletionMessage]]] = {}
        deliveries = await self._receiving.receive(receiver, MAX_PER_RECEIVE)
        replies = [await self._handled(each, self._read(each)) for each in deliveries]
        for delivery, reply in zip(deliveries, replies, strict=True):
            if reply is not None:
                jobs.setdefault(reply.job or ("key", reply.key), []).append((delivery, reply))
        await asyncio.gather(*map(self._apply_all, jobs.values()))

    async def _handled(self, delivery: Delivery, handling: Awaitable[R]) -> R | None:
        """Come to an end with one message, whatever happens to it: it must not end the worker, which would meet it again."""
        try:
            return await handling
        except TransportError as error:
            logger.warning("message %s of %s comes again: %s", delivery.message.id, self._address, error)
        except Exception:
            logger.exception(
                "this worker broke over message %s of %s, which comes again in %g s",
                delivery.message.id, self._address, RETRY_DELAY,
            )  # fmt: skip
            with suppress(TransportError):
                await delivery.release(RETRY_DELAY)
        return None

    async def _read(self, delivery: Delivery) -> CompletionMessage | None:
        """Read a reply; what is none is done with, and what cannot be read is put aside with the reason."""
        try:
            if self._decode is None:
                return await self._allowed(delivery)
            reply = self._decode(delivery.message)
            if reply is not None and not isinstance(reply, CompletionMessage):
                raise MalformedMessage(f"`decode` gave {type(reply).__name__} in place of a CompletionMessage.")
        except (StoreError, FilesUnavailable, ConfigurationError) as error:  # no fault of the message's
            self._applying.failed(error)
            await delivery.release(OTHER_WORKER_DELAY)
            return None
        except Exception as error:  # noqa: BLE001 - whatever the application's own function raises, its message is bad
            logger.warning("a message of %s is no reply: %s", self._address, error)
            known = isinstance(error, MalformedMessage | FileError)
            await delivery.reject(str(error) if known else f"decode: {error!r}")
            return None
        if reply is None:
            await delivery.ack()
        return reply

    async def _allowed(self, delivery: Delivery) -> CompletionMessage | None:
        """Read a reply of our own form whose token allows it; one without that right is not read any further."""
        message = await fetch_data(delivery.message, self._files.get_text)
        job, token = read_claim(message)
        if await self._completing.lease(job, token) is not None:
            return read_reply(message)
        logger.warning("a reply of %s changed nothing: it is %s", self._address, CompletionStatus.FORGED)
        await delivery.ack()
        return None

    async def _apply_all(self, found: Sequence[tuple[Delivery, CompletionMessage]]) -> None:
        """Apply the replies of one job in their order."""
        for delivery, reply in sorted(found, key=lambda each: (each[1].ends, each[1].ordinal or 0)):
            await self._handled(delivery, self._apply(delivery, reply))

    async def _apply(self, delivery: Delivery, reply: CompletionMessage) -> None:
        try:
            answered = await self._applied(delivery, reply)
        except (MalformedMessage, PayloadTooLarge) as error:
            logger.warning("a reply of %s cannot be applied: %s", self._address, error)
            await delivery.reject(str(error))
        except UnknownTask:
            await delivery.release(OTHER_WORKER_DELAY)
        else:
            await self._settle(delivery, reply, answered.answer)

    async def _applied(self, delivery: Delivery, reply: CompletionMessage) -> CompletionResult:
        """Apply a reply, however long the store is away."""
        patient = (
            max(delivery.count, self._early[delivery.message.id] + 1) <= MAX_DELIVERIES
        )  # not every transport counts
        wait = MIN_DELAY
        while True:
            try:
                answered = await self._completing.apply(reply, trusting=self._tasks, patient=patient)
            except (StoreError, FilesUnavailable) as error:
                self._applying.failed(error)
                await delivery.extend(VISIBILITY_TIMEOUT)
                await asyncio.sleep(wait)
                wait = min(wait * 2, VISIBILITY_TIMEOUT / 3)
            else:
                self._applying.recovered()
                return answered

    async def _settle(self, delivery: Delivery, reply: CompletionMessage, answer: CompletionStatus) -> None:
        if answer is CompletionStatus.EARLY:
            self._early[delivery.message.id] += 1
            await delivery.release(OUT_OF_ORDER_DELAY)
            return
        self._early.pop(delivery.message.id, None)
        if len(self._early) > MAX_OUT_OF_ORDER:
            self._early.clear()
        if answer not in (CompletionStatus.ACCEPTED, CompletionStatus.REPEATED):
            usual = answer is CompletionStatus.LATE  # as messages that come twice are
            logger.log(
                logging.DEBUG if usual else logging.WARNING, "a reply of %s for job %s changed nothing: it is %s",
                self._address, reply.job or reply.key, answer,
            )  # fmt: skip
        await delivery.ack()


def reply_receivers(services: Services, completions: CompletionHandler) -> list[ReplyReceiver]:
    """Make a listener for each address that replies of this lane's tasks come to. Raises `NotOpen`, `MissingExtra`."""
    names: dict[Address, set[str]] = {}
    decodes: dict[Address, DecodeResult | None] = {}
    for task in external_tasks(services.registry):
        if task.routing.replies_from is not None:
            names.setdefault(task.routing.replies_from, set()).update((task.name, *task.aliases))
            decodes[task.routing.replies_from] = task.routing.decode
    for address in names:
        require_driver(address)
    return [
        ReplyReceiver(address, frozenset(tasks), decodes[address], services, completions)
        for address, tasks in names.items()
    ]
