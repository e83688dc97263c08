"""Waking those who watch: one connection for all topics of a store, which comes back by itself and then wakes everyone.

Jobs share one channel, whose messages name those that have changed; this store has a channel of its own for the queues it
watches, since what arrives wakes one watcher and not all of them (rules 22); any other topic is a channel.
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
from sidelane.stores.redis.errors import translated
from sidelane.stores.redis.url import RedisUrl
from sidelane.stores.subscription import TopicSubscription

GRACE = 1.0
"""For how many seconds a new watch waits for the server to confirm it; then it begins with a hint, and gets more later."""

QUIET = 30.0
"""After so many seconds without a message the server is asked whether it is there; twice as many, and it counts as gone."""

_REST = (0.05, 0.25)  # seconds between two attempts to connect

_JOB, _QUEUE = job_topic(""), queue_topic("")


class ServerSubscription(TopicSubscription):
    """A watch that begins when the server has confirmed it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False  # someone may rely on its hints


class Channel:
    """One channel at the server: which watches need it, and how many subscribes are not confirmed yet."""

    def __init__(self) -> None:
        self.watches: set[ServerSubscription] = set()
        self.pending = 0
        self.ready = asyncio.Event()


class Notifier:
    """All watches of one store. The connection is made with the first of them."""

    def __init__(self, address: RedisUrl, server: Server) -> None:
        self._address = address
        self._locator = discovery_for(address)
        self._server = server
        self._prefix = f"{address.prefix}:hint:"
        self.watcher = new_nonce()
        self._jobs = f"{self._prefix}jobs"
        self._own = f"{self._prefix}watcher:{self.watcher}"
        self._topics: defaultdict[str, set[ServerSubscription]] = defaultdict(set)
        self._channels: dict[str, Channel] = {}
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()

    @property
    def queues(self) -> list[str]:
        """The queues that are watched here."""
        return _queues(self._topics)

    @asynccontextmanager
    async def watch(self, topics: tuple[str, ...]) -> AsyncIterator[ServerSubscription]:
        """TopicSubscription topics from now on."""
        watch = ServerSubscription()
        names = list(dict.fromkeys(map(self._channel_of, topics)))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sidelane hints")
        for topic in topics:
            self._topics[topic].add(watch)
        fresh = []
        for name in names:
            channel = self._channels.setdefault(name, Channel())
            if not channel.watches:
                fresh.append(name)
            channel.watches.add(watch)
        try:
            await self._send("SSUBSCRIBE", fresh)
            if not await self._confirmed(names):
                watch.hint()
            await self._wait_for(_queues(topics))
            watch.is_open = True
            yield watch
        finally:
            await self._leave(topics, names, watch)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _channel_of(self, topic: str) -> str:
        if topic.startswith(_JOB):
            return self._jobs
        return self._own if topic.startswith(_QUEUE) else f"{self._prefix}{topic}"

    def _topics_of(self, name: str, message: str) -> Iterable[str]:
        """Say which topics a message is about."""
        if name == self._jobs:
            return map(job_topic, message.split("\n"))
        return [queue_topic(message) if name == self._own else name.removeprefix(self._prefix)]

    async def _confirmed(self, names: list[str]) -> bool:
        try:
            async with asyncio.timeout(GRACE):
                for name in names:
                    await self._channels[name].ready.wait()
        except TimeoutError:
            return False
        return True

    async def _wait_for(self, queues: list[str], waits: bool = True) -> None:
        """Let this watcher be woken for jobs of these queues, or no more. Where the server is away it is done at the next claim."""
        if queues:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._server.run("watch", self.watcher, int(waits), *queues)

    async def _leave(self, topics: tuple[str, ...], names: list[str], watch: ServerSubscription) -> None:
        left = []
        for topic in topics:
            self._topics[topic].discard(watch)
            if not self._topics[topic]:
                left.append(topic)
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
        await self._wait_for(_queues(left), waits=False)

    async def _send(self, command: str, names: list[str]) -> None:
        """Tell the server, if it is there; whoever connects next subscribes to everything."""
        connection = self._connection
        if not names or connection is None:
            return
        if command == "SSUBSCRIBE":
            for name in names:
                self._channels[name].pending += 1
        # whoever is cancelled meanwhile leaves nobody else without what was to be sent
        await asyncio.shield(asyncio.ensure_future(self._tell(connection, command, names)))

    async def _tell(self, connection: Connection, command: str, names: list[str]) -> None:
        async with self._sending:
            if connection is not self._connection:  # redis-py would open a connection that was closed again
                return
            with suppress(exceptions.RedisError, OSError), translated():
                async with asyncio.timeout(self._address.answer_within):
                    await connection.send_command(command, *names)

    async def _run(self) -> None:
        trouble: Exception | None = None
        while True:
            try:
                place = await self._locator.locate(trouble)
                with translated():
                    await self._follow(self._address.connection(place))
            except (exceptions.RedisError, OSError, StoreError) as error:
                trouble = error
                await asyncio.sleep(random.uniform(*_REST))

    async def _follow(self, connection: Connection) -> None:
        """Hear what the primary has to say until the connection breaks."""
        try:
            async with asyncio.timeout(self._address.answer_within):
                await connection.connect()  # type: ignore[no-untyped-call]
            await self._begin(connection)
            await self._listen(connection)
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    async def _listen(self, connection: Connection) -> None:
        """Take messages until the connection breaks, or nothing is heard although we asked."""
        asked = False
        while True:
            message = await connection.read_response(timeout=QUIET)
            if message is None and asked:
                raise exceptions.ConnectionError("nothing was heard on the connection of hints")
            asked = message is None
            if asked:
                await self._tell(connection, "PING", [])
            elif isinstance(message, list):
                self._heard(message)

    async def _begin(self, connection: Connection) -> None:
        """Subscribe to all that is watched; who watches is woken when that is confirmed, for hints may have been missed."""
        self._channels = {name: channel for name, channel in self._channels.items() if channel.watches}
        for channel in self._channels.values():
            channel.pending = 0
            channel.ready.clear()
        self._connection = connection
        await self._send("SSUBSCRIBE", list(self._channels))
        await self._wait_for(self.queues)

    def _heard(self, answer: list[Any]) -> None:
        kind, name, *rest = answer
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
            raise exceptions.ConnectionError("the store has moved to another node")  # nobody here has asked to leave

    def _confirm(self, name: str, channel: Channel) -> None:
        """Note that the server hints at a topic from now on."""
        if not channel.watches:
            del self._channels[name]
            return
        channel.ready.set()
        for watch in channel.watches:
            if watch.is_open:
                watch.hint()


def _queues(topics: Iterable[str]) -> list[str]:
    return [topic.removeprefix(_QUEUE) for topic in topics if topic.startswith(_QUEUE)]
