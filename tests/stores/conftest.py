"""Fixtures for tests of one Redis server. A module that uses them defines `server`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from redis.asyncio import Redis

from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import RunningServer

BOTH_LOOPS = {"test_redis_network.py", "test_redis_errors.py", "test_redis_failover.py"}
"""Tests of broken connections run on asyncio and uvloop, which raise different errors."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return {**loops, "uvloop": uvloop.new_event_loop} if item.path.name in BOTH_LOOPS else loops


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the second event loop to the long tests."""
    for item in items:
        if item.path.name in BOTH_LOOPS and "uvloop" in item.name:
            item.add_marker("long")


@pytest.fixture
async def store(server: RunningServer) -> AsyncIterator[Store]:
    store = await open_store(server.url())
    yield store
    await store.close()


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator["Redis"]:
    """A plain Redis client."""
    client: Redis = Redis.from_url(server.url().partition("?")[0], decode_responses=True)
    yield client
    await client.aclose()
