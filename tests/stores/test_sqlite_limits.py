"""Rows of limits: none remain, and jobs without limits do not use their tables."""

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import apsw
import pytest

from sidelane.conformance.stores.actions import failure, record
from sidelane.model.batch import BatchSpec
from sidelane.model.job import JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import AttemptResult, Retried, Succeeded
from sidelane.model.worker import Claimed, ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.serialization import dump_limit, load_limit
from sidelane.stores.sqlite.store import SqliteStore

KEPT = Limit(name="kept", key="k", max=1000)
ONE = Limit(name="one", key="k", max=1, on_limit="wait")
NEWEST = Limit(name="newest", key="k", max=50, on_limit="replace")
SLOWLY = Limit(name="slowly", key="k", max=10, on_limit="wait", window=1.0, burst=10)
OFTEN = Limit(name="often", key="k", max=1000, window=1.0, burst=1000)

TABLES = ("slots", "replaceable_jobs", "rates", "cascades")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(":memory:", clock)
    yield store
    await store.close()


def test_a_limit_that_was_stored_before_limits_had_messages_is_read_without_one() -> None:
    assert load_limit('["one","k",1,"wait",null,1]') == ONE
    assert load_limit(dump_limit(replace(ONE, message="하나만."))).message == "하나만."


def connection_of(store: SqliteStore) -> apsw.Connection:
    return store._writer._connection


def counts(store: SqliteStore, *tables: str) -> list[int]:
    return [int(connection_of(store).execute(f"SELECT count(*) FROM {table}").get) for table in tables]  # noqa: S608 - names of our tables


async def claim(store: SqliteStore, number: int, limit: int = 100) -> tuple[Claimed, ...]:
    request = ClaimRequest(request=f"r{number}", worker="w", queues={"default": limit}, limit=limit)
    return (await store.claim(request)).jobs


async def drain(store: SqliteStore, clock: ManualClock, *, calls: int = 400) -> int:
    """Claim and finish every tenth of a second until no job is left, and return how many there were."""
    done = 0
    for number in range(calls):
        claimed = await claim(store, number)
        await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
        done += len(claimed)
        (queue,) = await store.stats()
        if queue.queued + queue.running == 0:
            break
        clock.advance(0.1)
        await store.sweep(lease=10)
    return done


async def test_a_drained_store_has_no_rows_of_limits(store: SqliteStore, clock: ManualClock) -> None:
    limits = (KEPT, ONE, NEWEST, SLOWLY, OFTEN)
    await store.submit([JobSpec(id=f"j{n}", task="t", user=f"u{n % 3}", limits=limits) for n in range(50)])
    assert await drain(store, clock) == 50
    assert await store.limits() != []  # rates last until their burst is available again
    clock.advance(5)
    await store.sweep(lease=10)
    assert await store.limits() == []
    assert counts(store, *TABLES, "user_queues", "virtual_clocks") == [0] * 6


async def test_limit_keys_may_contain_any_character(store: SqliteStore) -> None:
    limits = tuple(replace(ONE, key=key) for key in ("a\nb", "a\\nb", "a\x00b", "a\u2028b", '"'))
    await store.submit(
        [JobSpec(id=f"{n}{m}", task="t", limits=(limit,)) for n, limit in enumerate(limits) for m in "ab"]
    )
    await store.submit([JobSpec(id="all", task="t", limits=limits)])
    assert (await record(store, "all")).spec.limits == limits
    claimed = await claim(store, 0)
    assert [each.record.id for each in claimed] == ["0a", "1a", "2a", "3a", "4a"]
    assert [each.used for each in await store.limits()] == [1] * 5
    await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
    assert [each.record.id for each in await claim(store, 1)] == ["0b", "1b", "2b", "3b", "4b"]


async def test_a_limit_unblocks_no_more_jobs_than_its_capacity(store: SqliteStore) -> None:
    three = replace(ONE, max=3)
    await store.submit([JobSpec(id=f"j{n}", task="t", limits=(three,)) for n in range(20)])
    claimed = await claim(store, 1)
    assert len(claimed) == 3
    assert (await store.stats())[0].waiting_for_limit == 17
    await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
    (queue,) = await store.stats()
    assert (queue.ready, queue.waiting_for_limit) == (3, 14)


async def test_each_slot_released_before_the_next_claim_unblocks_one_job(store: SqliteStore) -> None:
    two = replace(ONE, max=2)
    await store.submit([JobSpec(id=f"j{n}", task="t", limits=(two,)) for n in range(9)])
    claimed = await claim(store, 1)
    for number, each in enumerate(claimed, 1):
        await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1"))])
        assert (await store.stats())[0].ready == number


