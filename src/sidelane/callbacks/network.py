"""Connecting to receivers: what was looked up is checked, and what was checked is connected to."""

import math
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpcore2

from sidelane.callbacks.resolver import Resolve
from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import WebhookUrl

CONNECT_TIMEOUT = 5.0
"""Seconds that one address has to take a connection."""

IDLE, MOST_IDLE = 5.0, 100
"""For how long connections are kept for the next POST to the same receiver (seconds), and to how many receivers."""


class PinnedNetworkBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to checked addresses alone.

    A host is looked up once a connection; all its addresses are checked, and one of these very addresses is connected to. So a
    name server that answers otherwise the next time (DNS rebinding) gains nothing. The names in TLS and in the Host header stay.
    """

    def __init__(self, reach: AddressPolicy, resolve: Resolve) -> None:
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
                return await self._inner.connect_tcp(address, port, CONNECT_TIMEOUT, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError("receivers are reached over TCP")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


@dataclass(slots=True)
class PoolEntry:
    """The connections to one receiver. `used` is when they last were, on the clock of `time.monotonic`."""

    pool: httpcore2.AsyncConnectionPool
    users: int = 0
    used: float = -math.inf


class Connections:
    """Connections to receivers: each has a pool of its own, for what a pool does takes longer the more it holds."""

    def __init__(self, reach: AddressPolicy, resolve: Resolve) -> None:
        self._backend = PinnedNetworkBackend(reach, resolve)
        self._lines: dict[tuple[str, str], PoolEntry] = {}  # the one that was used last is last
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def to(self, receiver: WebhookUrl) -> AsyncIterator[httpcore2.AsyncConnectionPool]:
        """Give the connections to a receiver for one POST."""
        await self._forget()
        key = (receiver.scheme, receiver.name)
        line = self._lines.pop(key) if key in self._lines else PoolEntry(self._pool(receiver.scheme))
        self._lines[key] = line
        line.users += 1
        try:
            yield line.pool
        finally:
            line.users -= 1
            line.used = time.monotonic()

    async def close(self) -> None:
        """Close all of them."""
        while self._lines:
            _, line = self._lines.popitem()
            await line.pool.aclose()

    async def _forget(self) -> None:
        """Close what has not been used for a while, and the oldest where there are many."""
        idle = [key for key, line in self._lines.items() if not line.users]
        old = time.monotonic() - IDLE
        done = [key for place, key in enumerate(idle) if self._lines[key].used < old or len(idle) - place > MOST_IDLE]
        for line in [self._lines.pop(key) for key in done]:  # all before the first wait, in which others take lines
            await line.pool.aclose()

    def _pool(self, scheme: str) -> httpcore2.AsyncConnectionPool:
        if scheme == "https" and self._tls is None:
            self._tls = httpcore2.default_ssl_context()  # once: it reads all authorities
        return httpcore2.AsyncConnectionPool(
            max_connections=None, keepalive_expiry=IDLE, network_backend=self._backend, ssl_context=self._tls
        )
