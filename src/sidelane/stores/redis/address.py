"""The address of a store on Redis: what its URL says of the server, and which keys there are the store's."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.asyncio.connection import Connection, parse_url

from sidelane.model.errors import ConfigurationError

DEFAULT_NAME = "sidelane"
CONNECT_TIMEOUT = 2.0
ANSWER_TIMEOUT = 5.0
"""Seconds until a server that does not answer counts as gone."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Address:
    """How to connect, the prefix of the store's keys, and a name for messages that tells no password."""

    options: dict[str, Any]
    prefix: str
    name: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a URL: `redis://`, `rediss://` or `unix://` as redis-py reads them, and `?name=` for one of several stores."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        store = query.pop("name", DEFAULT_NAME)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if not _NAME.fullmatch(store):
            raise ConfigurationError(
                f"SIDELANE_STORE is {shown!r} with the name {store!r}: a store's name is 1 to 64 letters, digits or any of '_.-'."
            )
        try:
            options = dict(parse_url(urlunsplit(parts._replace(query=urlencode(query)))))
        except ValueError as error:
            raise ConfigurationError(f"SIDELANE_STORE is {shown!r}, which cannot be read: {error}") from error
        defaults = {
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": ANSWER_TIMEOUT,
            "socket_keepalive": True,
        }
        if parts.scheme == "unix":
            del defaults["socket_keepalive"]
        # rows come packed among texts: what is no UTF-8 in them must come back as it was
        texts = {"decode_responses": True, "encoding_errors": "surrogateescape"}
        address = cls({**defaults, **options, **texts, "protocol": 2}, f"{{{store}}}", shown)
        try:
            address.connection()
        except (TypeError, ValueError) as error:  # an option that redis-py does not know
            raise ConfigurationError(
                f"SIDELANE_STORE is {shown!r} with options that cannot be used: {error}"
            ) from error
        return address

    def connection(self) -> Connection:
        """Make a connection of its own, whose reads may wait for ever."""
        options = {**self.options, "socket_timeout": None}
        kind: type[Connection] = options.pop("connection_class", Connection)
        return kind(**options)
