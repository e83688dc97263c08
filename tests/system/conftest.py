"""Fixtures of system tests: a folder with a store, processes on that store, and access to both."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import RunningServer
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import Processes
from tests.system.store_urls import SQLITE

LEASE = 1.0
"""Short, so that the tests are."""


@pytest.fixture
def lease() -> float:
    """The lease of workers, in seconds."""
    return LEASE


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of store: see `store_urls`."""
    return getattr(request, "param", SQLITE)


@pytest.fixture
def appendfsync(request: pytest.FixtureRequest) -> str:
    """How often a server syncs what it has written: always, for tests may kill it."""
    return getattr(request, "param", "always")


@pytest.fixture
def server(kind: str, appendfsync: str, tmp_path: Path) -> Iterator[RunningServer]:
    """The server that keeps the jobs."""
    folder = tmp_path / "server"
    folder.mkdir()
    running = RunningServer(kind, folder).start("--appendfsync", appendfsync)
    yield running
    running.stop(signal.SIGKILL)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, kind: str, appendfsync: str, tmp_path: Path) -> str:
    """The store's URL. A server is started if needed; only it uses `appendfsync`."""
    if kind == SQLITE:
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    server: RunningServer = request.getfixturevalue("server")
    return server.url()


@pytest.fixture
def processes(tmp_path: Path, lease: float, store_url: str) -> Iterator[Processes]:
    """Processes on one store. All are stopped after the test, and their logs are shown if it failed."""
    found = Processes(tmp_path, store_url, lease=lease)
    yield found
    found.stop()
    print(found.report())


@pytest.fixture
async def store(processes: Processes) -> AsyncIterator[Store]:
    """The same store, open in the test's own process."""
    opened = await open_store(processes.store)
    yield opened
    await opened.close()


@pytest.fixture
async def scenario(processes: Processes, store: Store) -> AsyncIterator[ProcessScenario]:
    """Processes and store together."""
    async with AsyncExitStack() as clients:
        yield ProcessScenario(processes, store, clients)
