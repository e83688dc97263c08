"""Fixtures: a store on a file, and lanes that use it."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import RunningServer


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A Valkey server for the tests that run on both stores."""
    running = RunningServer("valkey", tmp_path_factory.mktemp("valkey")).start()
    yield running
    running.stop()


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The store's URL: a new SQLite file, or with `BOTH_STORES` a name on Valkey too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    server: RunningServer = request.getfixturevalue("valkey")
    return server.url(name=secrets.token_hex(4))


BOTH_STORES = pytest.mark.parametrize("url", ["sqlite", "valkey"], indirect=True)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    yield opened
    await opened.close()
