"""Opening the store for commands that need nothing else: no lane, no workers, no upkeep."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.cli.lanes import load_lane
from sidelane.engine.client import Client
from sidelane.engine.configuration import load
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.stores.opening import is_missing, open_store


def settings_of(store: str | None, lane: str | None) -> Settings:
    """Give the settings to open the store by. Raises `ConfigurationError`."""
    if store is None and lane is not None:
        return load_lane(lane).settings
    return load(store=store).settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Client]:
    """Open an existing store. Raises `ConfigurationError` where nothing has been kept yet, and `StoreError`."""
    if is_missing(settings.store):
        raise ConfigurationError(
            f"Nothing has been kept at {settings.store} yet. Run this in the project's folder, name the store by --store or "
            "SIDELANE_STORE, or start a worker."
        )
    client = Client(await open_store(settings.store), settings=settings)
    try:
        yield client
    finally:
        await client.close()
