"""Opening the store for commands that need nothing else: no lane, no workers, no upkeep."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidelane.cli.locate import load_lane
from sidelane.client.client import Client
from sidelane.configuration import load_settings
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.stores.factory import file_missing, open_store


def settings_of(store: str | None, lane: str | None) -> Settings:
    """Give the settings to open the store by. Raises `ConfigurationError`."""
    if store is None and lane is not None:
        return load_lane(lane).settings
    return load_settings(store=store).settings


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[Client]:
    """Open an existing store. Raises `ConfigurationError` where nothing has been kept yet, and `StoreError`."""
    if file_missing(settings.store):
        raise ConfigurationError(
            f"Nothing has been kept at {settings.store} yet. Run this in the project's folder, name the store by --store or "
            "SIDELANE_STORE, or start a worker."
        )
    client = Client(await open_store(settings.store), settings=settings)
    try:
        yield client
    finally:
        await client.close()
