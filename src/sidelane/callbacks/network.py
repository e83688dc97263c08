"""Connections to webhook receivers.

A host is looked up once, its addresses are checked, and the connection uses a checked address.
"""

import asyncio
import math
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpcore2

from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import WebhookUrl

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port. Raises OSError."""

CONNECT_TIMEOUT = 5.0
"""Seconds in which one address must accept a connection."""

KEEPALIVE, MAX_IDLE = 5.0, 100
"""Seconds for which idle connections are kept for the next POST to the same receiver, and the number of receivers."""

MAX_LOOKUPS = 500
"""Concurrent DNS lookups. There may be as many as concurrent callbacks, so that lookups that hang delay no other lookup."""


class Resolver:
    """Resolves host names in separate threads, so that a slow name server blocks nothing else. Joins concurrent lookups."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._pending: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Look a host up. Raises OSError."""
        lookup = self._pending.get((host, port))
        if lookup is None:
            self._threads = self._threads or ThreadPoolExecutor(MAX_LOOKUPS, "sidelane-lookup")
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
            self._pending[host, port] = lookup
            lookup.add_done_callback(partial(self._done, (host, port)))
        return await asyncio.shield(lookup)  # other callers wait for it too

    def _done(self, key: tuple[str, int], lookup: asyncio.Future[list[str]]) -> None:
        if self._pending.get(key) is lookup:
            del self._pending[key]
        if not lookup.cancelled():
            lookup.exception()  # mark it as retrieved, even if every caller was cancelled

    def close(self) -> None:
        """Release the threads until the next lookup."""
        threads, self._threads = self._threads, None
        self._pending.clear()  # the next lookup may be on another event loop
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PinnedNetworkBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to checked addresses only.

    A host is looked up once per connection. All its addresses are checked, and the connection uses one of them, which prevents DNS
    rebinding. TLS and the Host header keep the host's name.
    """

    def __init__(self, policy: AddressPolicy, resolve: Resolve) -> None:
        self._policy = policy
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
        self._policy.check_host(host)
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} could not be looked up: {error}") from error
        self._policy.check_addresses(host, addresses)
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
        raise httpcore2.ConnectError("webhooks are sent over TCP only")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


@dataclass(slots=True)
class PoolEntry:
    """The connections to one receiver. `used` is when they were last used, by `time.monotonic`."""

    pool: httpcore2.AsyncConnectionPool
    users: int = 0
    used: float = -math.inf


class Connections:
    """Connections to receivers. Each receiver has its own pool, because the work of a pool grows with its connections."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve | None) -> None:
        self._resolver = Resolver()
        self._backend = PinnedNetworkBackend(policy, resolve or self._resolver)
        self._entries: dict[tuple[str, str], PoolEntry] = {}  # in order of last use
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def to(self, receiver: WebhookUrl) -> AsyncIterator[httpcore2.AsyncConnectionPool]:
        """Return the connections to a receiver for one POST."""
        await self._close_idle()
        key = (receiver.scheme, receiver.name)
        entry = self._entries.pop(key) if key in self._entries else PoolEntry(self._pool(receiver.scheme))
        self._entries[key] = entry
        entry.users += 1
        try:
            yield entry.pool
        finally:
            entry.users -= 1
            entry.used = time.monotonic()

    async def close(self) -> None:
        """Close all connections."""
        while self._entries:
            _, entry = self._entries.popitem()
            await entry.pool.aclose()
        self._resolver.close()

    async def _close_idle(self) -> None:
        """Close connections that have been idle for too long, and the oldest if there are too many."""
        idle = [key for key, entry in self._entries.items() if not entry.users]
        old = time.monotonic() - KEEPALIVE
        expired = [
            key for index, key in enumerate(idle) if self._entries[key].used < old or len(idle) - index > MAX_IDLE
        ]
        for entry in [self._entries.pop(key) for key in expired]:  # all before the first await, when others use entries
            await entry.pool.aclose()

    def _pool(self, scheme: str) -> httpcore2.AsyncConnectionPool:
        if scheme == "https" and self._tls is None:
            self._tls = httpcore2.default_ssl_context()  # once: it reads all certificate authorities
        return httpcore2.AsyncConnectionPool(
            max_connections=None, keepalive_expiry=KEEPALIVE, network_backend=self._backend, ssl_context=self._tls
        )
