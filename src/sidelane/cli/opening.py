"""Opening the store for commands that need nothing else: no lane, no workers, no upkeep."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from sidelane.cli.lanes import load_lane
from sidelane.engine.client import Client
from sidelane.engine.configuration import SQLITE, load
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.stores.opening import open_store

MASK = "********"


def settings_of(store: str | None, lane: str | None) -> Settings:
    """Give the settings to open the store by. Raises `ConfigurationError`."""
    if store is None and lane is not None:
        return load_lane(lane).settings
    return load(store=store).settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Client]:
    """Open an existing store. Raises `ConfigurationError` where nothing has been kept yet, and `StoreError`."""
    if _is_missing(settings.store):
        raise ConfigurationError(
            f"Nothing has been kept at {settings.store} yet. Run this in the project's folder, name the store by --store or "
            "SIDELANE_STORE, or start a worker."
        )
    client = Client(await open_store(settings.store), settings=settings)
    try:
        yield client
    finally:
        await client.close()


def _is_missing(url: str) -> bool:
    """Tell whether there is no such file; to open it would make one, wherever that happens to be."""
    path = url.removeprefix(SQLITE)
    return path != url and not Path(path).exists()


def without_password(url: str) -> str:
    """Give a store's URL without the password it may carry."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{MASK}@{host}"))
