"""Executors: threads that run store calls, each group of waiting calls in one transaction.

A single call runs immediately. Calls that arrive while the thread is busy share the next transaction.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar, TypeVarTuple

import apsw

from sidelane.model.errors import StoreError, StoreUnavailable
from sidelane.model.history import Series
from sidelane.stores.chunking import MAX_BYTES, MAX_ITEMS
from sidelane.stores.sqlite import history
from sidelane.stores.sqlite.connection import Database, retry_while_busy, roll_back
from sidelane.stores.sqlite.errors import store_error
from sidelane.stores.sqlite.finalize import run_post_actions
from sidelane.stores.sqlite.notifications import Notifier, bump, versions_of
from sidelane.stores.sqlite.sql import Transaction

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CONTENTION_WINDOW = 0.1  # seconds after a write by another process during which we pause between groups
_YIELD_TIME = 0.002  # seconds


class Request(Generic[T]):
    """One call of the store: the verb and its arguments, its cost, and the future of its result."""

    __slots__ = ("args", "durable", "error", "future", "items", "result", "size", "verb")

    def __init__(
        self, verb: Callable[..., T], args: tuple[Any, ...], future: "asyncio.Future[T]", *,
        items: int, size: int, durable: bool,
    ) -> None:  # fmt: skip
        self.verb = verb
        self.args = args
        self.future = future
        self.items = items
        self.size = size
        self.durable = durable
        self.result: T | None = None
        self.error: Exception | None = None

    def run(self, tx: Transaction) -> None:
        self.result = self.verb(tx, *self.args)

    def resolve(self) -> None:
        """Set the result of the future, on the loop's thread."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class BatchingThread:
    """A thread that passes groups of requests to `handle`, and resolves each group in one callback of the loop."""

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, handle: Callable[[list[Request[Any]]], None]
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._queue: SimpleQueue[Request[Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._closed = False

    def call(
        self,
        verb: Callable[[Transaction, *Ts], T],
        *args: *Ts,
        items: int = 1,
        size: int = 0,
        durable: bool = True,
    ) -> "asyncio.Future[T]":
        """Queue a call. Raises `StoreUnavailable` after the store is closed."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        request = Request(verb, args, self._loop.create_future(), items=items, size=size, durable=durable)
        self._queue.put(request)
        return request.future

    async def close(self) -> None:
        """Stop the thread after all queued calls."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        pending: Request[Any] | None = None
        while True:
            first = pending or self._queue.get()
            if first is None:
                return
            group, pending, closed = self._collect(first)
            try:
                self._handle(group)
            except Exception as error:  # noqa: BLE001 - the callers get it, and the thread goes on
                _fail(group, error)
            try:
                self._loop.call_soon_threadsafe(_resolve, group)
            except RuntimeError:  # the loop is closed, so no task waits any more
                return
            if closed:
                return

    def _collect(self, first: Request[Any]) -> tuple[list[Request[Any]], Request[Any] | None, bool]:
        """Return the group that begins with `first`, a request beyond its maximum size, and whether the store was closed."""
        group, items, size = [first], first.items, first.size
        while not self._queue.empty():
            request = self._queue.get()
            if request is None:
                return group, None, True
            items += request.items
            size += request.size
            if items > MAX_ITEMS or size > MAX_BYTES:
                return group, request, False
            group.append(request)
        return group, None, False


class ReadExecutor:
    """Runs reading verbs on its own connection and thread; each group sees one snapshot of the database."""

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
        self._thread = BatchingThread("sidelane-reader", loop, self._read)

    def call(self, verb: Callable[[Transaction, *Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Run a verb in the next snapshot."""
        return self._thread.call(verb, *args)

    async def close(self) -> None:
        await self._thread.close()
        self._connection.close()

    def _read(self, group: list[Request[Any]]) -> None:
        try:
            self._database.check_file_unchanged()
            retry_while_busy(lambda: self._read_snapshot(group), self._database.busy_timeout)
        except StoreError as error:
            _fail(group, error)
        except apsw.Error as error:
            _fail(group, store_error(error, self._database.path))

    def _read_snapshot(self, group: list[Request[Any]]) -> None:
        self._connection.execute("BEGIN")
        tx = Transaction(self._connection, self._clock())
        try:
            for request in group:
                try:
                    request.run(tx)
                except apsw.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - the caller gets it
                    request.error = error
        finally:
            self._connection.execute("ROLLBACK")


class WriteExecutor:
    """Runs writing verbs on its own connection and thread; each group is one transaction (rules 16, 20 and 23)."""

    def __init__(
        self,
        database: Database,
        connection: apsw.Connection,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        notifier: Notifier,
    ) -> None:
        self._database = database
        self._connection = connection
        self._clock = clock
        self._notifier = notifier
        self._series_ids: dict[Series, int] = {}
        self._synced: bool | None = None  # whether commits are synced now
        self._contended_until = -math.inf
        self._thread = BatchingThread("sidelane-writer", loop, self._write)

    def call(
        self,
        verb: Callable[[Transaction, *Ts], T],
        *args: *Ts,
        items: int = 1,
        size: int = 0,
        durable: bool = True,
    ) -> "asyncio.Future[T]":
        """Run a verb in the next transaction. `durable` syncs the commit to the disk before the result is set."""
        return self._thread.call(verb, *args, items=items, size=size, durable=durable)

    async def close(self) -> None:
        await self._thread.close()
        self._connection.close()

    def _write(self, group: list[Request[Any]]) -> None:
        try:
            self._database.check_file_unchanged()
            self._commit(group)
        except StoreError as error:
            _fail(group, error)
        except apsw.Error as error:
            roll_back(self._connection)
            self._series_ids.clear()
            if len(group) > 1 and not isinstance(error, apsw.BusyError):
                for request in group:  # a nearly full disk may have space for one but not for all
                    self._write([request])
                return
            _fail(group, store_error(error, self._database.path))

    def _commit(self, group: list[Request[Any]]) -> None:
        connection = self._connection
        if self._synced is not (synced := any(request.durable for request in group)):
            connection.execute("PRAGMA synchronous = FULL" if synced else "PRAGMA synchronous = NORMAL")
            self._synced = synced
        retry_while_busy(self._begin, self._database.busy_timeout)
        tx = Transaction(connection, self._clock(), self._series_ids)
        for request in group:
            request.error = None
            connection.execute("SAVEPOINT call")
            try:
                request.run(tx)
                run_post_actions(tx)
                history.write(tx)
            except apsw.Error:  # SQLite may have rolled back the whole transaction
                raise
            except Exception as error:  # noqa: BLE001 - the caller gets it
                connection.execute("ROLLBACK TO call")
                tx.discard_counts()
                request.error = error
            connection.execute("RELEASE call")
        bump(tx, tx.changes.counted_topics())
        versions = versions_of(tx, self._notifier.watched(tx.changes.topics()))
        connection.execute("COMMIT")
        self._notifier.notify(versions)
        self._yield_lock()

    def _begin(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            self._contended_until = time.monotonic() + _CONTENTION_WINDOW
            raise

    def _yield_lock(self) -> None:
        """Pause if other processes write too, because these processes poll for the lock and would rarely find it free."""
        if time.monotonic() < self._contended_until:
            time.sleep(random.uniform(_YIELD_TIME / 2, _YIELD_TIME))


def _fail(group: list[Request[Any]], error: Exception) -> None:
    for request in group:
        request.error = error


def _resolve(group: list[Request[Any]]) -> None:
    for request in group:
        request.resolve()
