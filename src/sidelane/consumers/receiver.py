"""Taking messages in: what every worker of a lane does for each of its intakes, beside its jobs."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus

from sidelane.client.client import Client
from sidelane.consumers.consumer import Consumer
from sidelane.model.errors import (
    ConfigurationError,
    JobRefused,
    LimitReached,
    MalformedMessage,
    QueueFull,
    StoreUnavailable,
    TransportError,
)
from sidelane.model.job import JobSpec
from sidelane.outage import RetryUntilAvailable
from sidelane.services import Services
from sidelane.transports.contract import Delivery, Receiver
from sidelane.transports.factory import TransportPool, require_driver
from sidelane.transports.receive_loop import ReceiveLoop

VISIBILITY_TIMEOUT = 30.0
"""Seconds a message stays away from others while this worker makes a job of it."""

MAX_IN_FLIGHT = 100
"""Messages at one time. Those that the store does not take yet are kept in hand, so no more come in than it can take."""

FIRST_WAIT, LONGEST_WAIT = 0.1, VISIBILITY_TIMEOUT / 3
"""Seconds between two tries to submit: the first wait, and the longest it grows to."""

RETRY_DELAY = 10.0
"""Seconds after which a message comes again that no job could be made of this time."""

logger = logging.getLogger(__name__)


class MessageReceiver:
    """Makes jobs of the messages of one intake. A message is acknowledged once its job is there, and not before."""

    def __init__(self, intake: Consumer, client: Client, transports: TransportPool) -> None:
        self._intake = intake
        self._client = client
        self._transports = transports
        self._receiving = ReceiveLoop(f"receive the messages of intake {intake.name!r} ({intake.address})")
        self._submitting = RetryUntilAvailable(f"submit what intake {intake.name!r} takes in")

    @property
    def error(self) -> str | None:
        """Why no messages come in, or no jobs of them, while that is so."""
        return self._receiving.error or self._submitting.error

    async def run(self) -> None:
        """Take messages in until cancelled; what is in hand then comes again."""
        while True:
            try:
                transport = await self._transports.to(self._intake.address)
                async with transport.receiving(hold=VISIBILITY_TIMEOUT) as receiver:
                    await self._take_in(receiver, transport.redelivers)
            except (TransportError, ConfigurationError) as error:
                await self._receiving.after(error)
            except Exception as error:
                logger.exception("intake %s broke, and begins anew", self._intake.name)
                await self._receiving.after(error)

    async def _take_in(self, receiver: Receiver, remember: float) -> None:
        in_hand: set[asyncio.Task[None]] = set()
        try:
            while True:
                if len(in_hand) >= MAX_IN_FLIGHT:
                    await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)
                for delivery in await self._receiving.receive(receiver, MAX_IN_FLIGHT - len(in_hand)):
                    task = asyncio.create_task(self._handle(delivery, remember))
                    in_hand.add(task)
                    task.add_done_callback(in_hand.discard)
        finally:
            for task in list(in_hand):
                task.cancel()
            await asyncio.gather(*in_hand, return_exceptions=True)

    async def _handle(self, delivery: Delivery, remember: float) -> None:
        """Come to an end with one message, whatever happens to it."""
        try:
            await self._settle(delivery, remember)
        except TransportError as error:
            logger.warning("intake %s: message %s comes again: %s", self._intake.name, delivery.message.id, error)
        except Exception:
            logger.exception(
                "intake %s broke over message %s, which comes again in %g s",
                self._intake.name, delivery.message.id, RETRY_DELAY,
            )  # fmt: skip
            with suppress(TransportError):
                await delivery.release(RETRY_DELAY)

    async def _settle(self, delivery: Delivery, remember: float) -> None:
        name, message = self._intake.name, delivery.message
        try:
            spec = await self._intake.spec(message, remember=remember)
            if spec is None:
                logger.info("intake %s passes over message %s", name, message.id)
            else:
                await self._submit(spec, delivery)
        except LimitReached as error:
            logger.warning("intake %s: message %s comes again later: %s", name, message.id, error)
            await delivery.release(error.retry_after or RETRY_DELAY)
        except (MalformedMessage, JobRefused) as error:
            logger.warning("intake %s cannot use message %s: %s", name, message.id, error)
            await delivery.reject(str(error))
        else:
            await delivery.ack()

    async def _submit(self, spec: JobSpec, delivery: Delivery) -> None:
        """Submit a job, however long the store is away or its queue is full; meanwhile its message does not come again.

        Raises `LimitReached`, and `JobRefused` where there will never be such a job.
        """
        wait = FIRST_WAIT
        while True:
            try:
                submission = await self._client.submit_spec(spec)
            except (StoreUnavailable, QueueFull) as error:
                self._submitting.failed(error)
                with suppress(TransportError):
                    await delivery.extend(VISIBILITY_TIMEOUT)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            except JobRefused as error:
                if error.status != HTTPStatus.GONE:
                    raise
                logger.info("message %s came again after its job %s was removed", delivery.message.id, spec.id)
                return
            else:
                self._submitting.recovered()
                if not submission.created:
                    logger.info("message %s has its job %s already", delivery.message.id, submission.record.id)
                return


def message_receivers(consumers: Iterable[Consumer], services: Services) -> list[MessageReceiver]:
    """Return a receiver for each consumer. Raises `LaneNotOpen`, `MissingExtra`."""
    for consumer in consumers:
        require_driver(consumer.address)
    return [MessageReceiver(consumer, services.client, services.transports) for consumer in consumers]
