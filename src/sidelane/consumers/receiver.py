"""Message receiver: creates jobs from a consumer's messages. Every worker runs one receiver for each consumer of its lane."""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from sidelane.client.client import Client
from sidelane.consumers.consumer import Consumer
from sidelane.consumers.put_aside import put_aside
from sidelane.consumers.submission import submit_once
from sidelane.model.errors import JobRefused, LimitReached, MalformedMessage, QueueFull, StoreUnavailable
from sidelane.services import Services
from sidelane.transports.contract import Delivery, Receiver, Transport
from sidelane.transports.factory import TransportPool
from sidelane.transports.receive_loop import REDELIVERY_DELAY, ReceiveLoop

MAX_IN_FLIGHT = 100
"""Messages that are handled concurrently.

A message waits in memory until the store accepts its job, which limits how many are received.
"""

logger = logging.getLogger(__name__)


class MessageReceiver:
    """Creates jobs from the messages of one consumer. A message is acknowledged after its job is stored, and not before."""

    def __init__(self, consumer: Consumer, client: Client, transports: TransportPool) -> None:
        self._consumer = consumer
        self._client = client
        self._transports = transports
        self._loop = ReceiveLoop(
            f"the messages of consumer {consumer.name!r} ({consumer.endpoint})",
            applying=f"submit the jobs of consumer {consumer.name!r}",
        )

    @property
    def error(self) -> str | None:
        """Why messages cannot be received or jobs cannot be submitted at the moment, or None."""
        return self._loop.error

    async def run(self) -> None:
        """Receive until cancelled. Messages that are in flight at that moment are delivered again."""
        await self._loop.run(self._consumer.endpoint, self._transports, self._receive)

    async def _receive(self, transport: Transport, receiver: Receiver) -> None:
        in_flight: set[asyncio.Task[None]] = set()
        try:
            while True:
                if len(in_flight) >= MAX_IN_FLIGHT:
                    await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for delivery in await self._loop.receive(receiver, MAX_IN_FLIGHT - len(in_flight)):
                    work = self._loop.handle(delivery, self._process(delivery, transport.redelivery_window))
                    task = asyncio.create_task(work)
                    in_flight.add(task)
                    task.add_done_callback(in_flight.discard)
        finally:
            for task in list(in_flight):
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    async def _process(self, delivery: Delivery, id_retention: float) -> None:
        name, message = self._consumer.name, delivery.message
        try:
            spec = await self._consumer.spec(message, id_retention=id_retention)
            if spec is None:
                logger.info("consumer %s ignores message %s", name, message.id)
            else:
                submit = partial(submit_once, self._client, spec, message.id)
                await self._loop.apply(delivery, submit, (StoreUnavailable, QueueFull))
        except LimitReached as error:
            logger.warning("consumer %s: message %s is delivered again later: %s", name, message.id, error)
            await delivery.release(error.retry_after or REDELIVERY_DELAY)
        except (MalformedMessage, JobRefused) as error:
            logger.warning("consumer %s cannot use message %s: %s", name, message.id, error)
            await delivery.dead_letter(str(error))
            await put_aside(self._client, self._consumer, message, str(error), id_retention=id_retention)
        else:
            await delivery.ack()


def message_receivers(consumers: Iterable[Consumer], services: Services) -> list[MessageReceiver]:
    """Return a receiver for each consumer. Raises `LaneNotOpen` or `MissingExtra`."""
    for consumer in consumers:
        consumer.endpoint.require_driver()
    return [MessageReceiver(consumer, services.client, services.transports) for consumer in consumers]
