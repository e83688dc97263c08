"""Waking those who watch: at once for what this store writes, within milliseconds for what others do.

Hints of our own commits come with the commit. For the rest a thread asks SQLite every few milliseconds whether anyone else has
written (`PRAGMA data_version`), and only then looks at the marks of what is watched. It sleeps while nothing is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from threading import Event, Lock, Thread

import apsw

from sidelane.stores.sqlite.marks import Version, versions_of
from sidelane.stores.sqlite.sql import scalar
from sidelane.stores.subscription import TopicSubscription

PERIOD = 0.005  # seconds between two looks
_SHARE = 4  # after a look that took long, rest so many times as long
_REST_AFTER_FAULT = 1.0


class Notifier:
    """All watches of one store, and the thread that looks for changes others have made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = Lock()  # guards the three below, which the loop, the writer and the poller share
        self._watches: dict[str, set[TopicSubscription]] = {}
        self._marks: dict[str, Version] = {}  # what was last hinted at
        self._fresh: set[str] = set()  # topics to look at although nobody may write any more
        self._wanted = Event()  # something is watched, or the end has come
        self._closed = Event()
        self._thread: Thread | None = None

    def poll(self, connection: apsw.Connection) -> None:
        """Begin to look for changes that others make, on this connection."""
        self._thread = Thread(target=self._poll, args=(connection,), name="sidelane-poller", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def among(self, topics: Iterable[str]) -> list[str]:
        """Choose those of the topics that are watched."""
        with self._lock:
            return [topic for topic in topics if topic in self._watches] if self._watches else []

    def hint(self, marks: dict[str, Version]) -> None:
        """Wake whoever watches these topics, which have come to these marks. Any thread may call it."""
        if marks:
            with self._lock:
                self._marks.update((topic, mark) for topic, mark in marks.items() if topic in self._watches)
            try:
                self._loop.call_soon_threadsafe(self._wake, list(marks))
            except RuntimeError:  # the loop has been closed; nobody waits any more
                return

    @asynccontextmanager
    async def watch(
        self, topics: tuple[str, ...], now: Callable[[tuple[str, ...]], Awaitable[dict[str, Version]]] | None
    ) -> AsyncIterator[TopicSubscription]:
        """Watch topics; `now` tells their marks where others write too.

        What changes between that look and the entry below is found by comparing; what changes later, by the hints.
        """
        watch = TopicSubscription()
        marks = await now(topics) if now else {}
        with self._lock:
            for topic in topics:
                self._watches.setdefault(topic, set()).add(watch)
            for topic, mark in marks.items():
                if self._marks.setdefault(topic, mark) != mark:
                    watch.hint()
            self._fresh.update(marks)
        self._wanted.set()
        try:
            yield watch
        finally:
            self._leave(topics, watch)

    def _leave(self, topics: tuple[str, ...], watch: TopicSubscription) -> None:
        with self._lock:
            for topic in set(topics):
                watches = self._watches[topic]
                watches.discard(watch)
                if not watches:
                    del self._watches[topic]
                    self._marks.pop(topic, None)
                    self._fresh.discard(topic)
            if not self._watches and not self._closed.is_set():
                self._wanted.clear()

    def _wake(self, topics: list[str]) -> None:
        with self._lock:
            watches = [watch for topic in topics for watch in self._watches.get(topic, ())]
        for watch in watches:
            watch.hint()

    def _poll(self, connection: apsw.Connection) -> None:
        seen = None
        while True:
            self._wanted.wait()
            if self._closed.wait(0):
                break
            began = time.perf_counter()
            rest = PERIOD
            try:
                version = scalar(connection, "PRAGMA data_version")
                self._look(connection, everything=version != seen)
                seen = version
            except apsw.BusyError:  # another process repairs the log of the database; it will not take long
                pass
            except apsw.Error:  # whoever calls a verb is told what is wrong
                rest = _REST_AFTER_FAULT
            took = time.perf_counter() - began
            self._closed.wait(max(rest, _SHARE * took))
        connection.close()

    def _look(self, connection: apsw.Connection, *, everything: bool) -> None:
        with self._lock:
            topics = list(self._watches) if everything else list(self._fresh)
            self._fresh.clear()
        if not topics:
            return
        marks = versions_of(connection, topics)
        with self._lock:
            changed = {topic: mark for topic, mark in marks.items() if self._marks.get(topic, mark) != mark}
        self.hint(changed)
