"""Opening transports by their addresses."""

import asyncio
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from sidelane.model.errors import MissingExtra
from sidelane.transports.contract import Transport
from sidelane.transports.endpoints import Address, PubSub, Sqs


class TransportPool:
    """The transports of one process, each opened when it is first used."""

    def __init__(self) -> None:
        self._open: dict[Address, Transport] = {}

    async def to(self, address: Address) -> Transport:
        """Give the transport of an address, reached. Raises `MissingExtra`, `TransportUnavailable` and `TransportUnusable`."""
        if address not in self._open:
            # the import takes up to a second, for which an event loop must not stand still
            make = await asyncio.to_thread(_import_driver, address)
            if address not in self._open:
                self._open[address] = make()
        transport = self._open[address]
        await transport.reach()
        return transport

    async def close(self) -> None:
        """Close all of them. What is used after that is opened again."""
        while self._open:
            _, transport = self._open.popitem()
            await transport.close()


def require_driver(address: Address) -> None:
    """Raise `MissingExtra` where the driver of an address is not installed; nothing is imported."""
    package = "aiobotocore" if isinstance(address, Sqs) else "google"
    if find_spec(package) is None:
        raise MissingExtra(f"{address} needs a driver: pip install 'sidelane[{address.kind}]'.")


def _import_driver(address: Address) -> Callable[[], Transport]:
    """Import what talks to an address, and give what makes it. Raises `MissingExtra`."""
    match address:
        case Sqs():
            try:
                from sidelane.transports.sqs.transport import SqsTransport
            except ModuleNotFoundError as error:
                raise MissingExtra(f"{address} needs a driver: pip install 'sidelane[sqs]'.") from error
            return partial(SqsTransport, address)
        case PubSub():
            try:
                from sidelane.transports.pubsub.transport import PubSubTransport
            except ModuleNotFoundError as error:
                raise MissingExtra(f"{address} needs a driver: pip install 'sidelane[pubsub]'.") from error
            return partial(PubSubTransport, address)
