"""Connecting to receivers: what was looked up is checked, and what was checked is connected to."""

from collections.abc import Iterable
from typing import Any

import httpcore2

from sidelane.callbacks.addresses import Reach
from sidelane.callbacks.resolving import Resolve

CONNECTING = 5.0
"""Seconds that one address has to take a connection."""


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to checked addresses alone.

    A host is looked up once a connection; all its addresses are checked, and one of these very addresses is connected to. So a
    name server that answers otherwise the next time (DNS rebinding) gains nothing. The names in TLS and in the Host header stay.
    """

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach = reach
        self._resolve = resolve
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self._reach.check_host(host)
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} could not be looked up: {error}") from error
        self._reach.check_addresses(host, addresses)
        failed: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, CONNECTING, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError("receivers are reached over TCP")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
