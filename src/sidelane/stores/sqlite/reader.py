"""A reader of a store: every group of calls sees one snapshot of the database."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from sidelane.model.errors import StoreError
from sidelane.stores.sqlite.connection import Database, retry_while_busy
from sidelane.stores.sqlite.errors import store_error
from sidelane.stores.sqlite.executor import BatchingThread, Request

T = TypeVar("T")


class ReadExecutor:
    """Runs reading verbs on a connection and a thread of its own."""

    def __init__(
        self,
        database: Database,
        connection: apsw.Connection,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._database = database
        self._connection = connection
        self._clock = clock
        self._gathering = BatchingThread("sidelane-reader", loop, self._read)

    def call(self, verb: Callable[[apsw.Connection, float], T]) -> "asyncio.Future[T]":
        """Run a verb within the next snapshot."""
        return self._gathering.call(verb)

    async def close(self) -> None:
        await self._gathering.close()
        self._connection.close()

    def _read(self, group: list[Request[Any]]) -> None:
        try:
            self._database.check_there()
            retry_while_busy(lambda: self._look(group), self._database.patience)
        except (apsw.Error, StoreError) as error:
            for call in group:
                call.error = error if isinstance(error, StoreError) else store_error(error, self._database.path)

    def _look(self, group: list[Request[Any]]) -> None:
        connection = self._connection
        now = self._clock()
        connection.execute("BEGIN")
        try:
            for call in group:
                try:
                    call.result = call.run(connection, now)
                except apsw.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - whoever called is told
                    call.error = error
        finally:
            connection.execute("ROLLBACK")
