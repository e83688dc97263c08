"""The one writer of a store: every group of calls is one transaction, as durable as its strictest member (rules 16, 20, 23)."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import apsw

from sidelane.model.errors import StoreError
from sidelane.stores.sqlite import marks
from sidelane.stores.sqlite.connection import Database, retry_while_busy, roll_back
from sidelane.stores.sqlite.errors import store_error
from sidelane.stores.sqlite.executor import BatchingThread, Request
from sidelane.stores.sqlite.notifications import Notifier
from sidelane.stores.sqlite.settling import run_post_actions
from sidelane.stores.sqlite.touched import ChangeSet

T = TypeVar("T")

_CONTENTION_WINDOW = 0.1  # seconds after another process wrote during which we step aside between groups
_YIELD_TIME = 0.002


class WriteExecutor:
    """Runs writing verbs on a connection and a thread of its own."""

    def __init__(
        self,
        database: Database,
        connection: apsw.Connection,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        watching: Notifier,
    ) -> None:
        self._database = database
        self._connection = connection
        self._clock = clock
        self._watching = watching
        self._full: bool | None = None  # whether commits are synced now
        self._crowded_until = -math.inf
        self._gathering = BatchingThread("sidelane-writer", loop, self._write)

    def call(
        self,
        verb: Callable[[apsw.Connection, float, ChangeSet], T],
        *,
        items: int = 1,
        size: int = 0,
        durable: bool = True,
    ) -> "asyncio.Future[T]":
        """Run a verb within the next transaction; `durable`: the commit is on the disk before the answer comes."""
        return self._gathering.call(verb, items=items, size=size, durable=durable)

    async def close(self) -> None:
        await self._gathering.close()
        self._connection.close()

    def _write(self, group: list[Request[Any]]) -> None:
        touched = ChangeSet()
        try:
            self._database.check_there()
            self._transact(group, touched)
        except StoreError as error:
            for call in group:
                call.error = error
        except apsw.Error as error:
            roll_back(self._connection)
            if len(group) > 1 and not isinstance(error, apsw.BusyError):
                for call in group:  # what is too much for the disk together may go in alone
                    self._write([call])
                return
            for call in group:
                call.error = store_error(error, self._database.path)

    def _transact(self, group: list[Request[Any]], touched: ChangeSet) -> None:
        connection = self._connection
        if self._full is not (full := any(call.durable for call in group)):
            connection.execute("PRAGMA synchronous = FULL" if full else "PRAGMA synchronous = NORMAL")
            self._full = full
        retry_while_busy(self._begin, self._database.patience)
        now = self._clock()
        for call in group:
            call.error = None
            connection.execute("SAVEPOINT call")
            try:
                call.result = call.run(connection, now, touched)
                run_post_actions(connection, now, touched)
            except apsw.Error:  # SQLite may have given up the whole transaction
                raise
            except Exception as error:  # noqa: BLE001 - whoever called is told
                connection.execute("ROLLBACK TO call")
                call.error = error
            connection.execute("RELEASE call")
        counted = touched.counted()
        marks.bump(connection, counted)
        changed = marks.versions_of(connection, self._watching.among(touched.topics()))
        connection.execute("COMMIT")
        self._watching.hint(changed)
        self._step_aside()

    def _begin(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            self._crowded_until = time.monotonic() + _CONTENTION_WINDOW
            raise

    def _step_aside(self) -> None:
        """Leave the lock for a moment where other processes write too: whoever polls for it would hardly ever get it."""
        if time.monotonic() < self._crowded_until:
            time.sleep(random.uniform(_YIELD_TIME / 2, _YIELD_TIME))
