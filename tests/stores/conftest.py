"""What tests of one server share: a module that asks for these brings its own `server`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from redis.asyncio import Redis

from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import RunningServer

BROKEN = {"test_redis_network.py", "test_redis_errors.py", "test_redis_failover.py"}
"""Where connections break. Each event loop has errors of its own for that, so these tests run on both that workers use."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    ours: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return {**ours, "uvloop": uvloop.new_event_loop} if item.path.name in BROKEN else ours


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
