"""Opens a store by URL."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.stores.contract import Store

MEMORY = ":memory:"

MASK = "********"

_SQLITE = "sqlite://"
_FILE = "sqlite:///"
_REDIS = (
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)


async def open_store(url: str, *, clock: Callable[[], float] = time.time) -> Store:
    """Open the store at `url`. `clock` returns seconds since 1970.

    `sqlite:///jobs.db` is a relative path, `sqlite:////var/lib/jobs.db` is an absolute path, and `sqlite://:memory:` exists until
    the store is closed. `redis://`, `rediss://` and `unix://` name a Redis or Valkey server, `redis+sentinel://` its sentinels, and
    `redis+cluster://` nodes of a cluster. `?name=` separates several stores on one server.

    Raises `ConfigurationError` for an unknown URL and `MissingExtra` for a missing driver.
    """
    if url.startswith(_SQLITE):
        from sidelane.stores.sqlite.store import SqliteStore

        return await SqliteStore.open(_sqlite_path(url), clock)
    if url.startswith(_REDIS):
        try:
            from sidelane.stores.redis.store import RedisStore
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"SIDELANE_STORE is {redact_url(url)!r}, and the package {error.name} is not installed: "
                'run pip install "sidelane[redis]".'
            ) from error
        return await RedisStore.open(url, clock)
    raise ConfigurationError(
        f"SIDELANE_STORE is {redact_url(url)!r}, which names no store: use sqlite:///sidelane.db or another file, "
        "or redis://host, redis+sentinel://host/service or redis+cluster://host for a server."
    )


def resolve_path(url: str, root: Path) -> str:
    """Return the URL with a relative path resolved against `root`, so that every process opens the same file."""
    path = url.removeprefix(_FILE)
    return url if path in (url, MEMORY) or path.startswith("/") else f"{_FILE}{root / path}"


def is_in_memory(url: str) -> bool:
    """Return True for an in-memory store, which no other process can open."""
    return url.endswith(MEMORY)


def file_missing(url: str) -> bool:
    """Return True for a file that does not exist yet; opening it would create it."""
    path = url.removeprefix(_FILE)
    return path not in (url, MEMORY) and not Path(path).exists()


def redact_url(url: str) -> str:
    """Return a URL for display, with passwords masked, even if the URL is mistyped."""
    if url.startswith((_FILE, f"{_SQLITE}{MEMORY}")):
        return url
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    login, at, location = rest.rpartition("@")  # the last one, in case the password is not escaped
    user, colon, _ = login.partition(":")
    if login:  # a name alone may be a password whose colon is missing
        rest = f"{user}:{MASK}{at}{location}" if colon else f"{MASK}{at}{location}"
    return re.sub(r"(?<=password=)[^&#]+", MASK, f"{scheme}{separator}{rest}", flags=re.IGNORECASE)


def _sqlite_path(url: str) -> str:
    path = url.removeprefix(_SQLITE)
    if path in (MEMORY, f"/{MEMORY}"):
        return MEMORY
    if not path.startswith("/") or path == "/":
        raise ConfigurationError(
            f"SIDELANE_STORE is {url!r}, which names no file: write sqlite:///jobs.db for a relative path or "
            "sqlite:////var/lib/jobs.db for an absolute one."
        )
    return str(Path(path[1:]).absolute())
