"""Batches: submitting calls together, counting their jobs, follow-ups of the end."""

import asyncio
from collections.abc import Iterator
from typing import Any, assert_type

import pytest
from pydantic import BaseModel

from sidelane import (
    PREVIOUS_FAILURE,
    PREVIOUS_RESULT,
    ArgumentsError,
    Batch,
    BatchRecord,
    Call,
    ConcurrencyLimit,
    FinishedBatch,
    Job,
    JobConflict,
    JobError,
    JobFailed,
    LimitReached,
    PayloadTooLarge,
    Queue,
    QueueFull,
    ResultNotReady,
    Sidelane,
    State,
    UnknownBatch,
)
from sidelane.model.batch import BatchSpec
from sidelane.model.job import Query
from sidelane.testing import harness

SOON = 10.0


class Report(BaseModel):
    score: int


def counts(record: BatchRecord) -> tuple[int, int, int, int]:
    return record.total, record.succeeded, record.failed, record.cancelled


@pytest.mark.row("R24")
async def test_a_batch_has_typed_handles_in_order_and_returns_results(lane: Sidelane) -> None:
    @lane.task
    async def double(number: int) -> int:
        return 2 * number

    async with harness(lane) as t:
        batch = await lane.submit_many(double.call(number) for number in range(5))
        assert_type(batch, Batch[int])
        assert_type(batch.jobs, tuple[Job[int] | None, ...])
        assert counts(await batch.record()) == (5, 0, 0, 0)
        assert (await batch.record()).sealed
        with pytest.raises(ResultNotReady, match=f"Batch '{batch.id}' has not ended"):
            await batch.wait(timeout=0)
        await t.drain()
        ended = await batch.wait(timeout=0)
        assert (ended.state, counts(ended)) == (State.SUCCEEDED, (5, 5, 0, 0))
        results = await batch.results()
        assert_type(results, list[int | JobError])
        assert results == [0, 2, 4, 6, 8]


async def test_what_follows_a_batch_reads_the_results_of_its_jobs_in_the_order_of_their_submit(lane: Sidelane) -> None:
    seen: list[Any] = []

    @lane.task
    async def double(number: int) -> Report:
        if number == 7:
            raise ValueError("seven")
        return Report(score=2 * number)

    @lane.task
    async def name(number: int) -> str:
        return f"number {number}"

    @lane.task
    async def collect(end: FinishedBatch) -> None:
        seen.extend(await lane.batch(end.id).results())

    async with harness(lane) as t:
        many: list[Call[Report | str]] = [double.call(number) for number in range(250)]
        await lane.submit_many([*many, name.call(1)], then=collect.call(PREVIOUS_RESULT))
        await t.drain()
        assert len(seen) == 251
        assert isinstance(seen[7], JobFailed)
        assert [each.score for each in seen[:250] if isinstance(each, Report)] == [2 * n for n in range(250) if n != 7]
        assert seen[250] == "number 1"


async def test_a_result_of_a_task_that_is_unknown_here_is_an_error_in_its_place(lane: Sidelane) -> None:
    @lane.task
    async def note() -> int:
        return 7

    async with harness(lane) as t:
        batch = await lane.submit_many([note.call(), note.call()])
        await t.drain()
        assert await lane.batch(batch.id).results() == [7, 7]
        del lane.registry.tasks["note"]
        (error, _) = await lane.batch(batch.id).results()
        assert isinstance(error, JobError)
        assert "no task of its name is registered here" in str(error)


async def test_submitting_ten_thousand_calls_does_not_block_the_event_loop(lane: Sidelane) -> None:
    @lane.task
    async def note(number: int) -> None: ...

    taken = most = 0  # calls, between two turns of others

    def calls() -> Iterator[Call[None]]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield note.call(number)

    async def others() -> None:
        nonlocal taken, most
        while True:
            most, taken = max(most, taken), 0
            await asyncio.sleep(0)

    async with harness(lane) as t:
        meanwhile = asyncio.create_task(others())
        batch = await lane.submit_many(calls())
        meanwhile.cancel()
        assert 0 < most <= 500
        assert len({job.id for job in batch.jobs if job is not None}) == 10_000
        assert counts(await batch.record()) == (10_000, 0, 0, 0)
        found = await t.client.find(Query(batch=batch.id, limit=10_001))
        assert [record.id for record in found[::-1]] == [job.id for job in batch.jobs if job is not None]


