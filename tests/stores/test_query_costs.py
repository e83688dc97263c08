"""Costs of queries: the newest job of a user with a key costs the same, however many jobs other users have with that key."""

from pathlib import Path

import pytest

from sidelane.model.job import JobSpec, Query
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from sidelane.stores.sqlite.store import SqliteStore
from tests.contract.servers import EVERY_KIND, RunningServer

NEWEST = Query(key="chat", user="me", limit=1)
FEW, MANY = 200, 20_000


async def submit_others(store: Store, first: int, count: int) -> None:
    """Submit jobs with the same key, each of another user."""
    await store.submit(
        [JobSpec(id=f"other{n}", task="t", user=f"user{n}", key="chat") for n in range(first, first + count)]
    )


async def find_mine(store: Store) -> None:
    assert [job.id for job in await store.list_jobs(NEWEST)] == ["mine"]


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_redis_reads_only_the_jobs_of_the_user(kind: str, tmp_path: Path) -> None:
    server = RunningServer(kind, tmp_path).start()
    store = await open_store(server.url())

    async def lookups() -> int:
        """Return how many keys the server looks up for one query."""
        server.tell("CONFIG", "RESETSTAT")
        await find_mine(store)
        stats = server.info("stats")
        return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])

    await store.submit([JobSpec(id="mine", task="t", user="me", key="chat")])
    await submit_others(store, 0, FEW)
    few = await lookups()
    await submit_others(store, FEW, MANY)
    assert await lookups() == few < 10
    await store.close()
    server.stop()


async def test_sqlite_reads_only_the_jobs_of_the_user() -> None:
    store = await SqliteStore.open(":memory:", ManualClock())
    connection = store._writer._connection

    async def steps() -> int:
        """Return how many instructions SQLite runs for one query."""
        count = 0

        def counted() -> bool:
            nonlocal count
            count += 1
            return False

        connection.set_progress_handler(counted, 1)
        await find_mine(store)
        connection.set_progress_handler(None)
        return count

    await store.submit([JobSpec(id="mine", task="t", user="me", key="chat")])
    await submit_others(store, 0, FEW)
    few = await steps()
    await submit_others(store, FEW, MANY)
    assert await steps() <= few + 20
    await store.close()
