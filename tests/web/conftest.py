"""Fixtures: the service under test, called in process, or run by uvicorn if responses are streamed."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.contract.servers import RunningServer
from tests.web.clients import Server, run_server
from tests.web.service import Service, make_service

MakeService = Callable[..., Service]
MakeClient = Callable[..., httpx2.AsyncClient]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A Valkey server for the tests that run on both stores."""
    running = RunningServer("valkey", tmp_path_factory.mktemp("valkey")).start()
    yield running
    running.stop()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """The store's URL; "" is a new SQLite file. Tests with `BOTH_STORES` run on Valkey too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    server: RunningServer = request.getfixturevalue("valkey")
    return server.url(name=secrets.token_hex(4))


BOTH_STORES = pytest.mark.parametrize("store", ["sqlite", "valkey"], indirect=True)


@pytest.fixture
def make(tmp_path: Path, store: str) -> MakeService:
    """Return a function that makes a service with given settings."""

    def make(**settings: Any) -> Service:
        return make_service(tmp_path, store=store, **settings)

    return make


@pytest.fixture
def service(make: MakeService) -> Service:
    return make()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service, as user ann."""
    async with service.lane.open(workers=1), open_client(service) as client:
        yield client


@pytest.fixture
async def server(service: Service) -> AsyncIterator[Server]:
    """The service on a real server."""
    async with run_server(service.app) as server:
        yield server


@asynccontextmanager
async def open_client(service: Service, user: str | None = "ann") -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client that calls the application in process as this user. The lane must be open."""
    transport = httpx2.ASGITransport(app=service.app, raise_app_exceptions=False)
    headers = {"X-User": user} if user else {}
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client
