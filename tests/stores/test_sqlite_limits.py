"""Limits in the tables: nothing stays behind, and who has none does not pay for them."""

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
from sidelane.stores.sqlite.store import SqliteStore

KEPT = Limit(name="kept", key="k", most=1000)
ONE = Limit(name="one", key="k", most=1, on_limit="wait")
NEWEST = Limit(name="newest", key="k", most=50, on_limit="replace")
SLOWLY = Limit(name="slowly", key="k", most=10, on_limit="wait", window=1.0, burst=10)
OFTEN = Limit(name="often", key="k", most=1000, window=1.0, burst=1000)

TABLES = ("slots", "replaceable", "rates", "cascades")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(":memory:", clock)
    yield store
    await store.close()


def connection_of(store: SqliteStore) -> apsw.Connection:
    return store._writer._connection


def counts(store: SqliteStore, *tables: str) -> list[int]:
    return [int(connection_of(store).execute(f"SELECT count(*) FROM {table}").get) for table in tables]  # noqa: S608 - names of our tables


async def take(store: SqliteStore, number: int, limit: int = 100) -> tuple[Claimed, ...]:
    request = ClaimRequest(request=f"r{number}", worker="w", queues={"default": limit}, limit=limit)
    return (await store.claim(request)).jobs


async def drain(store: SqliteStore, clock: ManualClock, *, calls: int = 400) -> int:
    """Claim and finish until nothing is left, a tenth of a second a turn, and tell how many jobs that were."""
    done = 0
    for number in range(calls):
        claimed = await take(store, number)
        await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
        done += len(claimed)
        (queue,) = await store.stats()
        if queue.queued + queue.running == 0:
            break
        clock.advance(0.1)
        await store.sweep(lease=10)
    return done


async def test_a_drained_store_holds_nothing_of_its_limits(store: SqliteStore, clock: ManualClock) -> None:
    limits = (KEPT, ONE, NEWEST, SLOWLY, OFTEN)
    await store.submit([JobSpec(id=f"j{n}", task="t", user=f"u{n % 3}", limits=limits) for n in range(50)])
    assert await drain(store, clock) == 50
    assert await store.limits() != []  # the rates remember their last starts for a moment
    clock.advance(5)
    await store.sweep(lease=10)
    assert await store.limits() == []
    assert counts(store, *TABLES, "lines", "turns") == [0] * 6


async def test_limits_count_and_wake_by_their_keys_whatever_those_hold(store: SqliteStore) -> None:
    limits = tuple(replace(ONE, key=key) for key in ("a\nb", "a\\nb", "a\x00b", "a\u2028b", '"'))
    await store.submit(
        [JobSpec(id=f"{n}{m}", task="t", limits=(limit,)) for n, limit in enumerate(limits) for m in "ab"]
    )
    await store.submit([JobSpec(id="all", task="t", limits=limits)])
    assert (await record(store, "all")).spec.limits == limits
    claimed = await take(store, 0)
    assert [each.record.id for each in claimed] == ["0a", "1a", "2a", "3a", "4a"]
    assert [each.held for each in await store.limits()] == [1] * 5
    await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
    assert [each.record.id for each in await take(store, 1)] == ["0b", "1b", "2b", "3b", "4b"]


async def test_a_limit_wakes_no_more_jobs_than_it_has_room_for(store: SqliteStore) -> None:
    three = replace(ONE, most=3)
    await store.submit([JobSpec(id=f"j{n}", task="t", limits=(three,)) for n in range(20)])
    claimed = await take(store, 1)
    assert len(claimed) == 3
    assert (await store.stats())[0].waiting_for_limit == 17
    await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
    (queue,) = await store.stats()
    assert (queue.ready, queue.waiting_for_limit) == (3, 14)


async def test_room_that_is_given_back_twice_before_a_claim_wakes_each_time_one(store: SqliteStore) -> None:
    two = replace(ONE, most=2)
    await store.submit([JobSpec(id=f"j{n}", task="t", limits=(two,)) for n in range(9)])
    claimed = await take(store, 1)
    for number, each in enumerate(claimed, 1):
        await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1"))])
        assert (await store.stats())[0].ready == number


