"""Queries: lists of jobs, positions, statistics of queues and workers."""

from dataclasses import replace
from typing import Any

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    claim_job,
    failure,
    finish,
    heartbeat,
    pass_time,
    record,
    specs,
    start,
    submit,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.batch import BatchSpec
from sidelane.model.job import JobSpec, Query, State
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.worker import QueueStats, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


async def found(store: Store, query: Query) -> list[str]:
    return [job.id for job in await store.list_jobs(query)]


async def before(store: Store, job_id: str) -> int:
    """Return the position of a ready job."""
    index = await store.queue_position(job_id)
    assert index is not None
    return index.before


class JobQueries(StoreSuite):
    """Lists of jobs, newest first."""

    async def test_jobs_are_listed_newest_first(self, store: Store) -> None:
        await submit(store, *specs("c", "a", "b"))
        assert await found(store, Query()) == ["b", "a", "c"]

    async def test_jobs_are_listed_by_each_field_of_a_query(self, store: Store) -> None:
        await store.open_batch(BatchSpec(id="many"))
        await submit(
            store,
            JobSpec(id="a", task="answer", user="u", key="k"),
            JobSpec(id="b", task="answer", queue="x", parent="a"),
            JobSpec(id="c", task="speak", user="u", labels={"tier": "gold", "zone": "1"}, batch="many"),
            JobSpec(id="d", task="speak", user="v", key="k", labels={"tier": "gold"}, batch="many"),
        )
        assert await found(store, Query(task="answer")) == ["b", "a"]
        assert await found(store, Query(queue="x")) == ["b"]
        assert await found(store, Query(user="u")) == ["c", "a"]
        assert await found(store, Query(key="k")) == ["d", "a"]
        assert await found(store, Query(key="k", user="u")) == ["a"]
        assert await found(store, Query(key="k", user="v", task="answer")) == []
        assert await found(store, Query(parent="a")) == ["b"]
        assert await found(store, Query(batch="many")) == ["d", "c"]
        assert await found(store, Query(batch="many", user="u")) == ["c"]
        assert await found(store, Query(labels={"tier": "gold"})) == ["d", "c"]
        assert await found(store, Query(labels={"tier": "gold", "zone": "1"})) == ["c"]
        assert await found(store, Query(task="speak", labels={"tier": "tin"})) == []

    async def test_an_empty_text_matches_no_job(self, store: Store) -> None:
        await submit(store, *specs("bare"), JobSpec(id="whole", task="t", user="u", key="k", parent="bare"))
        for mark in ("user", "key", "parent", "batch", "task", "queue"):
            marked: dict[str, Any] = {mark: ""}
            assert await found(store, Query(**marked)) == []
            assert await found(store, Query(**{"key": "k", **marked})) == []

    async def test_jobs_are_listed_by_state(self, store: Store) -> None:
        for job_id, outcome in ("ok", Succeeded("1")), ("bad", Failed(failure())), ("again", Retried(failure())):
            await finish(store, await start(store, *specs(job_id)), outcome)
        await start(store, *specs("busy"))
        assert await found(store, Query(states=frozenset({State.FAILED}))) == ["bad"]
        assert await found(store, Query(states=frozenset({State.SUCCEEDED, State.RUNNING}))) == ["busy", "ok"]
        assert await found(store, Query(states=frozenset({State.QUEUED}))) == ["again"]
        assert await found(store, Query(states=frozenset())) == []

    async def test_jobs_of_a_state_are_found_whatever_their_sequence(self, store: Store) -> None:
        ids = [f"job-{number}" for number in range(300)]
        await store.submit([JobSpec(id=each, task="t") for each in ids])
        ended = [ids[number] for number in (0, 125, 126, 127, 128, 253, 254, 255, 256, 299)]
        await store.cancel(ended)
        assert await found(store, Query(states=frozenset({State.CANCELLED}))) == ended[::-1]

    async def test_listed_records_have_no_history(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Retried(failure()))
        whole = await record(store, "a")
        assert whole.history
        assert await store.list_jobs(Query()) == [replace(whole, history=())]

    async def test_pages_continue_from_the_last_job_and_miss_none(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(12)), user="u"), *specs("other", user="v"))
        pages: list[str] = []
        before = None
        for _ in range(4):
            page = await store.list_jobs(Query(user="u", before=before, limit=5))
            pages += [job.id for job in page]
            before = page[-1].sequence if page else before
        assert pages == [f"j{n}" for n in reversed(range(12))]

    async def test_names_are_compared_exactly(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="t", user="a%_*[b]'\"", labels={"a.b": "$.c"}))
        assert await found(store, Query(user="a%_*[b]'\"")) == ["a"]
        assert await found(store, Query(labels={"a.b": "$.c"})) == ["a"]
        assert await found(store, Query(user="a%")) == []

    async def test_a_user_and_a_key_find_the_jobs_of_this_user_with_this_key(self, store: Store) -> None:
        pairs = [("u", "k"), ("u", "kk"), ("uk", "k"), ("1:u", "k"), ("é", "k"), (None, "k"), ("u", "k")]
        await submit(store, *(JobSpec(id=f"j{n}", task="t", user=user, key=key) for n, (user, key) in enumerate(pairs)))
        assert await found(store, Query(user="u", key="k")) == ["j6", "j0"]
        assert await found(store, Query(user="u", key="k", limit=1)) == ["j6"]
        for number, (user, key) in enumerate(pairs[1:5], 1):
            assert await found(store, Query(user=user, key=key)) == [f"j{number}"]
        assert await found(store, Query(key="k")) == ["j6", "j5", "j4", "j3", "j2", "j0"]
        await store.cancel(["j6"])
        assert await store.remove(["j6"]) == [True]
        assert await found(store, Query(user="u", key="k")) == ["j0"]

    async def test_jobs_are_listed_by_release_and_sequence(self, store: Store) -> None:
        for job_id, release in ("old", "r1"), ("new", "r2"), ("newest", "r2"):
            await start(store, *specs(job_id), release=release)
        await submit(store, *specs("waiting"))
        assert await found(store, Query(release="r2")) == ["newest", "new"]
        assert await found(store, Query(release="r3")) == []
        oldest = (await record(store, "old")).sequence
        assert await found(store, Query(after=oldest)) == ["waiting", "newest", "new"]
        assert await found(store, Query(after=oldest, states=frozenset({State.RUNNING}))) == ["newest", "new"]

    async def test_text_is_found_in_each_part_of_a_job(self, store: Store) -> None:
        marked: dict[str, Any] = {
            "task": "Needle",
            "user": "a needle",
            "key": "needle/1",
            "arguments": '{"of":"Needles, 바늘"}',
        }
        await submit(store, *(JobSpec(**{"id": name, "task": "t"} | {name: text}) for name, text in marked.items()))
        await submit(store, JobSpec(id="label", task="t", labels={"tool": "needle"}), *specs("my-needle", "hay"))
        await finish(store, await start(store, *specs("error")), Retried(replace(failure(), error="no NEEDLE")))
        problem = replace(failure().problem, detail="Where is the needle?")
        await finish(store, await start(store, *specs("problem")), Failed(replace(failure(), problem=problem)))
        expected = {*marked, "label", "my-needle", "error", "problem"}
        assert set(await found(store, Query(text="neeDLE"))) == expected
        assert await found(store, Query(text="바늘")) == ["arguments"]
        assert await found(store, Query(text="%")) == await found(store, Query(text="queue")) == []

    async def test_search_looks_at_the_newest_jobs_of_an_index_and_continues(self, store: Store) -> None:
        await submit(store, *(JobSpec(id=f"j{n}", task=f"t{n % 10}", user=f"u{n % 2}") for n in range(40)))
        page = await store.search_jobs(Query(task="t5"), scan=20)
        assert ([job.id for job in page.records], page.scanned) == (["j35", "j25"], 20)
        page = await store.search_jobs(Query(task="t5", before=page.before), scan=30)
        assert ([job.id for job in page.records], page.before) == (["j15", "j5"], None)
        page = await store.search_jobs(Query(task="t5", user="u1"), scan=20)
        assert [job.id for job in page.records] == ["j35", "j25", "j15", "j5"]
        page = await store.search_jobs(Query(limit=3), scan=20)
        assert [job.id for job in page.records] == ["j39", "j38", "j37"]
        assert page.before == page.records[-1].sequence
        assert not (await store.search_jobs(Query(states=frozenset()), scan=20)).records