async def test_one_invalid_call_keeps_the_whole_batch_out(make_lane: Any) -> None:
    lane: Sidelane = make_lane(payload_limit=2000)

    @lane.task(limits=[ConcurrencyLimit(1, per="user")])
    async def say(text: str) -> None: ...

    async with harness(lane) as t:
        with pytest.raises(PayloadTooLarge, match="The call of 'say'"):
            await lane.submit_many([say.call("a"), say.call("x" * 2000)], user="u", id="b1")
        with pytest.raises(ArgumentsError, match="is per user"):
            await lane.submit_many([say.options(user="u").call("a"), say.call("b")], id="b1")
        with pytest.raises(ArgumentsError, match="PREVIOUS_RESULT"):
            await lane.submit_many([say.call("a"), say.call(PREVIOUS_RESULT)], user="u", id="b1")
        with pytest.raises(PayloadTooLarge):
            await lane.submit_many([say.call("a")], then=say.call("x" * 2000), user="u", id="b1")
        assert await t.records(say) == []
        with pytest.raises(UnknownBatch, match="no batch 'b1'"):
            await lane.batch("b1").record()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "a b"}, "an id is 1 to 128"),
        ({"id": "b" * 101}, "at most 100"),
        ({"user": ""}, "a string of 1 to 512"),
        ({"retention": -1.0}, "retention=-1.0"),
        ({"retention": float("nan")}, "retention=nan"),
        ({"retention": float("inf")}, "retention=inf"),
    ],
)
async def test_invalid_options_raise(lane: Sidelane, fields: dict[str, Any], words: str) -> None:
    @lane.task
    async def task() -> None: ...

    async with harness(lane) as t:
        with pytest.raises(ArgumentsError, match=words):
            await lane.submit_many([task.call()], **fields)
        assert await t.records(task) == []


async def test_a_follow_up_of_a_batch_cannot_take_a_failure(lane: Sidelane) -> None:
    @lane.task
    async def tell(end: Any) -> None: ...

    async with harness(lane):
        with pytest.raises(ArgumentsError, match="there is no PREVIOUS_FAILURE when"):
            await lane.submit_many([], then=tell.call(PREVIOUS_FAILURE))
        with pytest.raises(ArgumentsError, match="leave out id="):
            await lane.submit_many([], then=tell.options(id="end").call(PREVIOUS_RESULT))


async def test_rejected_calls_are_listed_by_index_and_the_others_run() -> None:
    lane = Sidelane(store="sqlite://:memory:", queues=[Queue("chat", max_queued=3)])

    @lane.task(limits=[ConcurrencyLimit(1, per=lambda number: number % 2)])
    async def odd_or_even(number: int) -> int:
        return number

    @lane.task(queue="chat")
    async def chat(number: int) -> None: ...

    async with harness(lane) as t:
        batch = await lane.submit_many(odd_or_even.call(number) for number in range(4))
        assert [job is not None for job in batch.jobs] == [True, True, False, False]
        assert [each.index for each in batch.rejected] == [2, 3]
        error = batch.rejected[0].error
        assert isinstance(error, LimitReached)
        assert (error.status, [each.limit.key for each in error.reached]) == (429, ["0"])
        assert error.retry_after is not None
        await t.drain()
        assert counts(await batch.wait(0)) == (2, 2, 0, 0)
        assert await batch.results() == [0, 1, *(each.error for each in batch.rejected)]

        full = await lane.submit_many(chat.call(number) for number in range(4))
        ((place, error),) = [(each.index, each.error) for each in full.rejected]
        assert (place, type(error), error.status) == (3, QueueFull, 503)
        assert isinstance(error, QueueFull)
        assert error.retry_after is not None


async def test_the_end_of_a_batch_submits_its_follow_ups_with_its_counts(lane: Sidelane) -> None:
    told: list[FinishedBatch] = []

    @lane.task
    async def half(number: int) -> None:
        if number % 2:
            raise RuntimeError

    @lane.task
    async def tell(end: FinishedBatch, greeting: str) -> None:
        told.append(end)

    async with harness(lane) as t:
        calls = [half.call(number) for number in range(4)]
        batch = await lane.submit_many(calls, then=tell.call(PREVIOUS_RESULT, "hello"), user="u7")
        await batch.jobs[0].cancel()  # type: ignore[union-attr]
        assert await t.records(tell) == []
        await t.drain()
        expected = FinishedBatch(
            id=batch.id, state=State.FAILED, total=4, succeeded=1, failed=2, cancelled=1, user="u7"
        )  # fmt: skip
        assert told == [expected]
        (record,) = await t.records(tell)
        assert (record.spec.user, record.spec.parent) == ("u7", None)


