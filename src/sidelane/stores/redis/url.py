"""The address of a store on Redis: what its URL says of the servers, and which keys there are the store's."""

import re
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

from sidelane.model.errors import ConfigurationError

DEFAULT_NAME = "sidelane"
CONNECT_TIMEOUT = 2.0
ANSWER_TIMEOUT = 5.0
"""Seconds until a server that does not answer counts as gone."""

Topology = Literal["server", "sentinel", "cluster"]
"""What the hosts are: the server itself, sentinels that know where it is, or nodes of a cluster that it is one of."""

Endpoint = dict[str, Any]
"""Where one server is: those options of a connection that differ from server to server."""

_WAYS: dict[str, Topology] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS: dict[Topology, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DATABASE = re.compile(r"/?\d{0,9}")
_COPIES = re.compile(r"\d{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """Where to ask, how to connect, the prefix of the store's keys, and a name for messages that tells no password."""

    way: Topology
    hosts: tuple[Endpoint, ...]
    options: dict[str, Any]
    prefix: str
    name: str
    service: str = ""  # what the sentinels call the server
    sentinel: dict[str, Any]  # the options of a connection to a sentinel that differ from those to the server
    answer_within: (
        float  # seconds; given to no connection, for redis-py's own way to keep it may swallow a cancellation
    )
    copies: int = 0  # how many replicas must have what is acknowledged

    @classmethod
    def parse(cls, url: str) -> "RedisUrl":
        """Read a URL. Its options are those of redis-py, and `name`, `wait`, `sentinel_username` and `sentinel_password`."""
        scheme, _, rest = url.partition("://")
        transport, _, way = scheme.partition("+")
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        login, _, hosts = authority.rpartition("@")
        path, _, query = rest[len(authority) :].partition("#")[0].partition("?")
        # a password with a / ? or # in it ends early for whoever reads a URL: all up to the last @ may be one
        shown = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
        if "@" in rest[len(authority) :]:
            _refuse(shown, ", which cannot be read: write %2F %3F %23 %40 for / ? # @ in a user, password or option")
        options = dict(parse_qsl(query))
        name = options.pop("name", DEFAULT_NAME)
        if not _NAME.fullmatch(name):
            _refuse(shown, f" with the name {name!r}: a store's name is 1 to 64 letters, digits or any of '_.-'")
        copies = options.pop("wait", "0")
        if not _COPIES.fullmatch(copies):
            _refuse(shown, f" with wait={copies!r}: that is how many replicas must have a write, from 0 to 99")
        sentinel = {part: options.pop(f"sentinel_{part}", None) for part in ("username", "password")}
        service, database = _cut(path, way, shown)
        _check(transport, way, hosts, database, shown)
        port = _PORTS[_WAYS[way]]
        connecting = _options(transport, login, database, options, shown)
        address = cls(
            way=_WAYS[way],
            hosts=({},) if transport == "unix" else tuple(_place(host, port, shown) for host in hosts.split(",")),
            options={**connecting, "socket_timeout": None},
            prefix=f"{{{name}}}",
            name=shown,
            service=service,
            sentinel={**sentinel, "db": 0},
            answer_within=connecting["socket_timeout"],
            copies=int(copies),
        )
        _try(address)
        return address

    def connection(self, place: Endpoint) -> Connection:
        """Make a connection to one server."""
        options = {**self.options, **place}
        kind: type[Connection] = options.pop("connection_class", Connection)
        return kind(**options)


def _cut(path: str, way: str, shown: str) -> tuple[str, str]:
    """Part a path into the sentinels' service, if there is one, and the rest."""
    if way != "sentinel":
        return "", path
    service, slash, database = path.removeprefix("/").partition("/")
    if not service:
        _refuse(shown, ", which names no service of the sentinels: write redis+sentinel://host:26379/mymaster")
    return unquote(service), slash + database


def _check(transport: str, way: str, hosts: str, path: str, shown: str) -> None:
    """Refuse forms that redis-py would read in a way nobody meant."""
    if transport == "unix":
        if hosts or path in ("", "/"):
            _refuse(shown, ", which names no socket: write unix:///var/run/redis.sock, with three slashes")
    elif not _DATABASE.fullmatch(path):
        _refuse(shown, ", which names no database: that is a number at the end, as in redis://host:6379/0")
    if "," in hosts and not way:
        _refuse(
            shown, ", which names several servers: write redis+sentinel:// or redis+cluster:// where they are those"
        )


def _place(host: str, port: int, shown: str) -> Endpoint:
    """Read a host with or without a port."""
    try:
        parts = urlsplit(f"//{host}")
        return {"host": parts.hostname or "localhost", "port": parts.port or port}
    except ValueError:
        _refuse(shown, f", which cannot be read: {host!r} is no host and port")


def _options(transport: str, login: str, path: str, query: dict[str, str], shown: str) -> dict[str, Any]:
    """Read the options of a connection as redis-py does."""
    try:
        found = dict(parse_url(f"{transport}://{path}?{urlencode(query)}"))
    except ValueError as error:
        raise ConfigurationError(f"SIDELANE_STORE is {shown!r}, which cannot be read: {error}") from error
    user, _, password = login.partition(":")
    if user:
        found["username"] = unquote(user)
    if password:
        found["password"] = unquote(password)
    defaults: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": ANSWER_TIMEOUT}
    if transport != "unix":
        defaults["socket_keepalive"] = True
    # rows come packed among texts: what is no UTF-8 in them must come back as it was
    texts = {"decode_responses": True, "encoding_errors": "surrogateescape"}
    return {**defaults, **found, **texts, "protocol": 2}


def _try(address: RedisUrl) -> None:
    """Refuse options that redis-py does not know, and files of certificates that are not there."""
    try:
        connection = address.connection({})
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except (RedisError, TypeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"SIDELANE_STORE is {address.name!r} with options that cannot be used: {error}"
        ) from error


def _refuse(shown: str, why: str) -> NoReturn:
    raise ConfigurationError(f"SIDELANE_STORE is {shown!r}{why}.")
