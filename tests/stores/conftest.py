"""What tests of one server share: a module that asks for these brings its own `server`."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from sidelane.stores.contract import Store
from sidelane.stores.opening import open_store
from tests.contract.servers import RunningServer


@pytest.fixture
async def store(server: RunningServer) -> AsyncIterator[Store]:
    store = await open_store(server.url())
    yield store
    await store.close()


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator["Redis"]:
    """A plain client, for what an operator does."""
    client: Redis = Redis.from_url(server.url().partition("?")[0], decode_responses=True)
    yield client
    await client.aclose()
