"""Health routes: they answer while the store is away, and tell load balancers when the server stops."""

import os
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest

from sidelane.model.errors import StoreUnavailable
from sidelane.web import health
from sidelane.web.shutdown import ServerShutdown
from tests.web.conftest import MakeService, open_client
from tests.web.service import Service


@pytest.fixture
def service(make: MakeService) -> Service:
    return make()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with service.lane.open(), open_client(service) as client:
        yield client


async def test_a_process_is_live_and_ready(client: httpx2.AsyncClient) -> None:
    live, ready = await client.get("/health/live"), await client.get("/health/ready")
    assert (live.status_code, live.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "store": "ok"})


async def test_a_process_stays_ready_while_the_store_is_away(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(ids: object) -> None:
        raise StoreUnavailable("The store /secret/path is unavailable.")

    monkeypatch.setattr(service.lane.client.store, "get", fail)
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "store": "unavailable"})
    assert (await client.get("/health/live")).status_code == 200


async def test_a_process_that_was_asked_to_stop_is_live_but_not_ready(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # as a server's
    try:
        monkeypatch.setattr(health, "SHUTDOWN", ServerShutdown())
        assert (await client.get("/health/ready")).status_code == 200
        os.kill(os.getpid(), signal.SIGTERM)
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
        assert (await client.get("/health/live")).status_code == 200
    finally:
        signal.signal(signal.SIGTERM, before)