async def test_one_claim_counts_each_job_once_under_whatever_number_it_is_checked(store: SqliteStore) -> None:
    two, three = replace(ONE, most=2), replace(ONE, most=3)
    await store.submit([JobSpec(id="a", task="t", priority=1, limits=(two,))])
    await store.submit([JobSpec(id=name, task="t", limits=(three,)) for name in "bcd"])
    assert [each.record.id for each in await take(store, 1)] == ["a", "b", "c"]


async def test_a_limit_that_a_job_has_twice_is_taken_once(store: SqliteStore) -> None:
    two, three = replace(ONE, most=2), replace(ONE, most=3)
    await store.submit([JobSpec(id=name, task="t", limits=(two, three)) for name in "abc"])
    assert [each.record.id for each in await take(store, 1)] == ["a", "b"]


async def test_a_failure_while_others_are_woken_undoes_the_end_that_woke_them(store: SqliteStore) -> None:
    await store.submit([JobSpec(id=name, task="t", limits=(ONE, KEPT)) for name in "ab"])
    (claimed,) = await take(store, 1)
    connection_of(store).execute(
        "CREATE TEMP TRIGGER broken BEFORE UPDATE ON main.jobs WHEN old.state = -1 AND new.state = 0 "
        "BEGIN SELECT raise(ABORT, 'no one wakes'); END"
    )
    report = AttemptResult(lease=claimed.lease, outcome=Succeeded("1"))
    with pytest.raises(Exception, match="no one wakes"):
        await store.finish([report])
    assert (await record(store, "a")).state is State.RUNNING
    assert {each.id: each.held for each in await store.limits()} == {"kept/k": 2, "one/k": 1}
    connection_of(store).execute("DROP TRIGGER broken")
    assert await store.finish([report]) == [True]
    assert {each.id: each.held for each in await store.limits()} == {"kept/k": 1}
    assert [each.record.id for each in await take(store, 2)] == ["b"]


async def test_a_job_without_limits_touches_no_table_of_theirs(store: SqliteStore) -> None:
    await store.submit([JobSpec(id="limited", task="t", limits=(ONE, KEPT, SLOWLY))])
    await take(store, 0)
    touched: set[str] = set()

    def note(action: int, table: str | None, *_: str | None) -> int:
        if action in (apsw.SQLITE_INSERT, apsw.SQLITE_DELETE, apsw.SQLITE_UPDATE, apsw.SQLITE_READ):
            touched.add(table or "")
        return apsw.SQLITE_OK

    connection_of(store).authorizer = note  # asked whenever a statement is prepared, and setting it prepares all anew
    await store.submit([JobSpec(id="free", task="t")])
    (claimed,) = await take(store, 1)
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Retried(failure()))])
    (claimed,) = await take(store, 2)
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Succeeded("1"))])
    assert "jobs" in touched
    assert touched.isdisjoint({"slots", "replaceable", "batches", "schedules"})


async def test_a_flood_at_a_full_limit_is_set_aside_in_pieces(store: SqliteStore) -> None:
    await store.submit([JobSpec(id=f"a{n}", task="t", user="flooder", limits=(ONE,)) for n in range(1000)])
    await store.submit([JobSpec(id="b", task="t", user="other")])
    parked = [0]
    taken = []
    for number in range(20):
        request = ClaimRequest(request=f"r{number}", worker="w", queues={"default": 10}, limit=10)
        claims = await store.claim(request)
        taken += [each.record.id for each in claims.jobs]
        parked.append((await store.stats())[0].waiting_for_limit)
        if claims.next_due != 0:
            break
    assert max(after - before for before, after in pairwise(parked)) <= 200
    assert (sorted(taken), parked[-1]) == (["a0", "b"], 999)


async def test_more_children_than_one_step_stops_are_stopped_by_sweeps_and_then_forgotten(store: SqliteStore) -> None:
    await store.submit([JobSpec(id="parent", task="t")])
    children = [JobSpec(id=f"c{n}", task="t", parent="parent", cascade=True) for n in range(450)]
    await store.submit(children)
    await store.cancel(["parent"])
    assert counts(store, "cascades", "jobs WHERE state = 5") == [1, 201]
    assert (await store.sweep(lease=10)).more
    while (await store.sweep(lease=10)).more:
        pass
    assert counts(store, "cascades", "jobs WHERE state = 5") == [0, 451]


async def test_a_batch_goes_with_its_retention(store: SqliteStore, clock: ManualClock) -> None:
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
