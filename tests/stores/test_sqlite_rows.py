"""Rows in the tables: no more than needed, and none for ever."""

from collections.abc import AsyncIterator

import pytest

from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec, Tombstone
from sidelane.model.outcome import AttemptResult, EventAppend, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.clock import ManualClock
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
    found = store._writer._connection.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 - names of our tables
    assert isinstance(found, int)
    return found


async def run(store: SqliteStore, *specs: JobSpec, events: int = 0) -> None:
    """Submit and claim jobs, append so many events to each, and let them succeed."""
    await store.submit(specs)
    request = ClaimRequest(request=specs[0].id, worker="w", queues={"default": 1000}, limit=1000)
    claimed = (await store.claim(request)).jobs
    assert len(claimed) == len(specs)
    entries = tuple(NewEvent("token", f'"{number}"') for number in range(events))
    await store.append([EventAppend(lease=each.lease, ordinal=1, entries=entries) for each in claimed])
    await store.finish(
        [AttemptResult(lease=each.lease, outcome=Succeeded("1"), ordinal=events + 1) for each in claimed]
    )


async def test_a_job_without_events_has_no_event_rows_until_it_is_requeued(store: SqliteStore) -> None:
    await run(store, JobSpec(id="a", task="t"))
    assert count(store, "events") == 0
    await store.requeue(["a"])
    assert count(store, "events") == 1


async def test_a_drained_queue_has_no_user_queues(store: SqliteStore) -> None:
    await run(store, *(JobSpec(id=f"j{n}", task="t", user=f"u{n % 7}") for n in range(50)))
    assert (count(store, "user_queues"), count(store, "virtual_clocks")) == (0, 0)


async def test_an_idle_user_queue_is_deleted_once_the_virtual_clock_has_reached_it(store: SqliteStore) -> None:
    await store.submit([JobSpec(id=f"b{n}", task="t", user="busy") for n in range(10)])
    for number in range(5):
        await store.submit([JobSpec(id=f"o{number}", task="t", user=f"once{number}")])
        await store.claim(ClaimRequest(request=f"r{number}", worker="w", queues={"default": 2}, limit=2))
    assert count(store, "user_queues") <= 3


async def test_all_rows_of_a_job_are_deleted_after_its_retention(store: SqliteStore, clock: ManualClock) -> None:
    await run(store, *(JobSpec(id=f"j{n}", task="t", retention=60) for n in range(5)), events=3)
    clock.advance(61)
    while (await store.sweep(lease=10)).more:
        pass
    tables = ("jobs", "specs", "results", "events", "failures", "user_queues")
    assert [count(store, table) for table in tables] == [0] * len(tables)
    clock.advance(61)
    await store.sweep(lease=10)
    assert count(store, "tombstones") == 0


async def test_a_long_log_is_deleted_in_chunks_and_its_job_at_once(store: SqliteStore, clock: ManualClock) -> None:
    await run(store, JobSpec(id="a", task="t", retention=60), events=12_000)
    clock.advance(61)
    swept = await store.sweep(lease=10)
    assert (swept.removed, swept.more) == (1, True)
    assert await store.get(["a"]) == [Tombstone("a", None)]
    left = [count(store, "events")]
    while (await store.sweep(lease=10)).more:
        left.append(count(store, "events"))
    assert left == sorted(left, reverse=True)
    assert max(before - after for before, after in zip([12_001, *left], left, strict=False)) <= 5_001
    assert (count(store, "events"), count(store, "orphaned_logs")) == (0, 0)


async def test_a_sequence_number_is_never_used_twice(store: SqliteStore, clock: ManualClock) -> None:
    await run(store, JobSpec(id="a", task="t", retention=60), JobSpec(id="b", task="t", retention=60))
    (first,) = await store.get(["b"])
    clock.advance(61)
    await store.sweep(lease=10)
    await store.submit([JobSpec(id="c", task="t")])
    (second,) = await store.get(["c"])
    assert first is not None
    assert second is not None
    assert second.sequence > first.sequence  # type: ignore[union-attr]
