"""Connection pool to the primary server. Calls are retried while no primary can be reached."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from hiredis import pack_command
from msgpack import packb
from redis import exceptions
from redis.asyncio.connection import Connection

from sidelane.model.errors import StoreError, StoreUnavailable
from sidelane.stores.redis.discovery import discovery_for
from sidelane.stores.redis.errors import is_transient, store_error, translate_errors
from sidelane.stores.redis.scripts import Script, script
from sidelane.stores.redis.url import Endpoint, RedisUrl

RETRY_TIMEOUT = 3.0
"""Seconds for which a call is retried while the server cannot be reached."""

REPLICATION_TIMEOUT = 2.0
"""Seconds for which a write waits for its replicas."""

_MAX_CONNECTIONS = 16

_REPLICATED_VERBS = frozenset(
    {
        "submit", "finish", "cancel", "requeue", "remove", "get_or_set", "open_batch", "seal_batch",
        "upsert_schedule", "fire", "set_schedule_enabled", "delete_schedule", "set_value", "append_entries",
    }
)  # fmt: skip
"""Verbs whose writes must reach the number of replicas that the URL requires."""

# WAIT covers only writes on the same connection. A repeated call may write nothing, so this key is written before WAIT.
_REPLICATION_MARK = "#!lua flags=allow-oom\nredis.call('SET', KEYS[1] .. ':replication_mark', '')"

T = TypeVar("T")


class ConnectionPool:
    """Connections to one server."""

    def __init__(self, url: RedisUrl, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._url = url
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    async def acquire(self) -> Connection:
        """Return a connected connection. Release it after use."""
        connection = self._idle.pop() if self._idle else self._url.connection(self.endpoint)
        self._busy.add(connection)
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # no-op if it is connected
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if self._closed:
            await connection.disconnect(nowait=True)
        elif connection.is_connected:
            self._idle.append(connection)

    async def close_idle(self) -> None:
        """Close idle connections. If one connection broke, idle connections may have broken too."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def disconnect(self) -> None:
        """Close all connections immediately. Calls in progress fail."""
        self._closed = True
        for connection in list(self._busy):
            await connection.disconnect(nowait=True)
        await self.close_idle()

    async def close(self) -> None:
        """Close the connections when no call is in progress."""
        await asyncio.gather(*(connection.disconnect() for connection in self._idle), return_exceptions=True)


