"""Several connections to one database: shared jobs, worker wakeups, concurrent calls."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    LEASE,
    append_tokens,
    claim,
    event_texts,
    finish,
    follow_to_end,
    heartbeat,
    ids,
    limit_usage,
    pass_time,
    record,
    slot_limit,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreFactory, StoreSuite
from sidelane.model.batch import BatchSpec
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec, State, Submission
from sidelane.model.outcome import AttemptResult, Cancelled, LeaseStatus, Released, Succeeded
from sidelane.model.schedule import Schedule
from sidelane.model.worker import ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, Subscription, job_topic, queue_topic, worker_topic


class ManyConnections(StoreSuite):
    """Fixtures with more connections to the database."""

    @pytest.fixture
    async def other(self, factory: StoreFactory, clock: ManualClock) -> AsyncIterator[Store]:
        other = await factory.open(clock)
        yield other
        await other.close()

    @pytest.fixture
    async def five(self, factory: StoreFactory, clock: ManualClock) -> AsyncIterator[list[Store]]:
        five = [await factory.open(clock) for _ in range(5)]
        yield five
        await asyncio.gather(*(store.close() for store in five))


class Connections(ManyConnections):
    """Every connection sees the writes of the others."""

    async def test_a_job_may_be_submitted_run_cancelled_and_read_through_different_connections(
        self, store: Store, other: Store
    ) -> None:
        await submit(store, *specs("a"))
        (claimed,) = await claim(other)
        await append_tokens(store, claimed, 1, "one")
        await store.cancel(["a"])
        assert await heartbeat(other, "w", claimed.lease) == [LeaseStatus.CANCEL]
        assert await finish(other, claimed, Cancelled(), *tokens("two"), ordinal=2)
        assert await event_texts(store, "a") == ["one", "two", "end"]
        assert (await record(store, "a")).state is State.CANCELLED

    async def test_a_pause_applies_to_every_connection(self, store: Store, other: Store) -> None:
        await submit(store, *specs("a"))
        await store.pause("default")
        assert await claim(other) == []

    async def test_a_hint_reaches_other_connections(self, store: Store, other: Store) -> None:
        for topic in queue_topic("default"), job_topic("a"), worker_topic("w"):
            async with store.watch(topic) as wakeups:
                if topic == queue_topic("default"):
                    await submit(other, *specs("a"))
                elif topic == job_topic("a"):
                    await claim(other)
                else:
                    await other.cancel(["a"])
                assert await wakeups.wait(HINT_TIMEOUT)

    async def test_a_reader_on_another_connection_misses_nothing(self, store: Store, other: Store) -> None:
        claimed = await start(store, *specs("a"))
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            reader = group.create_task(follow_to_end(other, "a"))
            for number in range(1, 31):
                await append_tokens(store, claimed, number, str(number))
            await finish(store, claimed, Succeeded("1"), ordinal=31)
        assert [event.number for event in reader.result()] == list(range(1, 32))

    async def test_jobs_outlive_every_connection(self, factory: StoreFactory, clock: ManualClock) -> None:
        first = await factory.open(clock)
        await submit(first, *specs("a"))
        await first.pause("x")
        await first.get_or_set("name", "value")
        limit = slot_limit(1, "wait")
        await start(first, *specs("holder", limits=(limit,)))
        await submit(first, *specs("waits", queue="y", limits=(limit,)))
        assert await claim(first, queues={"y": 1}) == []
        batch = await first.open_batch(BatchSpec(id="many"))
        await first.upsert_schedule(Schedule(name="s", spec=JobSpec(id="", task="t"), every=60.0))
        await first.close()
        second = await factory.open(clock)
        assert (await record(second, "a")).state is State.QUEUED
        assert await second.get_or_set("name", "other") == "value"
        assert await limit_usage(second) == {"few/k": (1, 1)}
        assert await second.get_batch("many") == batch
        assert [each.schedule.name for each in (await second.list_schedules()).records] == ["s"]
        assert [each.paused for each in await second.stats() if each.name == "x"] in ([True], [])
        await submit(second, *specs("b", queue="x"))
        assert await claim(second, queues={"x": 1}) == []
        await second.close()

    async def test_any_connection_can_sweep(self, store: Store, other: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        assert (await pass_time(other, clock, 3 * LEASE)).lost == 1
        assert (await record(store, "a")).state is State.QUEUED


class WorkerWakeups(ManyConnections):
    """Which worker is woken for new jobs."""

    async def test_a_watcher_that_has_claimed_is_woken_again(self, store: Store) -> None:
        async with store.watch(queue_topic("default")) as wakeups:
            for job_id in "abc":
                await submit(store, *specs(job_id))
                assert await wakeups.wait(HINT_TIMEOUT)
                assert ids(await claim(store)) == [job_id]

    async def test_jobs_left_by_a_full_claim_wake_another_watcher(self, store: Store, other: Store) -> None:
        async with store.watch(queue_topic("default")) as one, other.watch(queue_topic("default")) as two:
            await submit(store, *specs("a", "b"))
            first, second, both = await woken_first((store, one), (other, two))
            assert len(await claim(first[0], limit=1)) == 1
            assert both or await second[1].wait(HINT_TIMEOUT)
            assert len(await claim(second[0])) == 1

    async def test_jobs_left_because_a_queue_has_no_free_slots_wake_another_watcher(
        self, store: Store, other: Store
    ) -> None:
        topics = queue_topic("x"), queue_topic("y")
        async with store.watch(*topics) as one, other.watch(*topics) as two:
            await submit(store, *specs("a", "b", queue="x"))
            first, second, both = await woken_first((store, one), (other, two))
            assert len(await claim(first[0], queues={"x": 1, "y": 5})) == 1
            assert both or await second[1].wait(HINT_TIMEOUT)
            await claim(first[0], queues={"y": 5})
            assert len(await claim(second[0], queues={"x": 5, "y": 5})) == 1
            await submit(store, *specs("c", queue="x"))
            assert await second[1].wait(HINT_TIMEOUT)

    async def test_a_hint_skips_a_watcher_that_cannot_run_the_task(self, store: Store, other: Store) -> None:
        async with store.watch(queue_topic("default")), other.watch(queue_topic("default")) as second:
            await claim(store, tasks={"another": 1})
            await claim(other, tasks={"t": 1})
            await submit(store, *specs("a"))
            assert await second.wait(HINT_TIMEOUT)

    async def test_a_watcher_that_stops_passes_its_hint_on(self, store: Store, other: Store) -> None:
        async with other.watch(queue_topic("default")) as second:
            async with store.watch(queue_topic("default")):
                await claim(other)  # from now on it waits, behind the first
                await submit(store, *specs("a"))
            assert await second.wait(HINT_TIMEOUT)

    async def test_a_lost_hint_is_repeated_by_a_sweep(self, store: Store, other: Store) -> None:
        async with store.watch(queue_topic("default")) as one, other.watch(queue_topic("default")) as two:
            await submit(store, *specs("a"))
            _, second, both = await woken_first((store, one), (other, two))  # and the first does nothing about it
            await store.sweep(lease=LEASE)
            assert both or await second[1].wait(HINT_TIMEOUT)


Watched = tuple[Store, Subscription]


async def woken_first(one: Watched, other: Watched) -> tuple[Watched, Watched, bool]:
    """Wait until one of two is woken. Returns it first, then the other, then whether both were woken."""
    waits = [asyncio.create_task(wakeups.wait(HINT_TIMEOUT)) for _, wakeups in (one, other)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    came = [wait.done() for wait in waits]
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    return (*((one, other) if came[0] else (other, one)), all(came))


class ConcurrentCalls(ManyConnections):
    """Concurrent calls over several connections."""

    async def test_fifty_concurrent_workers_run_no_job_twice(self, five: list[Store]) -> None:
        many = [f"j{n}" for n in range(300)]
        await submit(five[0], *(JobSpec(id=job_id, task="t", user=f"u{n % 7}") for n, job_id in enumerate(many)))

        async def run_worker(number: int) -> list[str]:
            taken: list[str] = []
            while claimed := await claim(five[number % 5], worker=f"w{number}", limit=3):
                taken += ids(claimed)
            return taken

        taken = Counter(job_id for each in await asyncio.gather(*map(run_worker, range(50))) for job_id in each)
        assert taken == dict.fromkeys(many, 1)

    async def test_fifty_concurrent_submits_of_one_id_make_one_job(self, five: list[Store]) -> None:
        answers = await asyncio.gather(*(five[n % 5].submit(specs("a")) for n in range(50)))
        assert sum(each.created for (each,) in answers if isinstance(each, Submission)) == 1

    async def test_concurrent_submits_of_one_unique_key_make_one_job(self, five: list[Store]) -> None:
        wanted = [JobSpec(id=f"j{n}", task="t", unique="k") for n in range(50)]
        answers = await asyncio.gather(*(five[n % 5].submit([spec]) for n, spec in enumerate(wanted)))
        created = {each.record.id for (each,) in answers if isinstance(each, Submission)}
        assert len(created) == 1
        assert len(await claim(five[0])) == 1

    async def test_a_claim_repeated_concurrently_is_one_claim(self, five: list[Store]) -> None:
        await submit(five[0], *specs("a", "b", "c"))
        request = ClaimRequest(request=new_nonce(), worker="w", queues={"default": 1}, lease=LEASE)
        claims = await asyncio.gather(*(five[n % 5].claim(request) for n in range(20)))
        assert len({each.lease for answer in claims for each in answer.jobs}) == 1

    async def test_a_finish_repeated_concurrently_ends_the_job_once(self, five: list[Store]) -> None:
        claimed = await start(five[0], *specs("a"))
        report = AttemptResult(lease=claimed.lease, outcome=Succeeded("1"), entries=tokens("one"))
        answers = await asyncio.gather(*(five[n % 5].finish([report]) for n in range(20)))
        assert answers == [[True]] * 20
        assert await event_texts(five[1], "a") == ["one", "end"]

    async def test_of_two_concurrent_finishes_one_counts(self, five: list[Store]) -> None:
        for number in range(20):
            claimed = await start(five[0], *specs(f"j{number}"))
            won, _ = await asyncio.gather(finish(five[1], claimed, Succeeded("1")), five[2].cancel([f"j{number}"]))
            assert won
            assert (await record(five[3], f"j{number}")).state is State.SUCCEEDED
            assert await event_texts(five[3], f"j{number}") == ["end"]

    async def test_a_concurrent_cancel_and_claim_agree(self, five: list[Store]) -> None:
        for number in range(20):
            await submit(five[0], *specs(f"j{number}"))
            claimed, _ = await asyncio.gather(claim(five[1]), five[2].cancel([f"j{number}"]))
            job = await record(five[3], f"j{number}")
            assert (job.state, job.cancel_requested) == ((State.RUNNING, True) if claimed else (State.CANCELLED, False))

    async def test_concurrent_sweeps_count_each_loss_once(self, five: list[Store], clock: ManualClock) -> None:
        many = [f"j{n}" for n in range(40)]
        await submit(five[0], *specs(*many))
        await claim(five[0], worker="dead")
        await pass_time(five[0], clock, 0.9 * LEASE)
        lost = 0
        for _ in range(8):
            clock.advance(LEASE / 4)
            swept = await asyncio.gather(*(five[n % 5].sweep(lease=LEASE) for n in range(10)))
            lost += sum(each.lost for each in swept)
        assert lost == 40
        found = [job for job in await five[0].get(many) if isinstance(job, JobRecord)]
        assert {(job.state, job.worker_losses) for job in found} == {(State.QUEUED, 1)}

    async def test_workers_that_run_and_release_concurrently_finish_every_job(self, five: list[Store]) -> None:
        many = [f"j{n}" for n in range(100)]
        await submit(five[0], *specs(*many))

        async def work(worker: int) -> None:
            while claimed := await claim(five[worker % 5], worker=f"w{worker}", limit=4):
                reports = [
                    AttemptResult(
                        lease=each.lease,
                        outcome=Succeeded("1") if each.lease.attempt > 1 else Released(),
                        entries=tokens(str(each.lease.attempt)),
                    )
                    for each in claimed
                ]
                assert await five[worker % 5].finish(reports) == [True] * len(claimed)

        await asyncio.gather(*map(work, range(12)))
        for job_id in many:
            assert await event_texts(five[0], job_id) == ["1", "2", "end"]