async def test_limits_of_one_id_and_different_sizes_count_the_same_jobs(store: SqliteStore) -> None:
    two, three = replace(ONE, max=2), replace(ONE, max=3)
    await store.submit([JobSpec(id="a", task="t", priority=1, limits=(two,))])
    await store.submit([JobSpec(id=name, task="t", limits=(three,)) for name in "bcd"])
    assert [each.record.id for each in await claim(store, 1)] == ["a", "b", "c"]


async def test_a_job_with_the_same_limit_twice_takes_one_slot(store: SqliteStore) -> None:
    two, three = replace(ONE, max=2), replace(ONE, max=3)
    await store.submit([JobSpec(id=name, task="t", limits=(two, three)) for name in "abc"])
    assert [each.record.id for each in await claim(store, 1)] == ["a", "b"]


async def test_an_error_while_jobs_are_unblocked_rolls_back_the_finish(store: SqliteStore) -> None:
    await store.submit([JobSpec(id=name, task="t", limits=(ONE, KEPT)) for name in "ab"])
    (claimed,) = await claim(store, 1)
    connection_of(store).execute(
        "CREATE TEMP TRIGGER broken BEFORE UPDATE ON main.jobs WHEN old.state = -1 AND new.state = 0 "
        "BEGIN SELECT raise(ABORT, 'unblocking is broken'); END"
    )
    report = AttemptResult(lease=claimed.lease, outcome=Succeeded("1"))
    with pytest.raises(Exception, match="unblocking is broken"):
        await store.finish([report])
    assert (await record(store, "a")).state is State.RUNNING
    assert {each.id: each.used for each in await store.limits()} == {"kept/k": 2, "one/k": 1}
    connection_of(store).execute("DROP TRIGGER broken")
    assert await store.finish([report]) == [True]
    assert {each.id: each.used for each in await store.limits()} == {"kept/k": 1}
    assert [each.record.id for each in await claim(store, 2)] == ["b"]


async def test_a_job_without_limits_does_not_use_their_tables(store: SqliteStore) -> None:
    await store.submit([JobSpec(id="limited", task="t", limits=(ONE, KEPT, SLOWLY))])
    await claim(store, 0)
    used: set[str] = set()

    def note(action: int, table: str | None, *_: str | None) -> int:
        if action in (apsw.SQLITE_INSERT, apsw.SQLITE_DELETE, apsw.SQLITE_UPDATE, apsw.SQLITE_READ):
            used.add(table or "")
        return apsw.SQLITE_OK

    connection_of(store).authorizer = note  # called when a statement is prepared; setting it prepares all again
    await store.submit([JobSpec(id="free", task="t")])
    (claimed,) = await claim(store, 1)
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Retried(failure()))])
    (claimed,) = await claim(store, 2)
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Succeeded("1"))])
    assert "jobs" in used
    assert used & {"slots", "replaceable_jobs", "limit_overrides", "limit_checks", "schedules"} == set()


async def test_a_claim_blocks_a_flood_of_jobs_in_chunks(store: SqliteStore) -> None:
    await store.submit([JobSpec(id=f"a{n}", task="t", user="flooder", limits=(ONE,)) for n in range(1000)])
    await store.submit([JobSpec(id="b", task="t", user="other")])
    blocked = [0]
    claimed = []
    for number in range(20):
        request = ClaimRequest(request=f"r{number}", worker="w", queues={"default": 10}, limit=10)
        claims = await store.claim(request)
        claimed += [each.record.id for each in claims.jobs]
        blocked.append((await store.stats())[0].waiting_for_limit)
        if claims.next_due != 0:
            break
    assert max(after - before for before, after in pairwise(blocked)) <= 200
    assert (sorted(claimed), blocked[-1]) == (["a0", "b"], 999)


async def test_sweeps_cancel_more_children_than_fit_in_one_step(store: SqliteStore) -> None:
    await store.submit([JobSpec(id="parent", task="t")])
    children = [JobSpec(id=f"c{n}", task="t", parent="parent", cascade=True) for n in range(450)]
    await store.submit(children)
    await store.cancel(["parent"])
    assert counts(store, "cascades", "jobs WHERE state = 5") == [1, 201]
    assert (await store.sweep(lease=10)).more
    while (await store.sweep(lease=10)).more:
        pass
    assert counts(store, "cascades", "jobs WHERE state = 5") == [0, 451]


async def test_a_batch_is_deleted_after_its_retention_and_its_last_job(store: SqliteStore, clock: ManualClock) -> None:
    for name in "open", "sealed", "busy":
        await store.open_batch(BatchSpec(id=name, retention=60))
    await store.submit([JobSpec(id="j", task="t", batch="busy")])
    await store.seal_batch("sealed")
    clock.advance(61)
    await store.sweep(lease=10)
    assert counts(store, "batches") == [1]
    await store.cancel(["j"])
    await store.sweep(lease=10)
    assert counts(store, "batches") == [0]