async def test_a_batch_reopened_by_a_requeue_submits_its_follow_ups_again(lane: Sidelane) -> None:
    broken = True
    told: list[tuple[State, int]] = []

    @lane.task
    async def sometimes() -> None:
        if broken:
            raise RuntimeError

    @lane.task
    async def tell(end: FinishedBatch) -> None:
        told.append((end.state, end.failed))

    async with harness(lane) as t:
        batch = await lane.submit_many([sometimes.call(), sometimes.call()], then=[tell.call(PREVIOUS_RESULT)])
        await t.drain()
        broken = False
        await batch.jobs[0].requeue()  # type: ignore[union-attr]
        assert (await batch.record()).state is State.RUNNING
        await t.drain()
        await batch.jobs[1].requeue()  # type: ignore[union-attr]
        await t.drain()
        assert told == [(State.FAILED, 2), (State.FAILED, 1), (State.SUCCEEDED, 0)]


async def test_an_empty_batch_succeeds_at_once(lane: Sidelane) -> None:
    @lane.task
    async def tell(end: FinishedBatch) -> int:
        return end.total

    async with harness(lane) as t:
        batch: Batch[Any] = await lane.submit_many([], then=tell.call(PREVIOUS_RESULT))
        assert (await batch.wait(0)).state is State.SUCCEEDED
        await t.drain()
        assert [record.result for record in await t.records(tell)] == ["0"]


async def test_a_repeat_with_the_same_ids_changes_nothing(lane: Sidelane) -> None:
    told: list[FinishedBatch] = []

    @lane.task
    async def note(number: int) -> int:
        return number

    @lane.task
    async def tell(end: FinishedBatch) -> None:
        told.append(end)

    async with harness(lane) as t:

        async def submit() -> Batch[int]:
            calls = [note.options(id=f"n{number}").call(number) for number in range(3)]
            return await lane.submit_many(calls, id="night", then=tell.call(PREVIOUS_RESULT))

        first, again = await submit(), await submit()
        assert first == again
        assert [(job.id, job.created) for job in again.jobs if job is not None] == [
            ("n0", False), ("n1", False), ("n2", False),
        ]  # fmt: skip
        await t.drain()
        late = await submit()
        assert await late.results() == [0, 1, 2]
        assert counts(await late.record()) == (3, 3, 0, 0)
        await t.drain()
        assert len(told) == 1


async def test_repeating_an_interrupted_submit_completes_the_batch(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    @lane.task
    async def note(number: int) -> int:
        return number

    async def break_off(batch_id: str) -> None:
        raise asyncio.CancelledError

    async with harness(lane) as t:
        with monkeypatch.context() as patch:
            patch.setattr(t.client.store, "seal_batch", break_off)
            with pytest.raises(asyncio.CancelledError):
                await lane.submit_many([note.options(id="n0").call(0)], id="night")
        await t.drain()
        assert (await lane.batch("night").record()).state is State.RUNNING  # more jobs may be added
        calls = [note.options(id=f"n{number}").call(number) for number in range(2)]
        batch = await lane.submit_many(calls, id="night")
        await t.drain()
        assert (await batch.wait(0)).total == 2


async def test_a_batch_of_only_rejected_calls_does_not_end_and_its_id_can_be_used_again(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per="task")])
    async def alone() -> None: ...

    @lane.task
    async def tell() -> None: ...

    async with harness(lane) as t:
        await alone.submit()
        calls = [alone.options(id=f"a{number}").call() for number in range(2)]
        with pytest.raises(LimitReached):
            await lane.submit_many(calls, id="night", then=tell.call())
        await t.drain()
        assert await t.records(tell) == []
        batch = await lane.submit_many(calls, id="night", then=tell.call())
        await t.drain()
        assert (await batch.wait(0)).total == 1
        assert len(await t.records(tell)) == 1


