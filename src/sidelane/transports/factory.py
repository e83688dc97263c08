"""Transport pool: opens each endpoint once per process."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from sidelane.telemetry.port import Telemetry
from sidelane.transports.contract import Endpoint, Transport

Opener = Callable[[Any], Transport]
"""Opens the endpoints of one kind."""


class TransportPool:
    """The transports of one process, each opened when it is first used. They report to `telemetry`."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self.telemetry = telemetry or Telemetry()
        self._open: dict[Endpoint, Transport] = {}
        self._openers: dict[str, Opener] = {}

    def register(self, kind: str, opener: Opener) -> None:
        """Open endpoints of this kind by a function instead of their own `open`, because they need more than their own fields."""
        self._openers[kind] = opener

    async def get(self, endpoint: Endpoint) -> Transport:
        """Return the connected transport of an endpoint.

        Raises `MissingExtra`, `TransportUnavailable` or `TransportMisconfigured`.
        """
        if endpoint not in self._open:
            opener = self._openers.get(endpoint.kind, partial(type(endpoint).open, telemetry=self.telemetry))
            opened = await asyncio.to_thread(opener, endpoint)  # it may import, which must not block the event loop
            self._open.setdefault(endpoint, opened)
        transport = self._open[endpoint]
        await transport.connect()
        return transport

    async def close(self) -> None:
        """Close all transports. A transport that is used after that is opened again."""
        while self._open:
            _, transport = self._open.popitem()
            await transport.close()
