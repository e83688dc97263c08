"""The primary server, wherever it is now: connections to it, and calls that are repeated while it cannot be reached."""

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
from sidelane.stores.redis.errors import is_transient, store_error, translated
from sidelane.stores.redis.scripts import Script, script
from sidelane.stores.redis.url import Endpoint, RedisUrl

RETRY_TIMEOUT = 3.0
"""For how many seconds a call is repeated while the server cannot be reached."""

REPLICATION_TIMEOUT = 2.0
"""For how many seconds a write waits for the replicas that must have it."""

_CONNECTIONS = 16

_ACKNOWLEDGED = frozenset(
    {
        "submit", "finish", "cancel", "requeue", "remove", "get_or_set", "open_batch", "seal_batch",
        "upsert_schedule", "fire", "set_schedule_enabled", "delete_schedule",
    }
)  # fmt: skip
"""The verbs whose writes must be on replicas too, where the address says so."""

# A call that is repeated may find nothing left to write, and WAIT waits for what its own connection has written.
_MARK = "#!lua flags=allow-oom\nredis.call('SET', KEYS[1] .. ':replication_mark', '')"

T = TypeVar("T")


class ConnectionPool:
    """The connections to one server."""

    def __init__(self, address: RedisUrl, place: Endpoint) -> None:
        self.place = place
        self._address = address
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._left = False

    async def take(self) -> Connection:
        """Give a connection, which is to be given back."""
        connection = self._idle.pop() if self._idle else self._address.connection(self.place)
        self._busy.add(connection)
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # at once, where it is connected already
        except BaseException:
            await self.give_back(connection)
            raise
        return connection

    async def give_back(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if self._left:
            await connection.disconnect(nowait=True)
        elif connection.is_connected:
            self._idle.append(connection)

    async def forget_idle(self) -> None:
        """Close the connections that nobody uses: where one broke, the others may have broken too."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def leave(self) -> None:
        """Close all connections at once; calls under way on them break."""
        self._left = True
        for connection in list(self._busy):
            await connection.disconnect(nowait=True)
        await self.forget_idle()

    async def close(self) -> None:
        """Close the connections in good order, when no call is under way."""
        await asyncio.gather(*(connection.disconnect() for connection in self._idle), return_exceptions=True)


class Server:
    """The server of one store. Calls are scripts; every one of them may be repeated without harm."""

    def __init__(self, address: RedisUrl, clock: Callable[[], float]) -> None:
        self._address = address
        self._clock = None if clock is time.time else clock  # none: the server's own clock counts
        self._locator = discovery_for(address)
        self._looking = asyncio.Lock()
        self._primary: ConnectionPool | None = None
        self._trouble: Exception | None = None  # why the primary has to be looked for again
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._under_way: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def run(self, verb: str, *arguments: Any) -> Any:
        """Run a verb's script. Raises `StoreUnavailable` or `StoreUnusable`."""
        wanted = script(verb)
        now = "" if self._clock is None else repr(self._clock())
        packed = packb(arguments, use_bin_type=False)  # Lua's cmsgpack knows one kind of strings
        fields = (self._address.prefix, now, secrets.token_hex(8), packed)
        return await self.patiently(lambda: self._evaluate(wanted, fields))

    async def command(self, *words: str | int) -> Any:
        """Run one plain command."""
        return await self.patiently(lambda: self._execute(words))

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call again while the server cannot be reached, until the patience ends."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        future = asyncio.get_running_loop().create_future()
        self._under_way.add(future)
        until: float | None = None
        try:
            while True:
                try:
                    return await call()
                except (exceptions.RedisError, OSError) as error:
                    until = time.monotonic() + RETRY_TIMEOUT if until is None else until
                    if not is_transient(error) or time.monotonic() > until:
                        raise store_error(error, self._address.name) from error
                await asyncio.sleep(random.uniform(0.02, 0.1))
        finally:
            self._under_way.discard(future)
            future.cancel()

    async def close(self) -> None:
        """Let calls under way end, then close the connections."""
        self._closed = True
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._primary is not None:
            await self._primary.close()

    async def _evaluate(self, wanted: Script, fields: Iterable[str | bytes]) -> Any:
        copied = self._address.copies > 0 and wanted.verb in _ACKNOWLEDGED
        with suppress(exceptions.NoScriptError):
            return await self._execute(("EVALSHA", wanted.digest, 1, *fields), copied=copied)
        # a server that was restarted has forgotten it, or never knew it
        return await self._execute(("EVAL", wanted.text, 1, *fields), copied=copied)

    async def _execute(self, words: tuple[str | int | bytes, ...], *, copied: bool = False) -> Any:
        async with self._free:
            primary = self._primary
            if primary is None or self._trouble is not None:
                primary = await self._find_primary()
            try:
                with translated():
                    async with asyncio.timeout(self._address.answer_within):
                        return await self._exchange(primary, words, copied)
            except (exceptions.RedisError, OSError) as error:
                if primary is self._primary and is_transient(error):
                    self._trouble = error
                raise

    async def _exchange(self, primary: ConnectionPool, words: tuple[str | int | bytes, ...], copied: bool) -> Any:
        connection = await primary.take()
        try:
            # hiredis packs a command of thousands of words in a tenth of the time that redis-py takes
            await connection.send_packed_command(pack_command(words))  # type: ignore[arg-type] # its types know tuples of one only
            answer = await connection.read_response()
            if copied:
                await self._wait_for_copies(connection)
            return answer
        finally:
            await primary.give_back(connection)

    async def _find_primary(self) -> ConnectionPool:
        """Give the primary, after looking for it where there was trouble."""
        async with self._looking:
            before, trouble = self._primary, self._trouble
            if before is not None and trouble is None:  # another call has found it meanwhile
                return before
            try:
                place = await self._locator.locate(trouble)
            except (exceptions.RedisError, OSError, StoreError):
                if before is None:
                    raise
                place = before.place  # those who know are away; the primary may be where it was
            self._trouble = None
            if before is not None and before.place == place and not isinstance(trouble, exceptions.ReadOnlyError):
                await before.forget_idle()
                return before
            # A name may stand for another server than before: a replica's connections are left even if the place is the same.
            self._primary = primary = ConnectionPool(self._address, place)
            if before is not None:
                await before.leave()
            return primary

    async def _wait_for_copies(self, connection: Connection) -> None:
        """Wait until enough replicas have all that was written so far."""
        wanted = self._address.copies
        if not connection.is_connected:  # redis-py would open it again, and perhaps to another server
            raise exceptions.ConnectionError("the server was left meanwhile")
        mark = pack_command(("EVAL", _MARK, 1, self._address.prefix))  # type: ignore[arg-type]
        wait = pack_command(("WAIT", wanted, int(REPLICATION_TIMEOUT * 1000)))  # type: ignore[arg-type]
        await connection.send_packed_command(mark + wait)
        try:
            await connection.read_response()
            reached = await connection.read_response()
        except exceptions.ResponseError:
            await connection.disconnect(nowait=True)  # the other answer may be on its way
            raise
        if reached < wanted:
            raise StoreUnavailable(
                f"The store {self._address.name} has what was written on {reached} replicas, and SIDELANE_STORE asks for "
                f"{wanted}: see whether they run. The same call may be made again."
            )
