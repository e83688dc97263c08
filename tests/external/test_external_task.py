"""External tasks: declared, called, dispatched and completed."""

import pytest

from sidelane import (
    PREVIOUS_RESULT,
    ArgumentsError,
    CompletionMessage,
    ConfigurationError,
    ExternalTask,
    Fixed,
    Http,
    JobCancelled,
    JobConflict,
    JobFailed,
    Problem,
    PubSub,
    ResultNotReady,
    Retry,
    Sidelane,
    Sqs,
    State,
    UnknownJob,
)
from sidelane.external.outbox import DISPATCH_TASK
from sidelane.external.task import NotCallableHere
from sidelane.model.errors import TaskDeclarationError
from sidelane.tasks.internal_queues import DISPATCH_QUEUE
from sidelane.testing import harness
from tests.external.conftest import JOBS_URL, AnalyseIn, MakeLane, Report

JOBS = Sqs("jobs")


def declared(lane: Sidelane, **fields: object) -> ExternalTask[AnalyseIn, Report]:
    return lane.external_task("audio.analyse", input=AnalyseIn, result=Report, send_to=JOBS, **fields)  # type: ignore[arg-type]


async def test_job_is_dispatched_when_claimed_and_ends_with_its_completion(lane: Sidelane) -> None:
    analyse = declared(lane, timeout=60)
    async with harness(lane) as t:
        job = await analyse.options(key="recording 7").submit(AnalyseIn(audio="s3://a.wav"))
        await t.drain()
        (dispatched,) = await t.dispatched(analyse)
        assert (dispatched.job, dispatched.task, dispatched.attempt, dispatched.key) == (
            job.id,
            "audio.analyse",
            1,
            "recording 7",
        )
        assert dispatched.input == {"audio": "s3://a.wav", "words": 1}
        assert 0 < dispatched.timeout <= 60
        assert dispatched.complete_url == f"{JOBS_URL}/{job.id}/complete"
        assert dispatched.events_url == f"{JOBS_URL}/{job.id}/events"
        with pytest.raises(ResultNotReady):
            await job.result(timeout=0)
        record = await job.record()
        assert (record.state, record.worker) == (State.RUNNING, None)
        await t.complete(job, Report(score=0.5))
        assert await job.result(timeout=0) == Report(score=0.5)
        assert await t.dispatched(analyse) == []
        with pytest.raises(JobConflict):
            await t.complete(job, Report(score=1.0))
        assert await job.result(timeout=0) == Report(score=0.5)


async def test_dispatch_job_is_stored_in_the_same_step(lane: Sidelane) -> None:
    analyse = declared(lane, timeout=60, priority=7)
    async with harness(lane) as t:
        job = await analyse.submit(AnalyseIn(audio="a"))
        await t.drain()
        (dispatch_job,) = await t.records(lane.registry.tasks[DISPATCH_TASK])
        spec = dispatch_job.spec
        assert (spec.id, spec.parent, spec.queue) == (f"{job.id}.1.sent", job.id, DISPATCH_QUEUE)
        assert (spec.user, spec.priority, spec.deadline) == (str(JOBS), 7, 60)


async def test_job_with_the_longest_id_is_dispatched(lane: Sidelane) -> None:
    analyse = declared(lane)
    async with harness(lane) as t:
        job = await analyse.options(id="x" * 128).submit(AnalyseIn(audio="a"))
        await t.drain()
        assert len(await t.dispatched(analyse)) == 1
        await t.complete(job, Report(score=1))
        assert await job.result(timeout=0) == Report(score=1)


async def test_problem_is_retried_by_the_tasks_retry_policy_unless_final(lane: Sidelane) -> None:
    analyse = declared(lane, retry=Retry(attempts=3, backoff=Fixed(10)))
    async with harness(lane) as t:
        job = await analyse.submit(AnalyseIn(audio="a"))
        await t.drain()
        await t.fail(job, Problem(status=503, detail="no model"))
        assert (await job.record()).state is State.QUEUED
        await t.advance(11)
        await t.drain()
        (dispatched,) = await t.dispatched(analyse)
        assert dispatched.attempt == 2
        await t.fail(job, Problem(status=502, detail="no such voice"), retry=False)
        with pytest.raises(JobFailed, match="no such voice") as failed:
            await job.result(timeout=0)
        assert failed.value.problem().status == 502
        assert [failure.problem.status for failure in (await job.record()).history] == [503, 502]


async def test_result_of_another_type_is_a_failure_that_can_be_retried(lane: Sidelane) -> None:
    analyse = declared(lane, retry=Retry(attempts=2, backoff=Fixed(0)))
    async with harness(lane) as t:
        job = await analyse.submit(AnalyseIn(audio="a"))
        for _ in range(2):
            await t.drain()
            await t.complete(job, {"score": "high"})  # type: ignore[misc] # as a worker of another language may
        record = await job.record()
        assert record.state is State.FAILED
        assert [failure.problem.title for failure in record.history] == ["Wrong result", "Wrong result"]
        assert record.problem is not None
        assert "score" in record.problem.detail


async def test_missing_completion_is_a_worker_loss_and_a_new_dispatch(lane: Sidelane) -> None:
    analyse = declared(lane, timeout=60, max_worker_losses=1)
    async with harness(lane) as t:
        job = await analyse.submit(AnalyseIn(audio="a"))
        await t.drain()
        (first,) = await t.dispatched(analyse)
        await t.advance(61)
        await t.drain()
        (second,) = await t.dispatched(analyse)
        assert (second.attempt, (await job.record()).worker_losses) == (2, 1)
        assert second.token != first.token
        await t.advance(61)
        assert (await job.record()).state is State.FAILED