async def test_a_sealed_batch_rejects_jobs(lane: Sidelane) -> None:
    @lane.task
    async def note(number: int) -> None: ...

    async with harness(lane):
        await lane.submit_many([note.options(id="n0").call(0)], id="night")
        batch = await lane.submit_many([note.options(id=f"n{number}").call(number) for number in range(2)], id="night")
        ((place, error),) = [(each.index, each.error) for each in batch.rejected]
        assert (place, type(error)) == (1, JobConflict)
        assert "the batch night takes no more jobs" in str(error).lower()


async def test_another_users_batch_is_a_conflict(lane: Sidelane) -> None:
    @lane.task
    async def note() -> None: ...

    async with harness(lane) as t:
        await lane.submit_many([note.call()], id="night", user="u1")
        with pytest.raises(JobConflict, match="The id of this batch is taken"):
            await lane.submit_many([note.call()], id="night", user="u2")
        assert len(await t.records(note)) == 1


async def test_calls_without_a_user_get_the_batchs_user(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(5, per="user", on_limit="wait")])
    async def note() -> None: ...

    async with harness(lane) as t:
        await lane.submit_many([note.call(), note.options(user="u2").call()], user="u1")
        specs = [record.spec for record in await t.records(note)]
        assert [spec.user for spec in specs] == ["u1", "u2"]
        assert [spec.limits[0].key for spec in specs] == ["u1", "u2"]


async def test_cancelling_a_batch_cancels_queued_and_stops_running_jobs(lane: Sidelane) -> None:
    started = asyncio.Event()

    @lane.task(queue="gpu", cancel_grace=0.1)
    async def endless(number: int) -> None:
        started.set()
        await asyncio.sleep(600)

    async with lane.open(workers=1):
        batch = await lane.submit_many(endless.call(number) for number in range(250))
        await started.wait()
        record = await batch.cancel()
        assert record.cancelled >= 249
        ended = await batch.wait(SOON)
        assert (ended.state, counts(ended)) == (State.FAILED, (250, 0, 0, 250))
        with pytest.raises(UnknownBatch):
            await lane.batch("nothing").cancel()


async def test_cancelling_a_batch_of_an_interrupted_submit_seals_and_ends_it(lane: Sidelane) -> None:
    @lane.task
    async def note(number: int) -> None: ...

    async with harness(lane) as t:
        store = t.client.store
        await store.open_batch(BatchSpec(id="night"))
        await store.submit([note.options(id="n0").call(0).spec(batch="night")])
        assert counts(await lane.batch("night").cancel()) == (1, 0, 0, 1)
        assert (await lane.batch("night").wait(0)).state is State.FAILED
        with pytest.raises(JobConflict, match="takes no more jobs"):
            await lane.submit_many([note.options(id="n1").call(1)], id="night")


async def test_results_contain_the_error_of_a_job_without_a_result(lane: Sidelane) -> None:
    @lane.task
    async def fickle(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        return number

    async with harness(lane) as t:
        batch = await lane.submit_many(fickle.options(id=f"f{number}").call(number) for number in range(4))
        await lane.batch(batch.id).record()
        await t.client.cancel("f2")
        await t.drain()
        await t.client.store.remove(["f3"])
        zero, one, two, three = await batch.results()
        assert zero == 0
        assert isinstance(one, JobFailed)
        assert [type(each).__name__ for each in (two, three)] == ["JobCancelled", "JobRemoved"]


async def test_the_sync_client_submits_a_batch_and_waits_for_it(make_lane: Any) -> None:
    lane, other = make_lane(), make_lane()

    async def double(number: int) -> int:
        return 2 * number

    working = lane.task(double)
    other.task(double)

    def script() -> list[Any]:
        with lane.sync_client() as b:
            batch = b.submit_many([working.call(1), working.call(2)], id="night")
            assert b.wait(batch, timeout=SOON).succeeded == 2
            found: list[Any] = b.results(batch)
            return found

    async with other.open(workers=1):
        assert await asyncio.to_thread(script) == [2, 4]


async def test_a_finished_batch_is_kept_for_its_retention(lane: Sidelane) -> None:
    @lane.task(retention=10)
    async def note() -> None: ...

    async with harness(lane) as t:
        batch = await lane.submit_many([note.call()], retention=100)
        await t.drain()
        await t.advance(50)
        assert (await batch.record()).succeeded == 1
        await t.advance(51)
        with pytest.raises(UnknownBatch, match="or no longer"):
            await batch.record()
