"""Notifications over pub/sub: one connection for all topics of a store. The connection reconnects by itself and then wakes every
watch.

All jobs share one channel, whose messages list the changed jobs. Queues use a channel per watcher, because a new job wakes only one
watcher (rule 22). Any other topic has its own channel.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis import exceptions
from redis.asyncio.connection import Connection

from sidelane.model.errors import StoreError
from sidelane.model.ids import new_nonce
from sidelane.stores.contract import job_topic, queue_topic
from sidelane.stores.redis.connection import Server
from sidelane.stores.redis.discovery import discovery_for
from sidelane.stores.redis.errors import translate_errors
from sidelane.stores.redis.url import RedisUrl
from sidelane.stores.subscription import TopicSubscription

CONFIRM_TIMEOUT = 1.0
"""Seconds for which a new watch waits for the server's confirmation. After that, the watch begins with a hint."""

PING_INTERVAL = 30.0
"""Seconds without a message after which the server gets a PING.

Without a reply for the same time, the connection counts as broken.
"""

_RECONNECT_DELAY = (0.05, 0.25)  # seconds, at random

_JOB, _QUEUE = job_topic(""), queue_topic("")


class ServerSubscription(TopicSubscription):
    """A subscription that is open when the server has confirmed it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False  # the caller may rely on its hints


class Channel:
    """A channel on the server: the watches that need it, and the number of unconfirmed subscribe commands."""

    def __init__(self) -> None:
        self.watches: set[ServerSubscription] = set()
        self.pending = 0
        self.ready = asyncio.Event()


class Notifier:
    """All watches of one store. The first watch opens the connection."""

    def __init__(self, url: RedisUrl, server: Server) -> None:
        self._url = url
        self._discovery = discovery_for(url)
        self._server = server
        self._prefix = f"{url.prefix}:hint:"
        self.watcher = new_nonce()
        self._job_channel = f"{self._prefix}jobs"
        self._queue_channel = f"{self._prefix}watcher:{self.watcher}"
        self._topics: defaultdict[str, set[ServerSubscription]] = defaultdict(set)
        self._channels: dict[str, Channel] = {}
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._send_lock = asyncio.Lock()

    @property
    def queues(self) -> list[str]:
        """The queues that this process watches."""
        return _queues(self._topics)

    @asynccontextmanager
    async def watch(self, topics: tuple[str, ...]) -> AsyncIterator[ServerSubscription]:
        """Subscribe to topics for as long as the context is open."""
        watch = ServerSubscription()
        names = list(dict.fromkeys(map(self._channel_of, topics)))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sidelane hints")
        for topic in topics:
            self._topics[topic].add(watch)
        new = []
        for name in names:
            channel = self._channels.setdefault(name, Channel())
            if not channel.watches:
                new.append(name)
            channel.watches.add(watch)
        try:
            await self._send("SSUBSCRIBE", new)
            if not await self._confirmed(names):
                watch.hint()
            await self._set_watched(_queues(topics))
            watch.is_open = True
            yield watch
        finally:
            await self._unsubscribe(topics, names, watch)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _channel_of(self, topic: str) -> str:
        if topic.startswith(_JOB):
            return self._job_channel
        return self._queue_channel if topic.startswith(_QUEUE) else f"{self._prefix}{topic}"

    def _topics_of(self, name: str, message: str) -> Iterable[str]:
        """Return the topics that a message is about."""
        if name == self._job_channel:
            return map(job_topic, message.split("\n"))
        return [queue_topic(message) if name == self._queue_channel else name.removeprefix(self._prefix)]

    async def _confirmed(self, names: list[str]) -> bool:
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT):
                for name in names:
                    await self._channels[name].ready.wait()
        except TimeoutError:
            return False
        return True

    async def _set_watched(self, queues: list[str], watched: bool = True) -> None:
        """Start or stop waking this watcher for jobs of some queues.

        If the server is unavailable, the next claim makes this change.
        """
        if queues:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(CONFIRM_TIMEOUT):
                    await self._server.run("watch", self.watcher, int(watched), *queues)

    async def _unsubscribe(self, topics: tuple[str, ...], names: list[str], watch: ServerSubscription) -> None:
        unwatched = []
        for topic in topics:
            self._topics[topic].discard(watch)
            if not self._topics[topic]:
                unwatched.append(topic)
                del self._topics[topic]
        unwanted = []
        for name in names:
            channel = self._channels[name]
            channel.watches.discard(watch)
            if not channel.watches:
                channel.ready.clear()
                unwanted.append(name)
                if not channel.pending:
                    del self._channels[name]
        await self._send("SUNSUBSCRIBE", unwanted)
        await self._set_watched(_queues(unwatched), watched=False)

    async def _send(self, command: str, names: list[str]) -> None:
        """Send a command if connected. Otherwise, the next connection subscribes to all channels."""
        connection = self._connection
        if not names or connection is None:
            return
        if command == "SSUBSCRIBE":
            for name in names:
                self._channels[name].pending += 1
        # other watches need the command too, so a cancelled caller must not cancel it
        await asyncio.shield(asyncio.ensure_future(self._send_now(connection, command, names)))

    async def _send_now(self, connection: Connection, command: str, names: list[str]) -> None:
        async with self._send_lock:
            if connection is not self._connection:  # redis-py would reopen the closed connection
                return
            with suppress(exceptions.RedisError, OSError), translate_errors():
                async with asyncio.timeout(self._url.response_timeout):
                    await connection.send_command(command, *names)

    async def _run(self) -> None:
        last_error: Exception | None = None
        while True:
            try:
                endpoint = await self._discovery.locate(last_error)
                with translate_errors():
                    await self._receive(self._url.connection(endpoint))
            except (exceptions.RedisError, OSError, StoreError) as error:
                last_error = error
                await asyncio.sleep(random.uniform(*_RECONNECT_DELAY))

    async def _receive(self, connection: Connection) -> None:
        """Subscribe and receive messages until the connection breaks."""
        try:
            async with asyncio.timeout(self._url.response_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
            await self._subscribe_all(connection)
            await self._read_messages(connection)
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    async def _read_messages(self, connection: Connection) -> None:
        """Process messages until the connection breaks or a PING gets no reply."""
        pinged = False
        while True:
            message = await connection.read_response(timeout=PING_INTERVAL)
            if message is None and pinged:
                raise exceptions.ConnectionError("no reply to PING on the notification connection")
            pinged = message is None
            if pinged:
                await self._send_now(connection, "PING", [])
            elif isinstance(message, list):
                self._on_message(message)

    async def _subscribe_all(self, connection: Connection) -> None:
        """Subscribe to all watched channels. The confirmation wakes their watches, because hints may have been missed."""
        self._channels = {name: channel for name, channel in self._channels.items() if channel.watches}
        for channel in self._channels.values():
            channel.pending = 0
            channel.ready.clear()
        self._connection = connection
        await self._send("SSUBSCRIBE", list(self._channels))
        await self._set_watched(self.queues)

    def _on_message(self, message: list[Any]) -> None:
        kind, name, *rest = message
        channel = self._channels.get(name)
        if channel is None:
            return
        if kind == "smessage":
            for topic in self._topics_of(name, *rest):
                for watch in self._topics.get(topic, ()):
                    watch.hint()
        elif kind == "ssubscribe":
            channel.pending = max(0, channel.pending - 1)
            if not channel.pending:
                self._confirm(name, channel)
        elif kind == "sunsubscribe" and channel.watches and not channel.pending:
            raise exceptions.ConnectionError(
                "the store has moved to another node"
            )  # not an answer to one of our unsubscribe commands

    def _confirm(self, name: str, channel: Channel) -> None:
        """Record that the server has confirmed the subscription to a channel."""
        if not channel.watches:
            del self._channels[name]
            return
        channel.ready.set()
        for watch in channel.watches:
            if watch.is_open:
                watch.hint()


def _queues(topics: Iterable[str]) -> list[str]:
    return [topic.removeprefix(_QUEUE) for topic in topics if topic.startswith(_QUEUE)]