async def test_cancelled_external_job_ends_at_once_and_a_late_completion_changes_nothing(lane: Sidelane) -> None:
    analyse = declared(lane)
    async with harness(lane) as t:
        job = await analyse.submit(AnalyseIn(audio="a"))
        await t.drain()
        assert (await job.cancel()).state is State.CANCELLED
        assert not await analyse.complete(job.id, Report(score=1))
        with pytest.raises(JobCancelled):
            await job.result(timeout=0)


async def test_deadline_of_a_job_bounds_its_external_attempt(lane: Sidelane) -> None:
    analyse = declared(lane, timeout=600)
    async with harness(lane) as t:
        await analyse.options(deadline=30).submit(AnalyseIn(audio="a"))
        await t.drain()
        (dispatched,) = await t.dispatched(analyse)
        assert dispatched.timeout <= 30


async def test_external_task_in_a_chain_receives_the_previous_result(lane: Sidelane) -> None:
    analyse = declared(lane)

    @lane.task
    async def record(name: str) -> AnalyseIn:
        return AnalyseIn(audio=name)

    @lane.task
    async def publish(report: Report) -> float:
        return report.score

    async with harness(lane) as t:
        await record.options(then=analyse.options(then=publish.call(PREVIOUS_RESULT)).call(PREVIOUS_RESULT)).submit(
            "a.wav"
        )
        await t.drain()
        (dispatched,) = await t.dispatched(analyse)
        assert dispatched.input == {"audio": "a.wav", "words": 1}
        await analyse.complete(dispatched.job, Report(score=0.25))
        await t.drain()
        (published,) = await t.records(publish)
        assert published.result == "0.25"


async def test_previous_result_of_another_type_fails_before_dispatch(lane: Sidelane) -> None:
    analyse = declared(lane)

    @lane.task
    async def record() -> int:
        return 7

    async with harness(lane) as t:
        await record.options(then=analyse.call(PREVIOUS_RESULT)).submit()
        await t.drain()
        (failed,) = await t.records(analyse)
        assert failed.problem is not None
        assert failed.problem.status == 422
        assert await t.records(lane.registry.tasks[DISPATCH_TASK]) == []


async def test_application_completes_only_jobs_of_the_same_task(lane: Sidelane) -> None:
    analyse = declared(lane)
    other = lane.external_task("other", input=int, result=int, send_to=JOBS)
    async with harness(lane) as t:
        job = await analyse.submit(AnalyseIn(audio="a"))
        await t.drain()
        with pytest.raises(UnknownJob):
            await other.complete(job.id, 7)
        with pytest.raises(UnknownJob):
            await analyse.complete("nothing", Report(score=1))
        assert (await job.record()).state is State.RUNNING


def test_calling_an_external_task_directly_raises(lane: Sidelane) -> None:
    analyse = declared(lane)
    with pytest.raises(NotCallableHere, match=r"audio\.analyse.*submit a call"):
        analyse(AnalyseIn(audio="a"))


def test_arguments_are_checked_when_a_call_is_made(lane: Sidelane) -> None:
    analyse = declared(lane)
    with pytest.raises(ArgumentsError, match="audio"):
        analyse.call({"words": 1})  # type: ignore[arg-type]


def test_task_name_must_be_unique(lane: Sidelane) -> None:
    declared(lane)
    with pytest.raises(TaskDeclarationError, match=r"taken by lane\.external_task\('audio\.analyse'\)"):
        declared(lane)


def test_external_task_needs_replies_from_or_a_jobs_url(make_lane: MakeLane) -> None:
    lane = make_lane(jobs_url="")
    with pytest.raises(ConfigurationError, match="SIDELANE_JOBS_URL"):
        declared(lane)
    declared(lane, replies_from=Sqs("results"))
    lane.external_task("own", input=int, result=int, send_to=JOBS, encode=lambda dispatched: {"id": dispatched.job})


def test_tasks_that_share_a_reply_endpoint_need_the_same_decode(lane: Sidelane) -> None:
    def decode(message: object) -> CompletionMessage | None:
        return None

    declared(lane, replies_from=Sqs("results"), decode=decode)
    lane.external_task("second", input=int, result=int, send_to=JOBS, replies_from=Sqs("results"), decode=decode)
    with pytest.raises(ConfigurationError, match=r"audio\.analyse"):
        lane.external_task("third", input=int, result=int, send_to=JOBS, replies_from=Sqs("results"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"send_to": PubSub(subscription="s")}, "topic"),
        ({"send_to": "jobs"}, "cannot be sent to"),
        ({"replies_from": PubSub(topic="t")}, "subscription"),
        ({"timeout": None}, "missing completion"),
        ({"timeout": 0}, "above 0"),
    ],
)
def test_invalid_options_are_refused_at_declaration(lane: Sidelane, fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        lane.external_task("wrong", **{"input": int, "result": int, "send_to": JOBS, **fields})  # type: ignore[arg-type]


def test_invalid_url_is_refused_at_declaration() -> None:
    with pytest.raises(ConfigurationError):
        Http("ftp://example.com")