class Server:
    """The server of one store. Every call is a script that may safely be repeated."""

    def __init__(self, url: RedisUrl, clock: Callable[[], float]) -> None:
        self._url = url
        self._clock = None if clock is time.time else clock  # None: use the server's clock
        self._discovery = discovery_for(url)
        self._discovery_lock = asyncio.Lock()
        self._primary: ConnectionPool | None = None
        self._error: Exception | None = None  # why the primary must be discovered again
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._in_progress: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def run(self, verb: str, *arguments: Any) -> Any:
        """Run a verb's script. Raises `StoreUnavailable` or `StoreMisconfigured`."""
        wanted = script(verb)
        now = "" if self._clock is None else repr(self._clock())
        packed = packb(arguments, use_bin_type=False)  # Lua's cmsgpack has one string type
        fields = (self._url.prefix, now, secrets.token_hex(8), packed)
        return await self.retry(lambda: self._evaluate(wanted, fields))

    async def command(self, *arguments: str | int) -> Any:
        """Run one plain command."""
        return await self.retry(lambda: self._execute(arguments))

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Send a call, and repeat it for `RETRY_TIMEOUT` seconds while the server cannot be reached."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        future = asyncio.get_running_loop().create_future()
        self._in_progress.add(future)
        until: float | None = None
        try:
            while True:
                try:
                    return await call()
                except (exceptions.RedisError, OSError) as error:
                    until = time.monotonic() + RETRY_TIMEOUT if until is None else until
                    if not is_transient(error) or time.monotonic() > until:
                        raise store_error(error, self._url.name) from error
                await asyncio.sleep(random.uniform(0.02, 0.1))
        finally:
            self._in_progress.discard(future)
            future.cancel()

    async def close(self) -> None:
        """Wait for calls in progress, then close the connections."""
        self._closed = True
        if self._in_progress:
            await asyncio.wait(self._in_progress)
        if self._primary is not None:
            await self._primary.close()

    async def _evaluate(self, wanted: Script, fields: Iterable[str | bytes]) -> Any:
        replicated = self._url.min_replicas > 0 and wanted.verb in _REPLICATED_VERBS
        with suppress(exceptions.NoScriptError):
            return await self._execute(("EVALSHA", wanted.digest, 1, *fields), replicated=replicated)
        # the server was restarted, or has never run this script
        return await self._execute(("EVAL", wanted.text, 1, *fields), replicated=replicated)

    async def _execute(self, arguments: tuple[str | int | bytes, ...], *, replicated: bool = False) -> Any:
        async with self._slots:
            primary = self._primary
            if primary is None or self._error is not None:
                primary = await self._find_primary()
            try:
                with translate_errors():
                    async with asyncio.timeout(self._url.response_timeout):
                        return await self._exchange(primary, arguments, replicated)
            except (exceptions.RedisError, OSError) as error:
                if primary is self._primary and is_transient(error):
                    self._error = error
                raise

    async def _exchange(
        self, primary: ConnectionPool, arguments: tuple[str | int | bytes, ...], replicated: bool
    ) -> Any:
        connection = await primary.acquire()
        try:
            # hiredis packs a command of thousands of words ten times faster than redis-py
            await connection.send_packed_command(pack_command(arguments))  # type: ignore[arg-type] # typed for tuples of one item
            answer = await connection.read_response()
            if replicated:
                await self._wait_for_replicas(connection)
            return answer
        finally:
            await primary.release(connection)

    async def _find_primary(self) -> ConnectionPool:
        """Return the primary. Discover it again after an error."""
        async with self._discovery_lock:
            before, error = self._primary, self._error
            if before is not None and error is None:  # another call has found it meanwhile
                return before
            try:
                endpoint = await self._discovery.locate(error)
            except (exceptions.RedisError, OSError, StoreError):
                if before is None:
                    raise
                endpoint = before.endpoint  # nothing answers the discovery; the primary may not have moved
            self._error = None
            if before is not None and before.endpoint == endpoint and not isinstance(error, exceptions.ReadOnlyError):
                await before.close_idle()
                return before
            # A host name may lead to another server now, so leave a replica's connections even if the endpoint is the same.
            self._primary = primary = ConnectionPool(self._url, endpoint)
            if before is not None:
                await before.disconnect()
            return primary

    async def _wait_for_replicas(self, connection: Connection) -> None:
        """Wait until enough replicas have this connection's writes. Raises `StoreUnavailable` after `REPLICATION_TIMEOUT`."""
        wanted = self._url.min_replicas
        if not connection.is_connected:  # redis-py would connect again, perhaps to another server
            raise exceptions.ConnectionError("the connection was closed after a failover")
        mark = pack_command(("EVAL", _REPLICATION_MARK, 1, self._url.prefix))  # type: ignore[arg-type]
        wait = pack_command(("WAIT", wanted, int(REPLICATION_TIMEOUT * 1000)))  # type: ignore[arg-type]
        await connection.send_packed_command(mark + wait)
        try:
            await connection.read_response()
            reached = await connection.read_response()
        except exceptions.ResponseError:
            await connection.disconnect(nowait=True)  # the second reply may still arrive
            raise
        if reached < wanted:
            raise StoreUnavailable(
                f"The store {self._url.name} replicated the write to {reached} replicas; SIDELANE_STORE asks for {wanted}. "
                "Check that the replicas run. The same call may be repeated."
            )
