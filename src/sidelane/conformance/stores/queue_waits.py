"""What statistics say about the jobs that are first in line: how long they wait, and which tasks they need."""

from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    claim_job,
    failure,
    finish,
    ids,
    pass_time,
    slot_limit,
    specs,
    start,
    submit,
)
from sidelane.conformance.stores.external_tasks import start_external
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.conformance.stores.worker_losses import isolate
from sidelane.model.job import JobSpec, Query, State
from sidelane.model.outcome import Released, Retried, Succeeded
from sidelane.model.worker import QueueStats
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store

ONE = slot_limit(1, "wait")


async def stats_of(store: Store, queue: str = "default") -> QueueStats:
    """Return the statistics of a queue that must exist."""
    (found,) = [each for each in await store.stats() if each.name == queue]
    return found


async def head_wait(store: Store, queue: str = "default") -> float | None:
    wait = (await stats_of(store, queue)).head_wait
    return None if wait is None else round(wait, 3)


async def run_others(store: Store) -> None:
    """Run jobs without user, so that no user has most of the running jobs."""
    await submit(store, *specs(*(f"other{number}" for number in range(20))))
    assert len(await claim(store, limit=20)) == 20


class HeadWaits(StoreSuite):
    """`head_wait`: how long the first ready job of a user has been the first, or a job without a user has been ready."""

    async def test_a_queue_without_ready_jobs_has_no_head_wait(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="delayed", task="t", delay=60), *specs("a", user="u"))
        await claim_job(store, "a")
        clock.advance(5)
        assert await head_wait(store) is None

    @pytest.mark.parametrize("user", [None, "u"])
    async def test_isolated_jobs_are_not_first_in_line(
        self, store: Store, clock: ManualClock, user: str | None
    ) -> None:
        await submit(store, *specs("a", user=user))
        await isolate(store, clock, "a")
        await pass_time(store, clock, 60)
        await submit(store, JobSpec(id="b", task="other", user="v"))
        clock.advance(5)
        found = await stats_of(store)
        assert (found.ready, found.head_wait, found.waiting_tasks) == (2, 5, {"other": 1})
        await store.cancel(["b"])
        assert await head_wait(store) is None

    async def test_a_job_without_user_waits_since_it_is_ready(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        clock.advance(2)
        await submit(store, *specs("b", "c"))
        clock.advance(3)
        assert await head_wait(store) == 5
        await claim(store, limit=1)
        assert await head_wait(store) == 3
        await store.cancel(["b"])
        assert await head_wait(store) == 3

    async def test_a_lone_job_of_a_user_waits_since_it_is_ready(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", user="u"))
        clock.advance(5)
        assert await head_wait(store) == 5

    async def test_a_flooding_user_waits_only_since_its_last_start(self, store: Store, clock: ManualClock) -> None:
        await run_others(store)
        await submit(store, *specs(*(f"j{n}" for n in range(20)), user="flood"))
        for _ in range(5):
            clock.advance(4)
            assert await head_wait(store) == 4
            assert len(await claim(store, limit=1)) == 1
            assert await head_wait(store) == 0
        await submit(store, *specs("more", user="flood"))
        clock.advance(2)
        assert await head_wait(store) == 2

    async def test_a_user_with_most_of_the_running_jobs_waits_for_its_own(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a", "b", user="flood"))
        clock.advance(1)
        assert await head_wait(store) == 1
        holder = await claim_job(store, "a")
        clock.advance(60)
        assert await head_wait(store) is None
        await start(store, *specs("c", user="v"))
        assert await head_wait(store) == 60
        await finish(store, holder, Succeeded("1"))
        assert await head_wait(store) == 60

    async def test_users_who_share_the_running_jobs_wait_for_each_other(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a1", "a2", "a3", user="u"), *specs("b1", "b2", "b3", user="v"))
        assert len(await claim(store, limit=4)) == 4
        clock.advance(60)
        assert await head_wait(store) == 60

    async def test_a_flooding_user_does_not_hide_the_wait_of_others(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(5)), user="flood"))
        assert len(await claim(store, limit=3)) == 3
        await submit(store, *specs("a", user="v"), *specs("b"))
        clock.advance(7)
        assert await head_wait(store) == 7
        await claim(store, ids=("a", "b"))
        assert await head_wait(store) is None

    async def test_the_longest_wait_of_all_users_counts(self, store: Store, clock: ManualClock) -> None:
        await run_others(store)
        await submit(store, *specs(*(f"j{n}" for n in range(9)), user="flood"))
        assert len(await claim(store, limit=1)) == 1
        await submit(store, *specs("a", user="u", priority=-1), *specs("b", user="v"))
        clock.advance(4)
        await claim(store, ids=("b",))
        await claim(store, ids=("j1",))
        clock.advance(1)
        assert await head_wait(store) == 5
        await store.cancel(["a"])
        assert await head_wait(store) == 1

    async def test_a_user_without_jobs_begins_anew(self, store: Store, clock: ManualClock) -> None:
        await run_others(store)
        await submit(store, *specs("a", user="u"))
        clock.advance(50)
        await claim(store)
        clock.advance(50)
        await submit(store, *specs("b", user="u"))
        clock.advance(3)
        assert await head_wait(store) == 3

    async def test_a_removed_first_job_restarts_the_wait_and_another_does_not(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *specs("a", "b", "c", user="u"))
        clock.advance(4)
        await store.cancel(["b"])
        assert await head_wait(store) == 4
        await store.cancel(["a"])
        assert await head_wait(store) == 0
        clock.advance(2)
        assert await head_wait(store) == 2

    async def test_the_first_job_of_a_user_is_the_oldest_of_all_tasks(self, store: Store, clock: ManualClock) -> None:
        await run_others(store)
        await submit(store, JobSpec(id="new", task="t", user="u", version=2), *specs("b", "c", user="u"))
        clock.advance(4)
        assert ids(await claim(store, tasks={"t": 1}, limit=1)) == ["b"]
        assert await head_wait(store) == 4
        assert ids(await claim(store, tasks={"t": 2}, limit=1)) == ["new"]
        assert await head_wait(store) == 0
        clock.advance(1)
        assert ids(await claim(store, limit=1)) == ["c"]
        assert await head_wait(store) is None

    async def test_jobs_behind_the_first_of_another_task_do_not_wait(self, store: Store, clock: ManualClock) -> None:
        await run_others(store)
        await submit(store, *specs(*(f"j{n}" for n in range(4)), user="u"), JobSpec(id="other", task="o", user="u"))
        for _ in range(4):
            clock.advance(5)
            assert len(await claim(store, limit=1)) == 1
        assert await head_wait(store) == 0
        clock.advance(3)
        assert await head_wait(store) == 3

    @pytest.mark.parametrize("user", [None, "u"])
    async def test_a_job_that_returns_to_its_queue_waits_from_then(
        self, store: Store, clock: ManualClock, user: str | None
    ) -> None:
        claimed = await start(store, *specs("a", user=user))
        clock.advance(50)
        await finish(store, claimed, Retried(failure()))
        clock.advance(3)
        assert await head_wait(store) == 3
        again = await claim_job(store, "a")
        await finish(store, again, Released(10))
        clock.advance(5)
        assert await head_wait(store) is None
        await pass_time(store, clock, 7)
        assert 0 <= (await head_wait(store) or -1) <= 2

    async def test_a_returned_job_that_is_older_than_the_first_becomes_the_first(
        self, store: Store, clock: ManualClock
    ) -> None:
        await run_others(store)
        claimed = await start(store, *specs("a", user="u"))
        await submit(store, *specs("b", user="u"))
        clock.advance(7)
        assert await head_wait(store) == 7
        await finish(store, claimed, Retried(failure()))
        assert await head_wait(store) == 0

    @pytest.mark.parametrize("user", [None, "u"])
    async def test_a_paused_queue_has_no_head_wait_and_begins_anew_when_it_is_resumed(
        self, store: Store, clock: ManualClock, user: str | None
    ) -> None:
        await submit(store, *specs("a", user=user))
        clock.advance(30)
        await store.pause("default")
        assert await head_wait(store) is None
        clock.advance(30)
        await store.pause("default", False)
        assert await head_wait(store) == 0
        clock.advance(4)
        await store.pause("default", False)
        assert await head_wait(store) == 4
        await submit(store, *specs("b", queue="x", user=user))
        clock.advance(1)
        assert [await head_wait(store), await head_wait(store, "x")] == [5, 1]

    @pytest.mark.parametrize("user", [None, "u"])
    async def test_an_unblocked_job_waits_from_its_unblocking(
        self, store: Store, clock: ManualClock, user: str | None
    ) -> None:
        holder = await start(store, *specs("holder", limits=(ONE,), user=user))
        await submit(store, *specs("a", "b", limits=(ONE,), user=user))
        assert await claim(store) == []
        clock.advance(60)
        assert await head_wait(store) is None
        await finish(store, holder, Succeeded("1"))
        assert await head_wait(store) == 0
        clock.advance(3)
        found = await stats_of(store)
        assert found.head_wait == pytest.approx(3)
        assert found.oldest == pytest.approx(3)

    async def test_a_clock_that_steps_back_makes_no_wait_negative(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", user="u"), *specs("b"))
        clock.advance(-50)
        assert await head_wait(store) == 0


class WaitingTasks(StoreSuite):
    """Which tasks the first ready jobs need, and how many jobs are isolated."""

    async def test_the_tasks_of_first_ready_jobs_are_listed_with_their_newest_version(self, store: Store) -> None:
        await submit(
            store,
            JobSpec(id="a", task="t", user="u", version=2),
            JobSpec(id="b", task="t", user="v", version=10),
            JobSpec(id="c", task="t", user="w", version=3),
            JobSpec(id="d", task="speak", version=1, priority=-5),
            JobSpec(id="e", task="delayed", user="x", delay=60),
            JobSpec(id="f", task="elsewhere", queue="x"),
        )
        found = {each.name: dict(each.waiting_tasks) for each in await store.stats()}
        assert found == {"default": {"t": 10, "speak": 1}, "x": {"elsewhere": 1}}

    async def test_jobs_that_no_worker_can_run_stay_in_the_list(self, store: Store) -> None:
        await submit(store, JobSpec(id="new", task="t", version=9, user="u"), *specs("a", "b", user="u"))
        assert ids(await claim(store, tasks={"t": 1})) == ["a", "b"]
        assert (await stats_of(store)).waiting_tasks == {"t": 9}
        await store.cancel(["new"])
        assert (await stats_of(store)).waiting_tasks == {}

    async def test_stats_count_ready_isolated_jobs(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", "c"))
        assert (await stats_of(store)).isolated == 0
        await isolate(store, clock, "a", "b")
        found = await stats_of(store)
        assert (found.ready, found.isolated) == (3, 2)
        await claim(store, isolated=True, limit=1)
        await store.cancel(["b"])
        assert (await stats_of(store)).isolated == 0


class RunningJobs(StoreSuite):
    """Queries for running jobs only."""

    async def test_running_jobs_are_listed_newest_first(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("queued", "ended"), JobSpec(id="delayed", task="t", delay=60))
        await finish(store, await claim_job(store, "ended"), Succeeded("1"))
        await start(store, *specs("a"), worker="w1")
        await start_external(store, JobSpec(id="b", task="t"))
        await start(store, *specs("c", user="u", queue="x"), worker="w2")
        await start(store, *specs("d"), worker="w1")
        await store.cancel(["a"])

        async def found(**conditions: object) -> list[str]:
            query = replace(Query(states=frozenset({State.RUNNING})), **conditions)  # type: ignore[arg-type]
            return [job.id for job in await store.list_jobs(query)]

        assert await found() == ["d", "c", "b", "a"]
        assert await found(queue="default") == ["d", "b", "a"]
        assert await found(user="u") == ["c"]
        assert await found(task="other") == []
        assert await found(limit=2) == ["d", "c"]
        (page,) = [job for job in await store.list_jobs(Query(states=frozenset({State.RUNNING}))) if job.id == "c"]
        assert await found(before=page.sequence) == ["b", "a"]

    async def test_labels_filter_running_jobs(self, store: Store) -> None:
        await start(store, JobSpec(id="a", task="t", labels={"tier": "gold"}))
        await start(store, JobSpec(id="b", task="t"))
        query = Query(states=frozenset({State.RUNNING}), labels={"tier": "gold"})
        assert [job.id for job in await store.list_jobs(query)] == ["a"]

    async def test_many_running_jobs_are_listed_without_a_gap(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(450))))
        for number in range(3):
            await claim(store, worker=f"w{number}", limit=150)
        found: list[str] = []
        before = None
        while page := await store.list_jobs(Query(states=frozenset({State.RUNNING}), before=before, limit=201)):
            found += [job.id for job in page]
            before = page[-1].sequence
        assert found == [f"j{n}" for n in reversed(range(450))]

    async def test_a_lost_job_is_not_listed(self, store: Store, clock: ManualClock) -> None:
        await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        assert await store.list_jobs(Query(states=frozenset({State.RUNNING}))) == []
