"""Shared state in SQLite: what is no longer needed is deleted in small steps, and no call reads more than a page."""

from collections.abc import AsyncIterator

import pytest

from sidelane.model.shared_state import JournalAppend, ValueChange
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import REQUEST_RETENTION
from sidelane.stores.sqlite.store import SqliteStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(":memory:", clock)
    yield store
    await store.close()


def count(store: SqliteStore, table: str) -> int:
    return int(store._writer._connection.execute(f"SELECT count(*) FROM {table}").get)  # noqa: S608 # our own names


async def append(store: SqliteStore, entries: int, cap: int) -> None:
    await store.append_entries(JournalAppend(journal="j", texts=["1"] * entries, cap=cap))


async def test_requests_that_are_too_old_to_be_repeated_are_forgotten(store: SqliteStore, clock: ManualClock) -> None:
    for number in range(20):
        await store.set_value(ValueChange(name=f"v{number}", text="1", replaces=None))
        await append(store, 1, 5)
    assert count(store, "shared_requests") == 40
    clock.advance(REQUEST_RETENTION + 1)
    for expected in 39, 38, 37:
        await append(store, 1, 5)
        assert count(store, "shared_requests") == expected
    for _ in range(50):
        await append(store, 1, 5)
    assert count(store, "shared_requests") == 53


async def test_a_change_that_does_not_count_leaves_nothing(store: SqliteStore) -> None:
    assert not await store.set_value(ValueChange(name="x", text="1", replaces="other"))
    assert (count(store, "shared_values"), count(store, "shared_requests")) == (0, 0)


async def test_entries_beyond_a_lower_cap_are_deleted_in_small_steps(store: SqliteStore) -> None:
    for _ in range(30):
        await append(store, 20, 600)
    assert count(store, "journal_entries") == 600
    for expected in 400, 200, 1, 1:
        await append(store, 1, 1)
        assert len(await store.read_journal("j")) == 1
        assert count(store, "journal_entries") == expected


async def test_a_page_costs_the_same_however_many_values_and_entries_there_are(store: SqliteStore) -> None:
    connection = store._writer._connection

    async def steps() -> int:
        """Return how many instructions SQLite runs for some pages."""
        total = 0

        def counted() -> bool:
            nonlocal total
            total += 1
            return False

        connection.set_progress_handler(counted, 1)
        await store.list_values("m", after="m:1", limit=2)
        await store.list_values("none")
        await store.read_values(["m:1", "unknown"])
        await store.read_journal("j", before=30, limit=3)
        await store.read_journal("j", limit=3)
        connection.set_progress_handler(None)
        return total

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            for prefix in "a", "m", "z":
                await store.set_value(ValueChange(name=f"{prefix}:{number}", text="1", replaces=None))
            await append(store, 20, 100_000)

    await fill(0, 10)
    few = await steps()
    await fill(10, 300)
    assert await steps() <= few + 20
