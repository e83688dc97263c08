"""Where the primary server is: at a fixed address, where sentinels say, or at the node of a cluster that has the store's slot."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from redis import exceptions
from redis.asyncio.connection import Connection
from redis.crc import key_slot

from sidelane.model.errors import StoreMisconfigured
from sidelane.stores.redis.errors import is_transient, translated
from sidelane.stores.redis.url import Endpoint, RedisUrl

ASK_TIMEOUT = 1.0
"""Seconds until a server that was asked where the primary is counts as gone: there are others to ask."""


class Discovery(Protocol):
    """Knows where the primary is."""

    async def locate(self, trouble: Exception | None) -> Endpoint:
        """Find the primary, after `trouble` with the one before. Raises what redis-py does, and `StoreUnusable`."""
        ...


def discovery_for(address: RedisUrl) -> Discovery:
    """Make the locator for what an address names."""
    if address.way == "sentinel":
        return Sentinels(address)
    return Cluster(address) if address.way == "cluster" else SingleServer(address)


class SingleServer:
    """The one server that the URL names. Where it turns out to be a node of a cluster, the others are found from it."""

    def __init__(self, address: RedisUrl) -> None:
        self._address = address
        self._nodes: Cluster | None = None
        self._known = False

    async def locate(self, trouble: Exception | None) -> Endpoint:
        (place,) = self._address.hosts
        if not self._known:
            await self._recognise(place)
        return await self._nodes.locate(trouble) if self._nodes else place

    async def _recognise(self, place: Endpoint) -> None:
        info = read_info(await _ask(self._address.connection(place), "INFO"))
        if "sentinel_masters" in info:
            raise StoreMisconfigured(
                f"The store {self._address.name} is a sentinel: let SIDELANE_STORE name it by redis+sentinel://, and the "
                "service at the end."
            )
        if info.get("cluster_enabled") == "1" and place:
            self._nodes = Cluster(self._address)
        self._known = True


class Sentinels:
    """What the sentinels call the primary of a service. One that says so but is a replica is not used."""

    def __init__(self, address: RedisUrl) -> None:
        self._address = address

    async def locate(self, trouble: Exception | None) -> Endpoint:
        last: Exception | None = None
        unknown = False
        for sentinel in _mixed(self._address.hosts):
            connection = self._address.connection({**sentinel, **self._address.sentinel})
            try:
                answer = await _ask(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
            except (exceptions.RedisError, OSError) as error:
                if not is_transient(error):
                    raise self._refused(error) from error
                last = error
                continue
            if answer:
                return {"host": answer[0], "port": int(answer[1]), "redis_connect_func": _only_primary}
            unknown = True
        if unknown:
            raise StoreMisconfigured(
                f"The sentinels of the store {self._address.name} know no service {self._address.service!r}: "
                "correct SIDELANE_STORE."
            )
        raise exceptions.ConnectionError(f"no sentinel answers; the last one: {last or 'silence'}")

    def _refused(self, error: Exception) -> StoreMisconfigured:
        if "unknown command" in str(error):
            return StoreMisconfigured(
                f"The store {self._address.name} is no sentinel but a server: write redis:// in SIDELANE_STORE."
            )
        return StoreMisconfigured(
            f"A sentinel of the store {self._address.name} refused ({error}): correct SIDELANE_STORE, where "
            "?sentinel_username= and ?sentinel_password= are for the sentinels."
        )


class Cluster:
    """The nodes of a cluster: any of them knows which has the slot of the store's keys."""

    def __init__(self, address: RedisUrl) -> None:
        self._address = address
        self._slot = key_slot(address.prefix.encode())
        self._found: list[Endpoint] = []  # nodes that were found in the answers, beside those in the URL

    async def locate(self, trouble: Exception | None) -> Endpoint:
        if isinstance(trouble, exceptions.MovedError) and trouble.host:
            return {"host": trouble.host, "port": trouble.port}
        last: Exception | None = None
        for node in _mixed([*self._address.hosts, *(node for node in self._found if node not in self._address.hosts)]):
            try:
                answer = await _ask(self._address.connection(node), "CLUSTER", "SLOTS")
            except (exceptions.RedisError, OSError) as error:
                if not is_transient(error):
                    raise
                last = error
                continue
            owner = self._read(answer, node)
            if owner is not None:
                return owner
        raise last or exceptions.ClusterDownError(f"no node has the slot {self._slot}")

    def _read(self, answer: Iterable[Sequence[Any]], asked: Endpoint) -> Endpoint | None:
        """Note the nodes that an answer names, and give the one that has the slot."""
        owner = None
        found = []
        for first, last, *nodes in answer:
            places = [
                {"host": host if host not in (None, "", "?") else asked["host"], "port": port}
                for host, port, *_ in nodes
            ]
            found += [place for place in places if place not in found]
            if first <= self._slot <= last:
                owner = places[0]
        self._found = found
        return owner


def read_info(answer: object) -> dict[str, str]:
    """Read what INFO says."""
    return dict(line.split(":", 1) for line in str(answer).splitlines() if ":" in line and not line.startswith("#"))


def _mixed(places: Sequence[Endpoint]) -> list[Endpoint]:
    """Give servers in any order, so that one with old knowledge is not asked again and again."""
    return random.sample(places, len(places))


async def _ask(connection: Connection, *words: str) -> Any:
    """Put one question to a server."""
    with translated():
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command(*words)
                return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)


async def _only_primary(connection: Connection) -> None:
    """Begin a connection, and refuse a server that was the primary and has come back as a replica."""
    await connection.on_connect()
    await connection.send_command("INFO", "replication")
    if read_info(await connection.read_response()).get("role") != "master":
        raise exceptions.ReadOnlyError("the server is a replica")
