"""Change notifications. Notifications are immediate for writes of this store, and arrive within milliseconds for writes of other
processes.

The version of a topic is a part of its row for jobs, batches and values, and a counter for queues and workers. A thread checks
every few milliseconds whether another process has written (`PRAGMA data_version`), and only then reads the versions of watched
topics. The thread sleeps while no topic is watched.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from threading import Event, Lock, Thread
from typing import Any

import apsw

from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.subscription import TopicSubscription

SQL = statements(__file__)

POLL_INTERVAL = 0.005  # seconds
_MAX_LOAD = 4  # after a slow poll, sleep this many times as long as it took
_ERROR_DELAY = 1.0  # seconds

_IN_ROWS = {"job": SQL.job_versions, "batch": SQL.batch_versions, "value": SQL.value_versions}
"""Statements for the kinds of topics whose versions are in the rows of their subjects."""

Version = tuple[Any, ...] | None


def versions_of(tx: Transaction, topics: Iterable[str]) -> dict[str, Version]:
    """Return the versions of these topics, with None for a topic without one."""
    versions: dict[str, Version] = dict.fromkeys(topics)
    names: defaultdict[str, list[str]] = defaultdict(list)
    for topic in versions:
        kind, _, name = topic.partition(":")
        names[kind].append(name)
    for kind, names_of_kind in names.items():
        if kind in _IN_ROWS:
            found = tx.all(_IN_ROWS[kind], json.dumps(names_of_kind))
        else:
            found = tx.all(SQL.counted_versions, kind, json.dumps(names_of_kind))
        for name, *version in found:
            versions[f"{kind}:{name}"] = tuple(version)
    return versions


def bump(tx: Transaction, topics: Iterable[str]) -> None:
    """Increment the versions of these topics."""
    tx.execute_many(SQL.bump, [(topic,) for topic in topics])


class Notifier:
    """All subscriptions of one store, and the thread that polls for changes by other processes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = Lock()  # guards the next three, which the loop, the writer and the poller share
        self._watches: dict[str, set[TopicSubscription]] = {}
        self._versions: dict[str, Version] = {}  # as last notified
        self._unchecked: set[str] = set()  # new topics, to be checked even if nothing is written any more
        self._active = Event()  # a topic is watched, or the store is closed
        self._closed = Event()
        self._thread: Thread | None = None

    def poll(self, connection: apsw.Connection) -> None:
        """Start to poll for changes by other processes on this connection."""
        self._thread = Thread(target=self._poll, args=(connection,), name="sidelane-poller", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        self._closed.set()
        self._active.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def watched(self, topics: Iterable[str]) -> list[str]:
        """Return those of the topics that are watched."""
        with self._lock:
            return [topic for topic in topics if topic in self._watches] if self._watches else []

    def notify(self, versions: dict[str, Version]) -> None:
        """Notify the subscriptions of these topics, which now have these versions. May be called from any thread."""
        if versions:
            with self._lock:
                self._versions.update((topic, each) for topic, each in versions.items() if topic in self._watches)
            try:
                self._loop.call_soon_threadsafe(self._notify, list(versions))
            except RuntimeError:  # the loop is closed, so no task waits any more
                return

    @asynccontextmanager
    async def watch(
        self,
        topics: tuple[str, ...],
        read_versions: Callable[[tuple[str, ...]], Awaitable[dict[str, Version]]] | None,
    ) -> AsyncIterator[TopicSubscription]:
        """Subscribe to topics. `read_versions` reads the versions of topics if other processes write too.

        A comparison finds a change between that read and the registration below, and a notification reports a later change.
        """
        subscription = TopicSubscription()
        versions = await read_versions(topics) if read_versions else {}
        with self._lock:
            for topic in topics:
                self._watches.setdefault(topic, set()).add(subscription)
            for topic, version in versions.items():
                if self._versions.setdefault(topic, version) != version:
                    subscription.hint()
            self._unchecked.update(versions)
        self._active.set()
        try:
            yield subscription
        finally:
            self._unsubscribe(topics, subscription)

    def _unsubscribe(self, topics: tuple[str, ...], subscription: TopicSubscription) -> None:
        with self._lock:
            for topic in set(topics):
                subscriptions = self._watches[topic]
                subscriptions.discard(subscription)
                if not subscriptions:
                    del self._watches[topic]
                    self._versions.pop(topic, None)
                    self._unchecked.discard(topic)
            if not self._watches and not self._closed.is_set():
                self._active.clear()

    def _notify(self, topics: list[str]) -> None:
        with self._lock:
            subscriptions = [each for topic in topics for each in self._watches.get(topic, ())]
        for subscription in subscriptions:
            subscription.hint()

    def _poll(self, connection: apsw.Connection) -> None:
        reader = Transaction(connection, 0.0)
        last_data_version = None
        while True:
            self._active.wait()
            if self._closed.wait(0):
                break
            began = time.perf_counter()
            delay = POLL_INTERVAL
            try:
                data_version = reader.scalar("PRAGMA data_version")
                self._check(reader, everything=data_version != last_data_version)
                last_data_version = data_version
            except apsw.BusyError:  # another process recovers the write-ahead log, which is quick
                pass
            except apsw.Error:  # callers of the store get the error
                delay = _ERROR_DELAY
            elapsed = time.perf_counter() - began
            self._closed.wait(max(delay, _MAX_LOAD * elapsed))
        connection.close()

    def _check(self, reader: Transaction, *, everything: bool) -> None:
        with self._lock:
            topics = list(self._watches) if everything else list(self._unchecked)
            self._unchecked.clear()
        if not topics:
            return
        versions = versions_of(reader, topics)
        with self._lock:
            changed = {topic: each for topic, each in versions.items() if self._versions.get(topic, each) != each}
        self.notify(changed)
