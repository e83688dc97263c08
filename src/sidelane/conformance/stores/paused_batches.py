"""Paused batches: their jobs do not start, and wait beside their queues until the batch is resumed."""

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    claim_job,
    failure,
    finish,
    ids,
    record,
    slot_limit,
    specs,
    submit,
)
from sidelane.conformance.stores.counting import measured
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.conformance.stores.transitions import changes
from sidelane.model.batch import BatchSpec
from sidelane.model.history import Count
from sidelane.model.job import DAY, JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.transition import Change
from sidelane.model.worker import QueueStats
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


def members(*job_ids: str, priority: int = 0, user: str | None = None, limits: tuple[Limit, ...] = ()) -> list[JobSpec]:
    return [
        JobSpec(id=job_id, task="t", batch="many", priority=priority, user=user, limits=limits) for job_id in job_ids
    ]


async def paused(store: Store, *jobs: JobSpec) -> None:
    """Open a batch, pause it and submit its jobs."""
    await store.open_batch(BatchSpec(id="many"))
    await store.pause_batch("many")
    await submit(store, *jobs)


async def depths(store: Store) -> QueueStats:
    (found,) = await store.stats()
    return found


class PausedBatches(StoreSuite):
    """Pausing, resuming, and what may happen to a job meanwhile."""

    async def test_a_batch_says_whether_it_is_paused(self, store: Store) -> None:
        opened = await store.open_batch(BatchSpec(id="many"))
        assert not opened.paused
        for paused in (True, True, False, False):
            changed = await store.pause_batch("many", paused)
            assert changed is not None
            assert changed.paused is paused
            assert changed == await store.get_batch("many")

    async def test_an_unknown_batch_cannot_be_paused(self, store: Store) -> None:
        assert await store.pause_batch("many") is None
        await store.open_batch(BatchSpec(id="many"))
        found = await store.get_batch("many")
        assert found is not None
        assert not found.paused

    async def test_no_job_of_a_paused_batch_starts(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, *members("before"), *specs("other"))
        await store.pause_batch("many")
        await submit(store, *members("after"))
        assert ids(await claim(store)) == ["other"]
        assert await claim(store) == []
        assert await claim(store, ids=("before", "after")) == []
        assert (await record(store, "before")).state is State.QUEUED

    async def test_a_claim_looks_once_at_a_job_of_a_paused_batch(self, store: Store) -> None:
        await paused(store, *members("a", "b"))
        assert not (await record(store, "a")).waiting_for_batch
        for _ in range(3):
            assert await claim(store) == []
        assert (await record(store, "a")).waiting_for_batch
        assert await changes(store, "a") == [Change.SUBMITTED, Change.PAUSED]
        found = await depths(store)
        assert (found.ready, found.waiting_for_batch, found.queued) == (0, 2, 2)

    async def test_jobs_of_a_resumed_batch_start_by_priority_then_age(self, store: Store) -> None:
        await paused(store, *members("a"), *members("b", priority=1), *members("c"))
        await claim(store)
        await store.pause_batch("many", paused=False)
        assert (await depths(store)).ready == 3
        assert ids(await claim(store)) == ["b", "a", "c"]
        assert await changes(store, "a") == [Change.SUBMITTED, Change.PAUSED, Change.RESUMED, Change.STARTED]
        assert (await depths(store)).waiting_for_batch == 0

    async def test_running_jobs_of_a_paused_batch_go_on(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, *members("done", "again"))
        done, again = await claim_job(store, "done"), await claim_job(store, "again")
        await store.seal_batch("many")
        await store.pause_batch("many")
        await finish(store, done, Succeeded("1"))
        await finish(store, again, Retried(failure()))
        assert await claim(store) == []
        await store.pause_batch("many", paused=False)
        (claimed,) = await claim(store)
        assert claimed.lease.attempt == 2
        await finish(store, claimed, Succeeded("2"))
        found = await store.get_batch("many")
        assert found is not None
        assert (found.state, found.succeeded) == (State.SUCCEEDED, 2)

    async def test_a_delayed_job_waits_once_it_is_due(self, store: Store, clock: ManualClock) -> None:
        await paused(store, JobSpec(id="later", task="t", batch="many", delay=5.0))
        clock.advance(6)
        assert await claim(store) == []
        assert (await depths(store)).waiting_for_batch == 1
        await store.pause_batch("many", paused=False)
        assert ids(await claim(store)) == ["later"]

    async def test_many_jobs_of_a_resumed_batch_return_step_by_step(self, store: Store) -> None:
        names = [f"j{number:03}" for number in range(450)]
        await store.open_batch(BatchSpec(id="many"))
        await store.pause_batch("many")
        await store.submit(members(*names))
        while (await depths(store)).ready:
            assert await claim(store) == []
        await store.pause_batch("many", paused=False)
        assert (await depths(store)).waiting_for_batch == 250
        await store.sweep(lease=LEASE)
        assert (await depths(store)).waiting_for_batch == 50
        started: list[str] = []
        while found := await claim(store, limit=100):
            started += ids(found)
        assert started == names

    async def test_a_batch_that_is_paused_again_keeps_the_jobs_that_have_not_returned(self, store: Store) -> None:
        names = [f"j{number:03}" for number in range(250)]
        await store.open_batch(BatchSpec(id="many"))
        await store.pause_batch("many")
        await store.submit(members(*names))
        while (await depths(store)).ready:
            await claim(store)
        await store.pause_batch("many", paused=False)
        await store.pause_batch("many")
        while (await depths(store)).ready:
            assert await claim(store) == []
        await store.sweep(lease=LEASE)
        assert (await depths(store)).waiting_for_batch == 250
        await store.pause_batch("many", paused=False)
        started = [job for _ in range(5) for job in ids(await claim(store))]
        assert sorted(started) == names

    async def test_a_paused_job_can_be_cancelled_and_expire(self, store: Store, clock: ManualClock) -> None:
        await paused(store, *members("cancelled"), JobSpec(id="expired", task="t", batch="many", expires=5.0))
        await claim(store)
        (cancelled,) = await store.cancel(["cancelled"])
        assert cancelled is not None
        assert (cancelled.state, cancelled.waiting_for_batch) == (State.CANCELLED, False)
        clock.advance(6)
        await store.sweep(lease=LEASE)
        assert (await record(store, "expired")).state is State.FAILED
        assert (await depths(store)).queued == 0
        await store.pause_batch("many", paused=False)
        assert await claim(store) == []

    async def test_a_requeued_job_of_a_paused_batch_waits(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, *members("a"))
        await finish(store, await claim_job(store, "a"), Failed(failure()))
        await store.pause_batch("many")
        await store.requeue(["a"])
        assert await claim(store) == []
        await store.pause_batch("many", paused=False)
        assert ids(await claim(store)) == ["a"]

    async def test_a_paused_job_passes_the_capacity_of_its_limit_on(self, store: Store) -> None:
        limit = slot_limit(1, "wait")
        await submit(store, *specs("holder", limits=(limit,)))
        holder = await claim_job(store, "holder")
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, *members("first", limits=(limit,)), *specs("second", limits=(limit,)))
        assert await claim(store) == []  # both wait for the limit
        await store.pause_batch("many")
        await finish(store, holder, Succeeded("1"))
        started = [job for _ in range(2) for job in ids(await claim(store))]
        assert started == ["second"]
        assert (await record(store, "first")).waiting_for_batch

    async def test_a_job_that_is_paused_while_it_waits_for_a_limit_has_waited_for_both(
        self, store: Store, clock: ManualClock
    ) -> None:
        limit = slot_limit(1, "wait")
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, *members("first", "second", limits=(limit,)))
        first = await claim_job(store, "first")
        assert await claim(store) == []
        await store.pause_batch("many")
        clock.advance(3)
        assert await claim(store, ids=("second",)) == []
        clock.advance(2)
        await store.cancel(["second"])
        await finish(store, first, Succeeded("1"))
        limited, paused = await measured(store, Count.LIMIT_WAIT_MS, Count.PAUSE_WAIT_MS)
        assert limited + paused == 5000
        assert limited in (3000, 5000)  # a claim may leave it to the limit

    async def test_a_paused_job_costs_its_user_nothing(self, store: Store) -> None:
        await paused(store, *members("a1", "a2", "a3", user="ann"))
        await submit(store, *specs("a4", user="ann"), *specs("b1", "b2", user="bo"))
        assert ids(await claim(store, limit=1)) == ["a4"]
        assert ids(await claim(store, limit=2)) == ["b1", "b2"]

    async def test_queued_jobs_of_a_paused_batch_count_for_a_full_queue(self, store: Store) -> None:
        await paused(store, *members("a"))
        await claim(store)
        (answer,) = await store.submit([JobSpec(id="b", task="t", max_queued=1)])
        assert not hasattr(answer, "record")

    async def test_the_time_of_a_pause_is_counted_as_such(self, store: Store, clock: ManualClock) -> None:
        await paused(store, *members("a", "b"))
        await claim(store)
        clock.advance(3)
        await store.cancel(["b"])
        clock.advance(2)
        await store.pause_batch("many", paused=False)
        clock.advance(1)
        await claim(store)
        assert await measured(store, Count.WAIT_MS, Count.LIMIT_WAIT_MS, Count.PAUSE_WAIT_MS) == [1000, 0, 8000]

    async def test_the_pause_of_a_removed_batch_is_removed_too(self, store: Store, clock: ManualClock) -> None:
        await store.open_batch(BatchSpec(id="many", retention=10.0))
        await store.pause_batch("many")
        await store.seal_batch("many")
        clock.advance(DAY)
        await store.sweep(lease=LEASE)
        assert await store.get_batch("many") is None
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, *members("a"))
        assert ids(await claim(store)) == ["a"]
