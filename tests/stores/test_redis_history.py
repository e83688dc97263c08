"""What history leaves on a Redis server, and what its reads cost."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from sidelane.conformance.stores.actions import LEASE, claim, finish, slot_limit, specs, start, submit
from sidelane.conformance.stores.counting import tally
from sidelane.conformance.stores.history_cells import sweep_until_done
from sidelane.model.history import HOUR, MINUTE, STEPS, TEN_MINUTES, TOP_USERS
from sidelane.model.job import JobSpec, Query, State
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import EVERY_KIND, RunningServer


@pytest.fixture(scope="module", params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path_factory.mktemp(request.param)).start()
    yield running
    running.stop()


@pytest.fixture
def name() -> str:
    """The name of a new store."""
    return secrets.token_hex(8)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(server: RunningServer, name: str, clock: ManualClock) -> AsyncIterator[Store]:
    store = await open_store(server.url(name), clock=clock)
    yield store
    await store.close()


def keys_of(server: RunningServer, name: str, start: str) -> list[str]:
    return [str(key) for key in server.tell("KEYS", f"{{{name}}}:{start}*")]


async def test_old_cells_and_users_are_removed_and_totals_stay(
    server: RunningServer, store: Store, name: str, clock: ManualClock
) -> None:
    claimed = await start(store, *specs("a", user="u"), release="r1")
    await finish(store, claimed, Succeeded("1"))
    await sweep_until_done(store)
    clock.advance(MINUTE)
    await sweep_until_done(store)
    for step in STEPS:
        assert keys_of(server, name, f"history:{step}:")
    for kept in STEPS[MINUTE], STEPS[HOUR]:
        clock.advance(kept + 100 * HOUR)
        for _ in range(100):  # each removes a part of what is old
            await store.sweep(lease=LEASE)
    for step in MINUTE, TEN_MINUTES, HOUR:
        assert keys_of(server, name, f"history:{step}:") == []
    assert keys_of(server, name, "history_users:") == []
    assert server.tell("HLEN", f"{{{name}}}:history_open") == 0
    assert await tally(store) == {"SUBMITTED": 1, "STARTED": 1, "SUCCEEDED": 1}


async def test_few_users_are_kept_of_an_hour(
    server: RunningServer, store: Store, name: str, clock: ManualClock
) -> None:
    await store.submit([JobSpec(id=f"j{n}", task="t", user=f"u{n}") for n in range(3000)])
    await store.sweep(lease=LEASE)
    (key,) = keys_of(server, name, "history_users:submitted:")
    assert server.tell("ZCARD", key) == 500
    clock.advance(HOUR)
    await store.sweep(lease=LEASE)
    assert server.tell("ZCARD", key) == TOP_USERS


async def test_a_query_for_running_jobs_reads_no_others(server: RunningServer, store: Store) -> None:
    async def lookups() -> int:
        """Return how many keys the server looks up for one query."""
        server.tell("CONFIG", "RESETSTAT")
        assert len(await store.list_jobs(Query(states=frozenset({State.RUNNING})))) == 1
        stats = server.info("stats")
        return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])

    await start(store, *specs("running"))
    few = await lookups()
    await submit(store, *specs(*(f"j{n}" for n in range(300))))
    claimed = await claim(store, limit=100)
    await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed])
    assert await lookups() == few < 10


async def test_the_server_of_a_store_is_another_after_a_restart(server: RunningServer, store: Store) -> None:
    before = (await store.info()).server
    assert (await store.info()).server == before != ""
    server.stop()
    server.start()
    assert (await store.info()).server not in (before, "")


async def test_limits_that_are_not_used_any_more_leave_the_index(
    server: RunningServer, store: Store, name: str
) -> None:
    limits = (slot_limit(1, "wait"),)
    claimed = await start(store, *specs("a", limits=limits))
    await submit(store, *specs("b", limits=limits))
    assert await claim(store) == []
    assert [(each.id, each.used, each.waiting) for each in await store.limits()] == [("few/k", 1, 1)]
    assert keys_of(server, name, "limit_ids")
    await finish(store, claimed, Succeeded("1"))
    await finish(store, (await claim(store))[0], Succeeded("1"))
    await sweep_until_done(store)
    assert await store.limits() == []
    assert not keys_of(server, name, "limit_ids")
