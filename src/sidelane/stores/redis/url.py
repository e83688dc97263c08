"""URL of a store on Redis: its servers, connection options and key prefix."""

import re
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

from sidelane.model.errors import ConfigurationError

DEFAULT_NAME = "sidelane"
CONNECT_TIMEOUT = 2.0
RESPONSE_TIMEOUT = 5.0
"""Seconds after which a server that does not respond counts as unavailable."""

Topology = Literal["server", "sentinel", "cluster"]
"""Kind of the hosts in a URL: the server itself, its sentinels, or nodes of its cluster."""

Endpoint = dict[str, Any]
"""The connection options that differ from server to server, e.g. host and port."""

_TOPOLOGIES: dict[str, Topology] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS: dict[Topology, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DATABASE = re.compile(r"/?\d{0,9}")
_MIN_REPLICAS = re.compile(r"\d{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """Servers, connection options, the prefix of the store's keys, and `name`, a form of the URL without passwords."""

    topology: Topology
    hosts: tuple[Endpoint, ...]
    options: dict[str, Any]
    prefix: str
    name: str
    service: str = ""  # the name by which sentinels know the primary
    sentinel: dict[str, Any]  # options of connections to sentinels that differ from those to the server
    response_timeout: float  # seconds; not passed to redis-py, whose own timeout may swallow a cancellation
    min_replicas: int = 0  # replicas that must have a write before it is acknowledged

    @classmethod
    def parse(cls, url: str) -> "RedisUrl":
        """Parse a URL. Raises `ConfigurationError`.

        The options are those of redis-py, and `name`, `wait`, `sentinel_username` and `sentinel_password`.
        """
        scheme, _, rest = url.partition("://")
        transport, _, scheme_topology = scheme.partition("+")
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        login, _, hosts = authority.rpartition("@")
        path, _, query = rest[len(authority) :].partition("#")[0].partition("?")
        # an unescaped / ? or # in a password ends the authority early, so everything up to the last @ may be a password
        redacted = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
        if "@" in rest[len(authority) :]:
            _refuse(redacted, ", which cannot be read: write %2F %3F %23 %40 for / ? # @ in a user, password or option")
        options = dict(parse_qsl(query))
        name = options.pop("name", DEFAULT_NAME)
        if not _NAME.fullmatch(name):
            _refuse(redacted, f" with the name {name!r}: a store's name is 1 to 64 letters, digits or any of '_.-'")
        min_replicas = options.pop("wait", "0")
        if not _MIN_REPLICAS.fullmatch(min_replicas):
            _refuse(
                redacted,
                f" with wait={min_replicas!r}: that is the number of replicas that must have a write, from 0 to 99",
            )
        sentinel = {part: options.pop(f"sentinel_{part}", None) for part in ("username", "password")}
        service, database = _split_service(path, scheme_topology, redacted)
        _check_form(transport, scheme_topology, hosts, database, redacted)
        port = _PORTS[_TOPOLOGIES[scheme_topology]]
        connection_options = _options(transport, login, database, options, redacted)
        parsed = cls(
            topology=_TOPOLOGIES[scheme_topology],
            hosts=({},) if transport == "unix" else tuple(_endpoint(host, port, redacted) for host in hosts.split(",")),
            options={**connection_options, "socket_timeout": None},
            prefix=f"{{{name}}}",
            name=redacted,
            service=service,
            sentinel={**sentinel, "db": 0},
            response_timeout=connection_options["socket_timeout"],
            min_replicas=int(min_replicas),
        )
        _check_options(parsed)
        return parsed

    def connection(self, endpoint: Endpoint) -> Connection:
        """Return a new connection to one server, not connected yet."""
        options = {**self.options, **endpoint}
        kind: type[Connection] = options.pop("connection_class", Connection)
        return kind(**options)


def _split_service(path: str, topology: str, redacted: str) -> tuple[str, str]:
    """Split a path into the sentinels' service, if any, and the remaining path."""
    if topology != "sentinel":
        return "", path
    service, slash, database = path.removeprefix("/").partition("/")
    if not service:
        _refuse(redacted, ", which names no service of the sentinels: write redis+sentinel://host:26379/mymaster")
    return unquote(service), slash + database


def _check_form(transport: str, topology: str, hosts: str, path: str, redacted: str) -> None:
    """Raise `ConfigurationError` for forms that redis-py would silently misread."""
    if transport == "unix":
        if hosts or path in ("", "/"):
            _refuse(redacted, ", which names no socket: write unix:///var/run/redis.sock, with three slashes")
    elif not _DATABASE.fullmatch(path):
        _refuse(redacted, ", which names no database: that is a number at the end, as in redis://host:6379/0")
    if "," in hosts and not topology:
        _refuse(
            redacted, ", which names several servers: write redis+sentinel:// or redis+cluster:// if they are those"
        )


def _endpoint(host: str, port: int, redacted: str) -> Endpoint:
    """Parse a host with or without a port."""
    try:
        parts = urlsplit(f"//{host}")
        return {"host": parts.hostname or "localhost", "port": parts.port or port}
    except ValueError:
        _refuse(redacted, f", which cannot be read: {host!r} is no host and port")


def _options(transport: str, login: str, path: str, query: dict[str, str], redacted: str) -> dict[str, Any]:
    """Parse the options of a connection in the same way as redis-py."""
    try:
        found = dict(parse_url(f"{transport}://{path}?{urlencode(query)}"))
    except ValueError as error:
        raise ConfigurationError(f"SIDELANE_STORE is {redacted!r}, which cannot be read: {error}") from error
    user, _, password = login.partition(":")
    if user:
        found["username"] = unquote(user)
    if password:
        found["password"] = unquote(password)
    defaults: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": RESPONSE_TIMEOUT}
    if transport != "unix":
        defaults["socket_keepalive"] = True
    if transport == "rediss":  # redis-py before 6 does not check it by default
        defaults["ssl_check_hostname"] = found.get("ssl_cert_reqs") != "none"
    # packed rows are decoded like texts, so bytes that are not UTF-8 must survive
    texts = {"decode_responses": True, "encoding_errors": "surrogateescape"}
    return {**defaults, **found, **texts, "protocol": 2}


def _check_options(url: RedisUrl) -> None:
    """Raise `ConfigurationError` for options that redis-py rejects and for missing certificate files."""
    try:
        connection = url.connection({})
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()
    except (RedisError, TypeError, ValueError, OSError) as error:
        raise ConfigurationError(f"SIDELANE_STORE is {url.name!r} with options that cannot be used: {error}") from error


def _refuse(redacted: str, why: str) -> NoReturn:
    raise ConfigurationError(f"SIDELANE_STORE is {redacted!r}{why}.")
