"""Costs of queries: they depend on what is asked for, not on how many other jobs there are.

The newest job of a user with a key costs the same, however many jobs other users have with that key. A search costs the same,
however many jobs there are. A claim costs the same, however many jobs of paused batches wait beside the queue. A claim of a drained
worker costs the same, however many jobs wait.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sidelane.conformance.stores.actions import claim
from sidelane.model.batch import BatchSpec
from sidelane.model.job import JobSpec, Query
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from sidelane.stores.sqlite.store import SqliteStore
from tests.contract.servers import EVERY_KIND, RunningServer

NEWEST = Query(key="chat", user="me", limit=1)
FEW, MANY = 200, 20_000

SCAN = 4_000
"""Jobs that the searches of a test look at."""


async def submit_others(store: Store, first: int, count: int) -> None:
    """Submit jobs with the same key, each of another user."""
    await store.submit(
        [JobSpec(id=f"other{n}", task="t", user=f"user{n}", key="chat") for n in range(first, first + count)]
    )


async def find_mine(store: Store) -> None:
    assert [job.id for job in await store.list_jobs(NEWEST)] == ["mine"]


async def search_in_vain(store: Store) -> None:
    """Search for jobs that do not exist, by conditions without an index."""
    for query in (Query(queue="none"), Query(text="nothing"), Query(labels={"plan": "none"}), Query(release="none")):
        page = await store.search_jobs(query, scan=SCAN // 4)
        assert (page.records, page.scanned) == ([], SCAN // 4)


async def submit_paused(store: Store, batch: str, count: int) -> None:
    """Submit jobs of a paused batch, and let claims find all of them."""
    await store.open_batch(BatchSpec(id=batch))
    await store.pause_batch(batch)
    await store.submit([JobSpec(id=f"{batch}{n}", task="t", batch=batch, priority=1) for n in range(count)])
    while any(queue.ready for queue in await store.stats()):
        assert await claim(store) == []


async def claim_in_vain(store: Store) -> None:
    assert await claim(store) == []


async def claim_drained(store: Store) -> None:
    assert await claim(store, tasks={}) == []


async def lookups(server: RunningServer, store: Store, query: Callable[[Store], Awaitable[None]]) -> int:
    """Return how many keys the server looks up for one query."""
    server.tell("CONFIG", "RESETSTAT")
    await query(store)
    stats = server.info("stats")
    return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])


async def steps(store: SqliteStore, query: Callable[[Store], Awaitable[None]]) -> int:
    """Return how many instructions SQLite runs for one query."""
    count = 0

    def counted() -> bool:
        nonlocal count
        count += 1
        return False

    connection = store._writer._connection
    connection.set_progress_handler(counted, 1)
    await query(store)
    connection.set_progress_handler(None)
    return count


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_redis_reads_only_the_jobs_of_the_user(kind: str, tmp_path: Path) -> None:
    server = RunningServer(kind, tmp_path).start()
    store = await open_store(server.url())

    await store.submit([JobSpec(id="mine", task="t", user="me", key="chat")])
    await submit_others(store, 0, FEW)
    few = await lookups(server, store, find_mine)
    await submit_others(store, FEW, MANY)
    assert await lookups(server, store, find_mine) == few < 10
    assert await lookups(server, store, search_in_vain) < SCAN * 1.1
    await store.close()
    server.stop()


async def test_sqlite_reads_only_the_jobs_of_the_user() -> None:
    store = await SqliteStore.open(":memory:", ManualClock())
    await store.submit([JobSpec(id="mine", task="t", user="me", key="chat")])
    await submit_others(store, 0, FEW)
    few = await steps(store, find_mine)
    await submit_others(store, FEW, SCAN)
    search = await steps(store, search_in_vain)
    await submit_others(store, FEW + SCAN, MANY)
    assert await steps(store, find_mine) <= few + 20
    assert await steps(store, search_in_vain) <= search + 20
    await store.close()


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_redis_claims_beside_paused_batches_without_reading_their_jobs(kind: str, tmp_path: Path) -> None:
    server = RunningServer(kind, tmp_path).start()
    store = await open_store(server.url())
    await submit_paused(store, "few", FEW)
    few = await lookups(server, store, claim_in_vain)
    await submit_paused(store, "many", SCAN)
    assert await lookups(server, store, claim_in_vain) == few < 20
    await store.close()
    server.stop()


async def test_sqlite_claims_beside_paused_batches_without_reading_their_jobs() -> None:
    store = await SqliteStore.open(":memory:", ManualClock())
    await submit_paused(store, "few", FEW)
    few = await steps(store, claim_in_vain)
    await submit_paused(store, "many", SCAN)
    assert await steps(store, claim_in_vain) <= few + 20
    await store.close()


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_redis_claims_for_a_drained_worker_without_reading_jobs(kind: str, tmp_path: Path) -> None:
    server = RunningServer(kind, tmp_path).start()
    store = await open_store(server.url())
    await submit_others(store, 0, FEW)
    few = await lookups(server, store, claim_drained)
    await submit_others(store, FEW, SCAN)
    assert await lookups(server, store, claim_drained) == few < 20
    await store.close()
    server.stop()


async def test_sqlite_claims_for_a_drained_worker_without_reading_jobs() -> None:
    store = await SqliteStore.open(":memory:", ManualClock())
    await submit_others(store, 0, FEW)
    few = await steps(store, claim_drained)
    await submit_others(store, FEW, SCAN)
    assert await steps(store, claim_drained) <= few + 20
    await store.close()
