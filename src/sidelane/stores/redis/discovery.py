"""Discovery of the primary server: a fixed endpoint, the answer of sentinels, or the cluster node with the store's slot."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from redis import exceptions
from redis.asyncio.connection import Connection
from redis.crc import key_slot

from sidelane.model.errors import StoreMisconfigured
from sidelane.stores.redis.errors import is_transient, translate_errors
from sidelane.stores.redis.url import Endpoint, RedisUrl

QUERY_TIMEOUT = 1.0
"""Seconds after which a server that is queried for the primary counts as unavailable."""


class Discovery(Protocol):
    """Finds the primary."""

    async def locate(self, previous_error: Exception | None) -> Endpoint:
        """Return the primary, after `previous_error` from the last primary. Raises redis-py's errors and `StoreMisconfigured`."""
        ...


def discovery_for(url: RedisUrl) -> Discovery:
    """Return the discovery for the topology that a URL names."""
    if url.topology == "sentinel":
        return Sentinels(url)
    return Cluster(url) if url.topology == "cluster" else SingleServer(url)


class SingleServer:
    """The only server that the URL names. If the server is a cluster node, the other nodes are found through it."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._cluster: Cluster | None = None
        self._is_checked = False

    async def locate(self, previous_error: Exception | None) -> Endpoint:
        (endpoint,) = self._url.hosts
        if not self._is_checked:
            await self._check(endpoint)
        return await self._cluster.locate(previous_error) if self._cluster else endpoint

    async def _check(self, endpoint: Endpoint) -> None:
        info = read_info(await _query(self._url.connection(endpoint), "INFO"))
        if "sentinel_masters" in info:
            raise StoreMisconfigured(
                f"The store {self._url.name} is a sentinel: set SIDELANE_STORE to redis+sentinel:// with the service at "
                "the end."
            )
        if info.get("cluster_enabled") == "1" and endpoint:
            self._cluster = Cluster(self._url)
        self._is_checked = True


class Sentinels:
    """The primary that sentinels name for a service. A server that is a replica is not used."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url

    async def locate(self, previous_error: Exception | None) -> Endpoint:
        last: Exception | None = None
        unknown = False
        for sentinel in _shuffled(self._url.hosts):
            connection = self._url.connection({**sentinel, **self._url.sentinel})
            try:
                answer = await _query(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
            except (exceptions.RedisError, OSError) as error:
                if not is_transient(error):
                    raise self._misconfigured(error) from error
                last = error
                continue
            if answer:
                return {"host": answer[0], "port": int(answer[1]), "redis_connect_func": _only_primary}
            unknown = True
        if unknown:
            raise StoreMisconfigured(
                f"The sentinels of the store {self._url.name} know no service {self._url.service!r}: "
                "correct SIDELANE_STORE."
            )
        raise exceptions.ConnectionError(f"no sentinel answers; the last one: {last or 'silence'}")

    def _misconfigured(self, error: Exception) -> StoreMisconfigured:
        if "unknown command" in str(error):
            return StoreMisconfigured(
                f"The store {self._url.name} is no sentinel but a server: write redis:// in SIDELANE_STORE."
            )
        return StoreMisconfigured(
            f"A sentinel of the store {self._url.name} refused ({error}): correct SIDELANE_STORE, where "
            "?sentinel_username= and ?sentinel_password= are for the sentinels."
        )


class Cluster:
    """The nodes of a cluster. Any of them can name the node with the store's slot."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._slot = key_slot(url.prefix.encode())
        self._found: list[Endpoint] = []  # nodes from earlier answers, in addition to those in the URL

    async def locate(self, previous_error: Exception | None) -> Endpoint:
        if isinstance(previous_error, exceptions.MovedError) and previous_error.host:
            return {"host": previous_error.host, "port": previous_error.port}
        last: Exception | None = None
        for node in _shuffled([*self._url.hosts, *(node for node in self._found if node not in self._url.hosts)]):
            try:
                answer = await _query(self._url.connection(node), "CLUSTER", "SLOTS")
            except (exceptions.RedisError, OSError) as error:
                if not is_transient(error):
                    raise
                last = error
                continue
            owner = self._read(answer, node)
            if owner is not None:
                return owner
        raise last or exceptions.ClusterDownError(f"no node has the slot {self._slot}")

    def _read(self, answer: Iterable[Sequence[Any]], queried: Endpoint) -> Endpoint | None:
        """Remember the nodes in an answer, and return the one with the slot, if any."""
        owner = None
        found = []
        for first, last, *nodes in answer:
            endpoints = [
                {"host": host if host not in (None, "", "?") else queried["host"], "port": port}
                for host, port, *_ in nodes
            ]
            found += [endpoint for endpoint in endpoints if endpoint not in found]
            if first <= self._slot <= last:
                owner = endpoints[0]
        self._found = found
        return owner


def read_info(answer: object) -> dict[str, str]:
    """Parse the reply to INFO."""
    return dict(line.split(":", 1) for line in str(answer).splitlines() if ":" in line and not line.startswith("#"))


def _shuffled(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Return endpoints in random order, so that a server with outdated information is not always queried first."""
    return random.sample(endpoints, len(endpoints))


async def _query(connection: Connection, *arguments: str) -> Any:
    """Send one command to a server and return its reply."""
    with translate_errors():
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command(*arguments)
                return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)


async def _only_primary(connection: Connection) -> None:
    """Set up a connection. Raises `ReadOnlyError` if the former primary is a replica now."""
    await connection.on_connect()
    await connection.send_command("INFO", "replication")
    if read_info(await connection.read_response()).get("role") != "master":
        raise exceptions.ReadOnlyError("the server is a replica")
