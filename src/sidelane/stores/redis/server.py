"""One server: its connections, and calls that are repeated while it cannot be reached."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from hiredis import pack_command
from redis import exceptions
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sidelane.model.errors import StoreUnavailable
from sidelane.stores.redis.address import Address
from sidelane.stores.redis.faults import passes, store_error
from sidelane.stores.redis.scripts import Script, script

PATIENCE = 3.0
"""For how many seconds a call is repeated while the server cannot be reached."""

_CONNECTIONS = 16

T = TypeVar("T")


class Server:
    """The connections of one store to its server. Calls are scripts; every one of them may be repeated without harm."""

    def __init__(self, address: Address, clock: Callable[[], float], patience: float = PATIENCE) -> None:
        self._address = address
        self._clock = None if clock is time.time else clock  # none: the server's own clock counts
        self._patience = patience
        options = {"max_connections": _CONNECTIONS, "timeout": None, **address.options}
        self._pool = BlockingConnectionPool(retry=Retry(NoBackoff(), 0), **options)
        self._under_way: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def run(self, verb: str, *arguments: str | int) -> Any:
        """Run a verb's script. Raises `StoreUnavailable` or `StoreUnusable`."""
        wanted = script(verb)
        now = "" if self._clock is None else repr(self._clock())
        fields = (self._address.prefix, now, secrets.token_hex(8), *arguments)
        return await self.patiently(lambda: self._evaluate(wanted, fields))

    async def command(self, *words: str | int) -> Any:
        """Run one plain command."""
        return await self.patiently(lambda: self._execute(*words))

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
                    until = until or time.monotonic() + self._patience
                    if not passes(error) or time.monotonic() > until:
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
        await self._pool.disconnect()

    async def _evaluate(self, wanted: Script, fields: Iterable[str | int]) -> Any:
        try:
            return await self._execute("EVALSHA", wanted.digest, 1, *fields)
        except exceptions.NoScriptError:  # a server that was restarted has forgotten it
            return await self._execute("EVAL", wanted.text, 1, *fields)

    async def _execute(self, *words: str | int) -> Any:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # hiredis packs a command of thousands of words in a tenth of the time that redis-py takes
            await connection.send_packed_command(pack_command(words))  # type: ignore[arg-type] # its types know tuples of one only
            return await connection.read_response()
        finally:
            await self._pool.release(connection)
