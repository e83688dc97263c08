"""What tasks log: kept for operators, for tasks of every kind, and never seen by clients."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from sidelane import Context, Event, Fixed, Job, JobFailed, Retry, Sidelane, Use
from sidelane.admin.job_logs import job_logs
from sidelane.client.event_stream import partial_text, read_all, stream_events, stream_pages
from sidelane.model.event import LOG, Cursor
from sidelane.model.history import NO_USAGE
from sidelane.telemetry import EventsWritten, FirstEvent, TelemetryEvent
from sidelane.worker.job_log import FULL_ATTEMPTS, MAX_SIZE, log_size
from tests.worker.process_tasks import find_left_behind, leave_behind, log_and_emit

TIMEOUT = 20.0

logger = logging.getLogger("shop")


@pytest.fixture(autouse=True)
def _log_from_info_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def records(lane: Sidelane, job: Job[Any], *, attempt: int | None = None, follow: bool = False) -> list[Any]:
    """Return the records of a job."""
    return [each async for each in job_logs(lane.client, job.id, attempt=attempt, follow=follow)]


async def messages(lane: Sidelane, job: Job[Any]) -> list[str]:
    return [each["message"] for each in await records(lane, job)]


async def events(job: Job[Any]) -> list[Event]:
    """Return the events of a job, as clients get them, until its end."""
    async with asyncio.timeout(TIMEOUT), aclosing(job.events()) as found:
        return [event async for event in found]


class Talkative:
    """A value whose text is logged, too."""

    def __str__(self) -> str:
        logger.info("the text of a value: %s", self)
        return "a value"


async def test_records_of_a_coroutine_have_the_job_level_logger_and_fields(lane: Sidelane) -> None:
    @lane.task(queue="chat", keep_logs=True)
    async def speak() -> None:
        logger.debug("hidden")
        logger.info("%d pages", 3, extra={"size": 7})
        try:
            raise ValueError("no picture")
        except ValueError:
            logger.exception("it failed")
        await asyncio.to_thread(logger.warning, "from a thread")

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        first, second, third = await records(lane, job)
    assert first.items() >= {
        "level": "INFO", "logger": "shop", "message": "3 pages", "job": job.id, "attempt": 1, "task": "speak", "queue": "chat",
        "size": 7,
    }.items()  # fmt: skip
    assert second["exception"].endswith("ValueError: no picture")
    assert (third["level"], third["message"]) == ("WARNING", "from a thread")


async def test_records_of_a_task_in_a_thread_are_kept(lane: Sidelane) -> None:
    @lane.task(keep_logs=True)
    def speak() -> None:
        logger.info("one")
        logger.info("two")

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        assert await messages(lane, job) == ["one", "two"]


async def test_records_of_a_child_process_are_kept(running: Sidelane) -> None:
    job = await log_and_emit.submit()
    assert [event.name for event in await events(job)] == ["step", "end"]
    first, second = await records(running, job)
    assert (first["message"], first["job"], first["size"]) == ("in a child", job.id, 3)
    assert second["exception"].endswith("ValueError: no picture")


async def test_what_an_attempt_leaves_running_in_a_child_adds_nothing_to_the_next_job(running: Sidelane) -> None:
    await (await leave_behind.submit()).result(TIMEOUT)
    job = await find_left_behind.submit()
    assert "has ended" in await job.result(TIMEOUT)
    assert await messages(running, job) == ["on time"]
    assert [event.name for event in await events(job)] == ["end"]
    assert (await job.record()).usage == NO_USAGE


async def test_a_record_with_many_fields_still_names_its_attempt(lane: Sidelane) -> None:
    @lane.task(keep_logs=True)
    async def speak() -> None:
        logger.info("many", extra={f"field{number}": number for number in range(100)})

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        (record,) = await records(lane, job, attempt=1)
    assert (record["job"], record["task"], record["field0"]) == (job.id, "speak", 0)


async def test_a_task_keeps_nothing_by_default(lane: Sidelane) -> None:
    @lane.task
    async def speak() -> None:
        logger.info("one")

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        assert await records(lane, job) == []
        assert (await job.record()).last == 1


async def test_jobs_of_one_worker_keep_their_own_records(lane: Sidelane) -> None:
    @lane.task(keep_logs=True)
    async def speak(name: str) -> None:
        logger.info("first of %s", name)
        await asyncio.sleep(0)
        logger.info("second of %s", name)

    async with lane.open(workers=1):
        jobs = [await speak.submit(name) for name in "abc"]
        for job, name in zip(jobs, "abc", strict=True):
            await job.result(TIMEOUT)
            assert await messages(lane, job) == [f"first of {name}", f"second of {name}"]


async def test_records_of_one_attempt_can_be_read(lane: Sidelane) -> None:
    @lane.task(keep_logs=True, retry=Retry(attempts=3, backoff=Fixed(0)))
    async def speak(ctx: Context = Use(Context)) -> None:
        logger.info("try %d", ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        assert [each["attempt"] for each in await records(lane, job)] == [1, 2, 3]
        assert [each["message"] for each in await records(lane, job, attempt=2)] == ["try 2"]


async def test_records_can_be_followed_until_the_job_ends(lane: Sidelane) -> None:
    go = asyncio.Event()

    @lane.task(keep_logs=True)
    async def speak() -> None:
        logger.info("one")
        await go.wait()
        logger.info("two")

    async with lane.open(workers=1), asyncio.timeout(TIMEOUT):
        job = await speak.submit()
        async with aclosing(job_logs(lane.client, job.id, follow=True)) as found:
            assert (await anext(found))["message"] == "one"
            go.set()
            assert [each["message"] async for each in found] == ["two"]


async def test_a_gap_in_the_log_is_no_record(lane: Sidelane) -> None:
    @lane.task(keep_logs=True)
    async def speak() -> None:
        logger.info("one")

    async with lane.open(workers=1), asyncio.timeout(TIMEOUT):
        job = await speak.submit()
        await job.result(TIMEOUT)
        unknown = Cursor(epoch=1, number=9)
        pages = [page async for page in stream_pages(lane.client.store, job.id, unknown, logs=True)]
    assert [event.name for page in pages for event in page] == [LOG]


@pytest.mark.parametrize(("count", "length"), [(700, 20), (20, 1_000_000)])
async def test_an_attempt_keeps_a_bounded_number_of_bytes_and_says_that_it_is_full(
    lane: Sidelane, count: int, length: int
) -> None:
    @lane.task(keep_logs=True)
    async def speak() -> None:
        for _ in range(count):
            logger.info("x" * length)

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        kept = await read_all(lane.client.store, job.id, logs=True)
        assert (await messages(lane, job))[
            -1
        ] == "the log of this attempt is full (65,536 bytes): later records are dropped"
        assert (await job.record()).last == len(kept) + 1
    assert 0.6 * MAX_SIZE < sum(len(event.data) for event in kept) < MAX_SIZE + 500


def test_all_attempts_of_a_job_together_keep_a_bounded_number_of_bytes() -> None:
    assert log_size(FULL_ATTEMPTS) == MAX_SIZE
    assert sum(map(log_size, range(1, 100_000))) < 1_300_000


async def test_a_record_that_logs_meanwhile_or_cannot_be_formatted_never_fails_the_task(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest would log for ever

    @lane.task(keep_logs=True)
    async def speak() -> str:
        logger.info("%s", Talkative())
        logger.info("%d", "three")
        return "done"

    async with lane.open(workers=1):
        job = await speak.submit()
        assert await job.result(TIMEOUT) == "done"
        first, second = await messages(lane, job)
    assert first == "a value"
    assert second.startswith("%d ('three',) (TypeError")
    assert logging.lastResort in logging.getLogger().handlers  # warnings still go to stderr


async def talk(ctx: Context, say: logging.Logger) -> AsyncIterator[str]:
    say.info("begin")
    for number in range(5):
        say.info("before %d", number)
        yield f"{number} "
        say.warning("after %d", number)
    await ctx.progress(50)
    if ctx.attempt < 3:
        raise ValueError
    await ctx.emit("step", 1)
    say.info("end")


async def quiet_twice(ctx: Context, say: logging.Logger) -> AsyncIterator[str]:
    say.info("attempt %d", ctx.attempt)
    if ctx.attempt < 3:
        raise ValueError
    yield "only one"


@pytest.mark.parametrize("body", [talk, quiet_twice])
async def test_clients_get_the_events_of_a_job_without_records(lane: Sidelane, body: Any) -> None:
    """A job with records has the same events, telemetry and first event as one without."""

    def declare(name: str, *, keep_logs: bool) -> Any:
        @lane.task(name=name, keep_logs=keep_logs, retry=Retry(attempts=3, backoff=Fixed(0)))
        async def speak(ctx: Context = Use(Context)) -> AsyncIterator[str]:
            async for text in body(ctx, logger):
                yield text

        return speak

    reports: list[TelemetryEvent] = []
    lane.telemetry.subscribe(reports.append, EventsWritten, FirstEvent)
    without, with_records = declare("without", keep_logs=False), declare("with", keep_logs=True)
    async with lane.open(workers=1):
        plain, logging_job = await without.submit(), await with_records.submit()
        expected, found = await events(plain), await events(logging_job)
        store = lane.client.store
        for at, event in enumerate(found[:-1]):
            async with asyncio.timeout(TIMEOUT), aclosing(stream_events(store, logging_job.id, event.cursor)) as rest:
                assert [each async for each in rest] == found[at + 1 :]
        texts = [await partial_text(store, job.id, 10_000) for job in (plain, logging_job)]
        kept = await messages(lane, logging_job)
    data = [[(each.name, each.data.replace(logging_job.id, plain.id)) for each in log] for log in (expected, found)]
    assert data[0] == data[1]
    assert texts[0] == texts[1] != ""
    assert len(kept) > 2
    counts = [
        sum(each.count for each in reports if isinstance(each, EventsWritten) and each.job == job.id)
        for job in (plain, logging_job)
    ]
    firsts = [
        sum(isinstance(each, FirstEvent) and each.job == job.id for each in reports) for job in (plain, logging_job)
    ]
    assert counts[0] == counts[1] > 0
    assert firsts[0] == firsts[1] > 0


async def test_a_requeued_job_announces_its_next_attempt_with_and_without_records(lane: Sidelane) -> None:
    @lane.task(keep_logs=True)
    async def speak() -> None:
        logger.info("one")

    async with lane.open(workers=1):
        job = await speak.submit()
        await job.result(TIMEOUT)
        await lane.client.store.requeue([job.id])
        assert [event.name for event in await events(job)] == ["attempt", "end"]


async def test_a_task_cannot_emit_an_event_with_the_name_of_records(lane: Sidelane) -> None:
    @lane.task(retry=Retry(attempts=1))
    async def speak(ctx: Context = Use(Context)) -> None:
        await ctx.emit("log", 1)

    async with lane.open(workers=1):
        job = await speak.submit()
        with pytest.raises(JobFailed):
            await job.result(TIMEOUT)
        assert "emit('log')" in (await job.record()).history[0].error


async def test_sidelanes_own_records_about_an_attempt_name_its_job(
    lane: Sidelane, caplog: pytest.LogCaptureFixture
) -> None:
    from sidelane import JobLogFilter

    caplog.handler.addFilter(job_filter := JobLogFilter())

    @lane.task(retry=Retry(attempts=2, backoff=Fixed(0)))
    async def fail() -> None:
        raise ValueError("no")

    try:
        with caplog.at_level(logging.DEBUG, "sidelane.worker"):
            async with lane.open(workers=1):
                job = await fail.submit()
                with pytest.raises(JobFailed):
                    await job.result(TIMEOUT)
    finally:
        caplog.handler.removeFilter(job_filter)
    own = [record for record in caplog.records if f"job {job.id}" in record.getMessage()]
    assert [(vars(record)["job"], vars(record)["attempt"]) for record in own] == [(job.id, 1)] * 2 + [(job.id, 2)] * 2
