"""Opening the store that a URL names."""

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
    """Open the store that `url` names, whose time is told by `clock` in seconds since 1970.

    `sqlite:///jobs.db` is a file in the current folder, `sqlite:////var/lib/jobs.db` one by its whole path, and
    `sqlite://:memory:` lives as long as the store is open. `redis://`, `rediss://` and `unix://` name a server of Redis or Valkey,
    `redis+sentinel://` sentinels that know it and `redis+cluster://` nodes of a cluster; `?name=` tells several stores there
    apart. Raises `ConfigurationError` for a URL that names no store.
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
    """Resolve a relative file against the project's root, so that every process finds the same one."""
    path = url.removeprefix(_FILE)
    return url if path in (url, MEMORY) or path.startswith("/") else f"{_FILE}{root / path}"


def is_in_memory(url: str) -> bool:
    """Tell whether the store lives in the memory of whoever opens it, and nowhere else."""
    return url.endswith(MEMORY)


def file_missing(url: str) -> bool:
    """Tell whether the store is a file that is not there yet; to open it would make one."""
    path = url.removeprefix(_FILE)
    return path not in (url, MEMORY) and not Path(path).exists()


def redact_url(url: str) -> str:
    """Give a store's URL without the passwords it may carry, to show it."""
    if url.startswith(_SQLITE):
        return url
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")  # the last one: whoever did not escape a password still keeps it
    user, colon, _ = login.partition(":")
    if colon:
        rest = f"{user}:{MASK}{at}{place}"
    return re.sub(r"(?<=password=)[^&#]+", MASK, f"{scheme}{separator}{rest}")


def _sqlite_path(url: str) -> str:
    path = url.removeprefix(_SQLITE)
    if path in (MEMORY, f"/{MEMORY}"):
        return MEMORY
    if not path.startswith("/") or path == "/":
        raise ConfigurationError(
            f"SIDELANE_STORE is {url!r}, which names no file: write sqlite:///jobs.db for a file in the current folder, "
            "sqlite:////var/lib/jobs.db for one by its whole path."
        )
    return str(Path(path[1:]).absolute())
