"""Completions as an application's own `decode` may return them, and what is applied of them."""

import json
from typing import Any

import pytest

from sidelane import (
    CompletionMessage,
    EmittedEvent,
    ExternalTask,
    File,
    Job,
    Problem,
    Sidelane,
    Sqs,
    State,
    UnknownFile,
)
from sidelane.external.completion import CompletionStatus
from sidelane.model.errors import MalformedMessage
from sidelane.model.history import Usage
from sidelane.testing import harness
from sidelane.testing.harness import Harness

LONE = json.loads('"\\ud800"')
"""Half a surrogate pair, which JSON can contain and UTF-8 cannot."""


async def external(remote: ExternalTask[Any, Any], t: Harness, **options: Any) -> Job[Any]:
    job = await remote.options(**options).submit(7)
    await t.drain()
    return job


@pytest.mark.parametrize(
    "fields",
    [
        {"problem": {"detail": LONE}}, {"problem": {"title": LONE, "status": 502}}, {"problem": {LONE: 1}},
        {"events": [EmittedEvent("x", LONE)]}, {"events": [EmittedEvent("token", {"text": LONE})]},
        {"events": [EmittedEvent(LONE)]},
        {"events": [EmittedEvent("x", object())]}, {"events": [EmittedEvent("progress", {"percent": float("nan")})]},
    ],
)  # fmt: skip
async def test_invalid_events_are_malformed_and_change_nothing(lane: Sidelane, fields: dict[str, Any]) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        job = await external(double, t)
        with pytest.raises(MalformedMessage):
            await lane.completions.apply(CompletionMessage(job=job.id, **fields), trusted_tasks=["double"])
        assert ((await job.record()).state, await t.events(job)) == (State.RUNNING, [])


@pytest.mark.parametrize("result", [LONE, object(), float("nan"), "7.5", {"a": 1}, None])
async def test_invalid_result_fails_the_job_and_is_logged(
    lane: Sidelane, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        job = await external(double, t)
        await lane.completions.apply(CompletionMessage(job=job.id, result=result), trusted_tasks=["double"])
        record = await job.record()
        assert record.problem is not None
        assert (record.state, record.problem.title) == (State.FAILED, "Wrong result")
        assert record.history[-1].traceback == ""  # it would show our own code only
    assert f"job {job.id} (double) attempt 1 failed for good: WrongResult" in caplog.text


async def test_huge_problem_is_truncated(lane: Sidelane) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        job = await external(double, t)
        problem = {"status": 502, "title": "no", "detail": "x" * 100_000, "more": ["y"] * 100_000}
        await lane.completions.apply(CompletionMessage(job=job.id, problem=problem), trusted_tasks=["double"])
        record = await job.record()
        assert record.problem is not None
        assert (record.problem.status, record.problem.title) == (502, "no")
        assert len(json.dumps(record.problem.document())) < 5_000


async def test_key_finds_the_only_external_job_that_has_it(lane: Sidelane) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    other = lane.external_task("other", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        completing = lane.completions
        meant, others = [await external(task, t, key="take 7") for task in (double, other)]
        waiting = await double.options(key="take 7", delay=60).submit(7)
        answers = [
            await completing.apply(CompletionMessage(key="take 7", result=1), trusted_tasks=["double"])
            for _ in range(2)
        ]
        assert [each.status for each in answers] == [CompletionStatus.ACCEPTED, CompletionStatus.UNKNOWN]
        assert (await meant.record()).state is State.SUCCEEDED
        assert {(await job.record()).state for job in (others, waiting)} == {State.RUNNING, State.QUEUED}
        with pytest.raises(MalformedMessage):
            CompletionMessage(key=LONE, result=1)


async def test_key_of_two_external_jobs_is_ambiguous_without_a_token(lane: Sidelane) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        completing = lane.completions
        older, newer = [await external(double, t, key="take 7") for _ in range(2)]
        with pytest.raises(MalformedMessage, match="Several external jobs have this key"):
            await completing.apply(CompletionMessage(key="take 7", result=1), trusted_tasks=["double"])
        (token,) = [dispatched.token for dispatched in await t.dispatched(double) if dispatched.job == older.id]
        answered = await completing.apply(
            CompletionMessage(key="take 7", token=token, result=1), trusted_tasks=["double"]
        )
        assert answered.status is CompletionStatus.ACCEPTED
        assert [(await job.record()).state for job in (older, newer)] == [State.SUCCEEDED, State.RUNNING]


async def test_error_for_operators_is_in_the_history_and_not_in_the_problem(
    lane: Sidelane,
) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        job = await external(double, t)
        reply = CompletionMessage(
            job=job.id, problem=Problem(status=502, detail="too loud"), error="OSError: /dev/ear is busy"
        )
        await lane.completions.apply(reply, trusted_tasks=["double"])
        record = await job.record()
        assert record.history[0].error == "external worker: OSError: /dev/ear is busy"
        assert "/dev/ear" not in str(record.problem)


async def test_completion_without_a_token_is_forged_unless_its_task_is_trusted(lane: Sidelane) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        job = await external(double, t)
        answered = await lane.completions.apply(CompletionMessage(job=job.id, result=1))
        assert (answered.status, (await job.record()).state) == (CompletionStatus.FORGED, State.RUNNING)


async def test_what_an_external_worker_used_is_added_to_its_job(lane: Sidelane) -> None:
    double = lane.external_task("double", input=int, result=int, send_to=Sqs("jobs"))
    used = Usage(input_tokens=7, output_tokens=2, cost=0.25)
    async with harness(lane) as t:
        job = await external(double, t)
        await lane.completions.apply(CompletionMessage(job=job.id, result=1, usage=used), trusted_tasks=["double"])
        assert (await job.record()).usage == used


async def test_files_of_an_external_result_are_kept_with_the_job(lane: Sidelane) -> None:
    draw = lane.external_task("draw", input=int, result=File, send_to=Sqs("jobs"))
    async with harness(lane) as t:
        job = await external(draw, t)
        file = await lane.files.save(b"drawn")
        reply = CompletionMessage(job=job.id, result=file.model_dump())
        await lane.completions.apply(reply, trusted_tasks=["draw"])
        drawn = await job.result(timeout=0)
        assert await drawn.read() == b"drawn"
        assert await lane.files.references.files_of(job.id) == [file.id.rpartition(":")[2]]
        late = await lane.files.save(b"late")
        again = CompletionMessage(job=job.id, result=late.model_dump())
        answered = await lane.completions.apply(again, trusted_tasks=["draw"])
        assert answered.status is CompletionStatus.LATE
        assert len(await lane.files.references.files_of(job.id)) == 1
        await t.deliver()  # a job is kept while it is being dispatched
        assert await lane.client.store.remove([job.id]) == [True]
        await t.drain()
        with pytest.raises(UnknownFile):
            await drawn.read()
