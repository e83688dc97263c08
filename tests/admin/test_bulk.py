"""Bulk actions: they change the captured jobs alone, whatever happens meanwhile, and go on where they were left."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidelane.admin import bulk
from sidelane.admin.bulk import TooManyJobs, capture, chosen_jobs, filtered_jobs, read_action, recent_actions, stop
from sidelane.admin.jobs import JobFilter
from sidelane.client.bulk_actions import BulkAction, BulkKind, run_action
from sidelane.model.errors import UnknownBulkAction
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobRecord, JobSpec, Lease, Query, State
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.processes.own_usage import own_memory
from sidelane.stores.contract import Store
from tests.admin.conftest import BOTH_STORES

EVERYTHING = JobFilter(query=Query())


async def submit(store: Store, *ids: str, **fields: object) -> None:
    await store.submit([JobSpec(id=job_id, task="t", **fields) for job_id in ids])  # type: ignore[arg-type]


async def start(store: Store, *ids: str) -> list[Lease]:
    request = ClaimRequest(request=new_nonce(), worker="w", ids=tuple(ids), limit=len(ids), lease=60.0)
    return [claimed.lease for claimed in (await store.claim(request)).jobs]


async def end(store: Store, *ids: str) -> None:
    leases = await start(store, *ids)
    await store.finish([AttemptResult(lease=lease, outcome=Succeeded("1")) for lease in leases])


async def captured(store: Store, kind: BulkKind, *ids: str) -> BulkAction:
    pages = chosen_jobs(store, ids) if ids else filtered_jobs(store, EVERYTHING)
    return await capture(store, kind, pages, filter_text="a test", by="ann")


async def run(store: Store, action: BulkAction, pace: int | None = None) -> BulkAction:
    await bulk.begin(store, action.id, by="ann", pace=pace)
    async for _ in run_action(store, action.id):
        pass
    return (await read_action(store, action.id)).action


async def states(store: Store, *ids: str) -> list[State | None]:
    return [each.state if isinstance(each, JobRecord) else None for each in await store.get(ids)]


@BOTH_STORES
async def test_preview_counts_what_would_change_and_what_would_not(store: Store) -> None:
    await submit(store, "a", "b", queue="chat", user="u1")
    await submit(store, "c", queue="report")
    await end(store, "a", "c")
    action = await captured(store, BulkKind.REQUEUE)
    assert (action.count, action.others) == (2, {"queued": 1})
    assert action.examples == {"queue": {"chat": 1, "report": 1}, "task": {"t": 2}, "user": {"u1": 1}}
    assert await states(store, "a", "b", "c") == [State.SUCCEEDED, State.QUEUED, State.SUCCEEDED]


@BOTH_STORES
async def test_action_changes_the_captured_jobs_and_tells_why_it_left_others_alone(store: Store) -> None:
    await submit(store, "a", "b", "c")
    await submit(store, "key-1", unique="k")
    await end(store, "a", "b", "c", "key-1")
    action = await captured(store, BulkKind.REQUEUE)
    await submit(store, "later")
    await end(store, "later")
    await submit(store, "key-2", unique="k")  # takes the key
    await store.requeue(["b"])
    await end(store, "b")  # ran again meanwhile
    await store.remove(["c"])
    done = await run(store, action)
    assert await states(store, "a", "b", "later", "key-1") == [
        State.QUEUED, State.SUCCEEDED, State.SUCCEEDED, State.SUCCEEDED,
    ]  # fmt: skip
    assert (done.done, done.skipped, done.failed) == (1, 2, 1)
    reasons = {note.job: note.reason for note in done.notes}
    assert "requeued meanwhile" in reasons["b"]
    assert "removed" in reasons["c"]
    assert "key-1" in reasons


@BOTH_STORES
async def test_running_jobs_are_asked_to_stop_and_ended_ones_are_left(store: Store) -> None:
    await submit(store, "queued", "running", "ends")
    await start(store, "running")
    action = await captured(store, BulkKind.CANCEL)
    await end(store, "ends")
    done = await run(store, action)
    assert (done.done, done.skipped) == (2, 1)
    assert await states(store, "queued", "ends") == [State.CANCELLED, State.SUCCEEDED]
    (running,) = await store.get(["running"])
    assert isinstance(running, JobRecord)
    assert running.cancel_requested


@BOTH_STORES
async def test_step_that_is_done_twice_counts_as_done(store: Store) -> None:
    await submit(store, "a", "b")
    await end(store, "a", "b")
    action = await captured(store, BulkKind.REQUEUE)
    await store.requeue(["a"])  # by a worker that died before it had saved its progress
    done = await run(store, action)
    assert (done.done, done.skipped, done.failed) == (2, 0, 0)


@BOTH_STORES
async def test_action_goes_on_in_another_process_where_it_was_left(store: Store) -> None:
    ids = [f"j{number}" for number in range(25)]
    await submit(store, *ids)
    action = await captured(store, BulkKind.CANCEL)
    await bulk.begin(store, action.id, by="ann", pace=10)
    steps = run_action(store, action.id)
    assert (await anext(steps)).handled == 10
    await steps.aclose()
    done = await run(store, action)
    assert (done.done, done.skipped) == (25, 0)
    assert done.ended is not None


@BOTH_STORES
async def test_two_processes_that_do_the_same_action_count_each_job_once(store: Store) -> None:
    ids = [f"j{number}" for number in range(60)]
    await submit(store, *ids)
    action = await captured(store, BulkKind.CANCEL)
    await asyncio.gather(run(store, action, 1000), run(store, action, 1000))
    done = (await read_action(store, action.id)).action
    assert (done.done, done.skipped, done.failed) == (60, 0, 0)


async def test_stop_leaves_the_rest_unchanged(store: Store) -> None:
    ids = [f"j{number}" for number in range(25)]
    await submit(store, *ids)
    action = await captured(store, BulkKind.CANCEL)
    await bulk.begin(store, action.id, by="ann", pace=10)
    steps = run_action(store, action.id)
    await anext(steps)
    await stop(store, action.id, by="bo")
    assert [step async for step in steps] == []
    found = await read_action(store, action.id)
    assert (found.state, found.action.stopped_by, found.action.done) == ("stopped", "bo", 10)
    assert (await states(store, *ids)).count(State.QUEUED) == 15


async def test_set_that_is_too_large_is_refused_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_CAPTURED", 3)
    await submit(store, "a", "b", "c", "d")
    with pytest.raises(TooManyJobs, match="Narrow the filter"):
        await captured(store, BulkKind.CANCEL)
    assert await store.list_values("bulk") == []


async def test_actions_of_the_last_day_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await submit(store, "a")
    first = await captured(store, BulkKind.CANCEL)
    assert [each.action.id for each in await recent_actions(store)] == [first.id]
    assert (await recent_actions(store))[0].state == "not confirmed"
    monkeypatch.setattr(bulk, "KEPT", -1.0)
    second = await captured(store, BulkKind.CANCEL)
    assert [each.action.id for each in await recent_actions(store)] == [second.id]
    with pytest.raises(UnknownBulkAction):
        await read_action(store, first.id)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["end", "cancel", "requeue", "remove", "new"]), st.integers(0, 9)), max_size=12
)


@BOTH_STORES
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ended=st.sets(st.integers(0, 9)), chosen=st.sets(st.integers(0, 9), min_size=1), kind=st.sampled_from(list(BulkKind)),
    changes=CHANGES,
)  # fmt: skip
async def test_no_job_outside_the_captured_set_changes(
    store: Store, ended: set[int], chosen: set[int], kind: BulkKind, changes: list[tuple[str, int]]
) -> None:
    prefix = new_nonce()
    ids = [f"{prefix}-{number}" for number in range(10)]
    await submit(store, *ids)
    await end(store, *(ids[number] for number in sorted(ended)))
    action = await captured(store, kind, *(ids[number] for number in sorted(chosen)))
    in_set = {ids[each] for each in chosen if (each in ended) is (kind is not BulkKind.CANCEL)}
    assert action.count == len(in_set)
    before = {each.id: each for each in await store.get(ids) if isinstance(each, JobRecord)}
    await change(store, prefix, ids, changes)
    middle = dict(zip(ids, await store.get(ids), strict=True))
    new = [record.id for record in await store.list_jobs(Query(limit=200)) if record.id.startswith(f"{prefix}-new")]
    done = await run(store, action)
    after = dict(zip(ids, await store.get(ids), strict=True))
    for job_id in ids:
        record = middle[job_id]
        ended_since = isinstance(record, JobRecord) and record.ends != before[job_id].ends
        if job_id not in in_set or ended_since:
            assert after[job_id] == middle[job_id]
    assert all(state is State.QUEUED for state in await states(store, *new))
    assert done.done + done.skipped + done.failed == len(in_set)


async def change(store: Store, prefix: str, ids: Sequence[str], changes: Sequence[tuple[str, int]]) -> None:
    """Do to jobs what others do between the capture and the action."""
    for number, (what, which) in enumerate(changes):
        if what == "end":
            await end(store, ids[which])
        elif what == "cancel":
            await store.cancel([ids[which]])
        elif what == "requeue":
            await store.requeue([ids[which]])
        elif what == "remove":
            await store.remove([ids[which]])
        else:
            await submit(store, f"{prefix}-new-{number}")


@pytest.mark.long
@pytest.mark.timeout(600)
@BOTH_STORES
async def test_largest_set_is_captured_and_done_in_bounded_memory(store: Store) -> None:
    for first in range(0, 100_000, 1000):
        await submit(store, *(f"job-{first + number:032d}" for number in range(1000)))
    before = own_memory()
    action = await captured(store, BulkKind.CANCEL)
    assert action.count == 100_000
    done = await run(store, action)
    assert done.done == 100_000
    assert own_memory() - before < 64 * 2**20
