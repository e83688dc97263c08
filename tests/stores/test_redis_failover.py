"""Redis failover: a primary dies, a replica takes over, a slot moves to another node. No replicated write is lost."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from sidelane import Job, Sidelane
from sidelane.conformance.stores.actions import LEASE, claim, finish, record, specs, start, submit
from sidelane.model.errors import StoreMisconfigured, StoreUnavailable
from sidelane.model.ids import new_nonce
from sidelane.model.job import State
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store, job_topic
from sidelane.stores.factory import open_store
from tests.contract.groups import SERVICE, Cluster, SentinelGroup, running, slot_of, until, wait_for_replica
from tests.contract.servers import EVERY_KIND, RunningServer, free_port
from tests.stores.short_timeouts import short_timeouts

FAILOVER_TIMEOUT = 15.0
"""Seconds that a failover may take here, where servers count as dead after half a second."""

T = TypeVar("T")


@pytest.fixture(params=EVERY_KIND)
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SentinelGroup]:
    with running(SentinelGroup(request.param, tmp_path)) as group:
        yield group


@pytest.fixture(scope="module", params=EVERY_KIND)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(Cluster(request.param, tmp_path_factory.mktemp("cluster"))) as group:
        yield group


class JobProcess:
    """A process that submits and runs jobs, and repeats each call until it succeeds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.acknowledged: list[str] = []
        self.ended: list[str] = []
        self.refused = 0

    async def run(self) -> None:
        while True:
            job_id = f"j{len(self.acknowledged)}"
            await self._again(lambda: self._store.submit(specs(job_id)))  # noqa: B023 # it is awaited here
            self.acknowledged.append(job_id)
            request = ClaimRequest(request=new_nonce(), worker="w", queues={"default": 5}, limit=5, lease=LEASE)
            claims = await self._again(lambda: self._store.claim(request))  # noqa: B023
            reports = [AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claims.jobs]
            counted = await self._again(lambda: self._store.finish(reports))  # noqa: B023
            self.ended += [report.lease.job_id for report, was in zip(reports, counted, strict=True) if was]

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except StoreUnavailable:
                self.refused += 1

    async def wait_for_ended(self, count: int) -> None:
        async with asyncio.timeout(FAILOVER_TIMEOUT):
            while len(self.ended) < count:
                await asyncio.sleep(0.01)


