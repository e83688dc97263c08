"""Opening the store that a URL names."""

import time
from collections.abc import Callable
from pathlib import Path

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.stores.contract import Store

_SQLITE = "sqlite://"
_REDIS = ("redis://", "rediss://", "unix://")


async def open_store(url: str, *, clock: Callable[[], float] = time.time) -> Store:
    """Open the store that `url` names, whose time is told by `clock` in seconds since 1970.

    `sqlite:///jobs.db` is a file in the current folder, `sqlite:////var/lib/jobs.db` one by its whole path, and
    `sqlite://:memory:` lives as long as the store is open. `redis://`, `rediss://` and `unix://` name a server of Redis or Valkey;
    `?name=` tells several stores on it apart. Raises `ConfigurationError` for a URL that names no store.
    """
    if url.startswith(_SQLITE):
        from sidelane.stores.sqlite.store import SqliteStore

        return await SqliteStore.open(_sqlite_path(url), clock)
    if url.startswith(_REDIS):
        try:
            from sidelane.stores.redis.store import RedisStore
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"SIDELANE_STORE is {_without_secret(url)!r}, and the package {error.name} is not installed: "
                'run pip install "sidelane[redis]".'
            ) from error
        return await RedisStore.open(url, clock)
    raise ConfigurationError(
        f"SIDELANE_STORE is {_without_secret(url)!r}, which names no store: use sqlite:///sidelane.db or another file, "
        "or redis://host for a server."
    )


def _sqlite_path(url: str) -> str:
    path = url.removeprefix(_SQLITE)
    if path in (":memory:", "/:memory:"):
        return ":memory:"
    if not path.startswith("/") or path == "/":
        raise ConfigurationError(
            f"SIDELANE_STORE is {url!r}, which names no file: write sqlite:///jobs.db for a file in the current folder, "
            "sqlite:////var/lib/jobs.db for one by its whole path."
        )
    return str(Path(path[1:]).absolute())


def _without_secret(url: str) -> str:
    """Leave out what may be a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://…{rest[rest.rfind('@') :]}" if separator and "@" in rest else url