class QueuePositions(StoreSuite):
    """The number of ready jobs before one."""

    async def test_position_counts_the_ready_jobs_before_a_job_by_priority_then_age(self, store: Store) -> None:
        await submit(store, *specs("a", "b", "c"), *specs("high", priority=1), *specs("x", queue="other"))
        await submit(store, JobSpec(id="delayed", task="t", priority=9, delay=60))
        positions = {job_id: await before(store, job_id) for job_id in ("high", "a", "b", "c", "x")}
        assert positions == {"high": 0, "a": 1, "b": 2, "c": 3, "x": 0}

    async def test_only_ready_jobs_have_a_position(self, store: Store) -> None:
        await submit(store, JobSpec(id="delayed", task="t", delay=60), *specs("running", "ended"))
        await claim_job(store, "running")
        await store.cancel(["ended"])
        for job_id in "delayed", "running", "ended", "unknown":
            assert await store.queue_position(job_id) is None

    async def test_position_is_counted_up_to_a_thousand(self, store: Store) -> None:
        await submit(store, *specs(*(f"j{n}" for n in range(1102))))
        assert [await before(store, f"j{n}") for n in (999, 1000, 1101)] == [999, 1000, 1000]


class Statistics(StoreSuite):
    """Statistics of queues and workers."""

    async def test_stats_count_the_unfinished_jobs_of_every_queue(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", "b", "c", queue="x"), *specs("d", queue="y"))
        await submit(store, JobSpec(id="e", task="t", queue="x", delay=60))
        await claim_job(store, "a")
        await store.pause("y")
        clock.advance(7)
        counted = {each.name: each for each in await store.stats()}
        assert [counted[name].oldest for name in "xy"] == pytest.approx([7, 7])
        assert replace(counted["x"], oldest=None, head_wait=None, rate=0.0) == QueueStats(
            name="x", ready=2, delayed=1, running=1, waiting_tasks={"t": 1}
        )
        assert replace(counted["y"], oldest=None) == QueueStats(name="y", paused=True, ready=1, waiting_tasks={"t": 1})

    async def test_a_delayed_job_that_is_due_counts_as_ready(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a", task="t", delay=5))
        await pass_time(store, clock, 8)
        (counted,) = await store.stats()
        assert (counted.ready, counted.delayed) == (1, 0)
        assert counted.oldest == pytest.approx(3)

    async def test_a_queue_stays_in_the_stats_when_all_its_jobs_have_ended(self, store: Store) -> None:
        await submit(store, *specs("a", queue="x"))
        await store.cancel(["a"])
        assert await store.stats() == [QueueStats(name="x")]

    async def test_workers_are_listed_with_their_last_description(self, store: Store) -> None:
        worker = WorkerInfo(
            id="w1",
            name="gpu-1",
            host="h",
            pid=7,
            queues={"x": 3},
            tasks={"t": 2},
            slots=3,
            running=1,
            started=12.5,
            health="the disk is full",
        )
        await store.heartbeat(replace(worker, running=0), [], lease=LEASE)
        await store.heartbeat(worker, [], lease=LEASE)
        assert await store.workers() == [worker]

    async def test_a_worker_whose_heartbeats_stopped_is_not_listed(self, store: Store, clock: ManualClock) -> None:
        await heartbeat(store, "w1")
        for _ in range(9):
            await heartbeat(store, "w2")
            await pass_time(store, clock, LEASE / 3)
        assert [worker.id for worker in await store.workers()] == ["w2"]

    async def test_a_stopped_worker_is_not_listed(self, store: Store) -> None:
        await heartbeat(store, "w1")
        assert len(await store.workers()) == 1
        await store.heartbeat(WorkerInfo(id="w1", name="w1", health="stopped"), [], lease=LEASE)
        assert await store.workers() == []