async def again(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except StoreUnavailable:
            continue


async def test_kill_9_of_the_primary_loses_no_replicated_write(guarded: SentinelGroup) -> None:
    store, other = await open_store(guarded.url(more="&wait=1")), await open_store(guarded.url())
    process = JobProcess(store)
    working = asyncio.create_task(process.run())
    await process.wait_for_ended(50)
    async with other.watch(job_topic("seen")) as wakeups:
        await submit(other, *specs("seen", queue="other"))
        assert await wakeups.wait(10)
        dead = guarded.primary
        await asyncio.to_thread(dead.stop, signal.SIGKILL)
        so_far = len(process.ended)
        assert await wakeups.wait(FAILOVER_TIMEOUT), "a reader is woken when the connection is back"
        await again(lambda: other.submit(specs("seen", queue="other")))
        (claimed,) = await again(lambda: claim(other, queues={"other": 1}))
        assert await wakeups.wait(10), "and receives hints from the new primary"
        assert await finish(other, claimed, Succeeded("1"))
        await process.wait_for_ended(so_far + 50)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert guarded.primary is not dead
    assert None not in await other.get(process.acknowledged)
    assert {(await record(other, job_id)).state for job_id in process.ended} == {State.SUCCEEDED}
    await store.close()
    await other.close()


@pytest.mark.long
async def test_jobs_and_event_streams_continue_after_a_failover(guarded: SentinelGroup) -> None:
    lane = Sidelane(store=guarded.url(more="&wait=1"), settings={"lease_duration": 3.0})

    @lane.task
    async def count(to: int) -> AsyncIterator[str]:
        for number in range(to):
            yield f"{number} "
            await asyncio.sleep(0.05)

    async with lane.open(workers=1):
        jobs = [await count.submit(45) for _ in range(4)]
        following = asyncio.create_task(numbers(jobs[0]))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(guarded.primary.stop, signal.SIGKILL)
        for job in jobs:
            assert await job.result(30) == "".join(f"{number} " for number in range(45))
        seen = await following
        assert [(await job.record()).attempt for job in jobs] == [1] * 4
    assert sorted(set(seen)) == list(range(1, max(seen) + 1))  # what was seen and not copied may come again


async def numbers(job: Job[str]) -> list[int]:
    return [event.number async for event in job.events()]


@pytest.mark.long
async def test_a_demoted_primary_is_not_used(guarded: SentinelGroup) -> None:
    store = await open_store(guarded.url())
    before = guarded.primary
    await submit(store, *specs("before"))
    guarded.fail_over()
    until(lambda: guarded.primary is not before and before.info("replication")["role"] == "slave", "the failover")
    await again(lambda: store.submit(specs("after")))
    assert (await record(store, "after")).state is State.QUEUED
    before.stop(signal.SIGKILL)
    async with asyncio.timeout(3):  # no call is on its way to it
        await submit(store, *specs("later"))
    await store.close()


@pytest.mark.long
async def test_a_frozen_primary_is_replaced_and_not_used_when_it_returns(guarded: SentinelGroup) -> None:
    store, copying = (
        await open_store(guarded.url(more="&socket_timeout=0.5")),
        await open_store(guarded.url(more="&wait=2")),
    )
    await submit(copying, *specs("before"))
    await copying.close()
    before = guarded.primary
    await store.get(["before"])
    before.send(signal.SIGSTOP)
    await again(lambda: store.submit(specs("after")))
    before.send(signal.SIGCONT)
    await asyncio.to_thread(wait_for_replica, before)
    assert [found is not None for found in await store.get(["before", "after"])] == [True, True]
    await submit(store, *specs("later"))
    await store.close()


@pytest.mark.long
async def test_a_write_on_too_few_replicas_is_never_acknowledged(
    guarded: SentinelGroup,
) -> None:
    store = await open_store(guarded.url(more="&wait=2"))
    await submit(store, *specs("a"))
    replica = guarded.servers[2]
    replica.send(signal.SIGSTOP)
    for _ in range(2):
        with short_timeouts(), pytest.raises(StoreUnavailable, match=r"1 replicas.*SIDELANE_STORE asks for 2"):
            await store.submit(specs("b"))
    replica.send(signal.SIGCONT)
    await store.submit(specs("b"))
    assert (await record(store, "b")).state is State.QUEUED
    await store.close()


async def test_the_store_works_without_sentinels_while_the_primary_runs(tmp_path: Path) -> None:
    with running(SentinelGroup("valkey", tmp_path, replicas=0)) as guarded:
        store = await open_store(guarded.url())
        guarded.sentinel.stop(signal.SIGKILL)
        guarded.servers[0].tell("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await submit(store, *specs("a"))
        await store.close()


async def test_sentinel_errors_name_the_setting(tmp_path: Path) -> None:
    with running(SentinelGroup("valkey", tmp_path, replicas=0, password="right")) as guarded:
        sentinel, server = guarded.sentinel.port, guarded.servers[0].port
        right = "sentinel_password=right"
        for url, said in (
            (f"redis+sentinel://127.0.0.1:{sentinel}/{SERVICE}", "sentinel_password"),
            (f"redis+sentinel://127.0.0.1:{sentinel}/{SERVICE}?sentinel_password=wrong", "sentinel_password"),
            (f"redis+sentinel://127.0.0.1:{sentinel}/bar?{right}", "no service 'bar'"),
            (f"redis+sentinel://:wrong@127.0.0.1:{sentinel}/{SERVICE}?{right}", "password"),
            (f"redis+sentinel://127.0.0.1:{server}/{SERVICE}", "no sentinel but a server"),
            (f"redis://:right@127.0.0.1:{sentinel}", "redis+sentinel://"),
        ):
            with pytest.raises(StoreMisconfigured, match="SIDELANE_STORE") as raised:
                await open_store(url)
            assert said in str(raised.value)
            assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
        store = await open_store(f"redis+sentinel://127.0.0.1:{sentinel}/{SERVICE}/0?{right}")
        await submit(store, *specs("a"))
        await store.close()


async def test_unreachable_sentinels_are_unavailable_not_misconfigured() -> None:
    with short_timeouts(), pytest.raises(StoreUnavailable, match=r"no sentinel answers.*SIDELANE_STORE"):
        await open_store(f"redis+sentinel://127.0.0.1:{free_port()}/{SERVICE}")


async def test_any_cluster_node_leads_to_the_one_with_the_keys(cluster: Cluster) -> None:
    name = cluster.name_at(cluster.nodes[1])
    for number, node in enumerate(cluster.nodes):
        store = await open_store(node.url(name))
        async with store.watch(job_topic(f"a{number}")) as wakeups:
            await submit(store, *specs(f"a{number}"))
            assert await wakeups.wait(10)
        await store.close()
    assert cluster.nodes[1].tell("CLUSTER", "COUNTKEYSINSLOT", slot_of(name)) > 0


async def test_the_store_follows_its_slot_to_another_node(cluster: Cluster) -> None:
    _, source, target = cluster.nodes
    name = cluster.name_at(source)
    slot = slot_of(name)
    store = await open_store(cluster.url(name))
    running_one = await start(store, *specs("running"))
    async with store.watch(job_topic("waiting")) as wakeups:
        await submit(store, *specs("waiting"))
        assert await wakeups.wait(10)
        target.tell("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
        source.tell("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
        (first, *_) = source.tell("CLUSTER", "GETKEYSINSLOT", slot, 1)
        source.tell("MIGRATE", "127.0.0.1", target.port, first, 0, 5000)
        with short_timeouts(), pytest.raises(StoreUnavailable, match="moved to another node"):
            await store.submit(specs("late"))
        while keys := source.tell("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.tell("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in target, source:
            node.tell("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))
        assert await wakeups.wait(5), "a reader is woken when its topics have moved"
        assert await store.get(["late"]) == [None], "nothing was half written"
        assert [each.record.id for each in await claim(store)] == ["waiting"]
        assert await wakeups.wait(10)
    assert await finish(store, running_one, Succeeded("1"))
    await store.close()


@pytest.mark.parametrize("cluster", ["valkey"], indirect=True)  # the other knows no such step
async def test_moving_a_slot_in_one_step_fails_no_call(cluster: Cluster) -> None:
    source, target, _ = cluster.nodes
    name = cluster.name_at(source)
    slot = slot_of(name)
    store = await open_store(cluster.url(name))
    process = JobProcess(store)
    working = asyncio.create_task(process.run())
    await process.wait_for_ended(20)
    source.tell("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.id_of(target))
    await asyncio.to_thread(until, lambda: source.tell("CLUSTER", "COUNTKEYSINSLOT", slot) == 0, "the slot has moved")
    await process.wait_for_ended(len(process.ended) + 20)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert None not in await store.get(process.acknowledged)
    assert target.tell("CLUSTER", "COUNTKEYSINSLOT", slot) > 0
    assert process.refused == 0
    await store.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_a_killed_node_is_replaced_by_its_replica(kind: str, tmp_path: Path) -> None:
    with running(Cluster(kind, tmp_path, replicas=1)) as cluster:
        owner, *_, replica = cluster.nodes
        store = await open_store(owner.url(cluster.name_at(owner)))  # a URL that names the one that dies
        process = JobProcess(store)
        working = asyncio.create_task(process.run())
        await process.wait_for_ended(20)
        async with store.watch(job_topic("seen")) as wakeups:
            owner.tell("WAIT", 1, 1000)
            await asyncio.to_thread(owner.stop, signal.SIGKILL)
            assert await wakeups.wait(FAILOVER_TIMEOUT)
            await again(lambda: store.submit(specs("seen", queue="other")))
            assert await wakeups.wait(10)
        await process.wait_for_ended(len(process.ended) + 20)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert replica.info("replication")["role"] == "master"
        await asyncio.to_thread(cluster.start_node, owner)
        await asyncio.to_thread(wait_for_replica, owner)
        await submit(store, *specs("later"))
        await store.close()


async def test_what_is_wrong_with_a_cluster_is_said_and_names_the_setting(cluster: Cluster, tmp_path: Path) -> None:
    server = RunningServer("valkey", tmp_path).start()
    with pytest.raises(StoreMisconfigured, match=r"without a cluster.*redis://.*SIDELANE_STORE"):
        await open_store(f"redis+cluster://127.0.0.1:{server.port}")
    server.stop()
    with pytest.raises(StoreMisconfigured, match=r"database.*SIDELANE_STORE"):
        await open_store(f"redis://127.0.0.1:{cluster.nodes[0].port}/99")
    with short_timeouts(), pytest.raises(StoreUnavailable, match="SIDELANE_STORE"):
        await open_store(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
