"""Durations as a timedelta, and times as a datetime, wherever an application writes them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sidelane import (
    ArgumentsError,
    CancelAfter,
    ConcurrencyLimit,
    ConfigurationError,
    Delays,
    Exponential,
    Fixed,
    Queue,
    RateLimit,
    Retry,
    RetryLater,
    Sidelane,
)
from sidelane.model.errors import TaskDeclarationError
from sidelane.testing import harness

MINUTE = timedelta(minutes=1)


def test_the_policy_of_a_task_takes_timedeltas(lane: Sidelane) -> None:
    @lane.task(timeout=MINUTE, expires=2 * MINUTE, deadline=3 * MINUTE, retention=4 * MINUTE, cancel_grace=5 * MINUTE)
    async def note() -> None: ...

    policy = note.policy
    assert [policy.timeout, policy.expires, policy.deadline] == [60, 120, 180]
    assert [policy.retention, policy.cancel_grace] == [240, 300]
    spec = note.call().spec()
    assert [spec.expires, spec.deadline, spec.retention] == [120, 180, 240]


def test_the_options_of_a_call_take_timedeltas(lane: Sidelane) -> None:
    @lane.task
    async def note() -> None: ...

    call = note.options(expires=MINUTE, on_disconnect=CancelAfter(MINUTE)).call()
    spec = call.with_options(delay=2 * MINUTE, deadline=3 * MINUTE).spec()
    assert (spec.expires, spec.delay, spec.deadline, spec.abandon_after) == (60, 120, 180, 60)


async def test_a_job_starts_at_the_datetime_of_run_at(lane: Sidelane) -> None:
    @lane.task
    async def note() -> str:
        return "ran"

    async with harness(lane) as t:
        at = datetime.fromtimestamp(t.clock() + 30, timezone(timedelta(hours=9)))
        job = await lane.submit(note.options(run_at=at).call())
        assert await t.drain() == 0
        await t.advance(timedelta(seconds=31))
        assert await t.drain() == 1
        assert await job.result(timeout=timedelta(seconds=5)) == "ran"


def test_a_datetime_without_a_time_zone_is_refused(lane: Sidelane) -> None:
    @lane.task
    async def note() -> None: ...

    with pytest.raises(
        ArgumentsError, match=r"^run_at=datetime.*: this datetime has no time zone; give it one, e\.g\."
    ):
        note.options(run_at=datetime(2026, 12, 1))  # noqa: DTZ001 - that is the point
    assert note.options(run_at=datetime(2026, 12, 1, tzinfo=UTC)).call().spec().run_at == 1_796_083_200


def test_backoffs_take_timedeltas() -> None:
    assert Fixed(MINUTE).delay(1) == 60
    assert Delays((MINUTE, 5), jitter=0).delay(1) == 60
    exponential = Exponential(first=MINUTE, max_delay=timedelta(hours=1), jitter=0)
    assert [exponential.delay(failures) for failures in (1, 2, 10)] == [60, 120, 3600]
    assert RetryLater(MINUTE).delay == 60


def test_an_error_may_have_a_timedelta_as_retry_after() -> None:
    error = ValueError()
    error.retry_after = MINUTE  # type: ignore[attr-defined]
    assert Retry(attempts=2, backoff=Fixed(1)).next_delay(1, error) == 60


def test_a_rate_may_be_a_number_of_jobs_and_a_window(lane: Sidelane) -> None:
    @lane.task(limits=[RateLimit(100, per="task", window=timedelta(minutes=15), name="model")])
    async def one() -> None: ...

    @lane.task(limits=[RateLimit("100/15 minutes", per="task", name="model")])  # the same rate
    async def other() -> None: ...

    (limit,) = one.call().spec().limits
    assert (limit.max, limit.window, limit.burst) == (100, 900, 100)


@pytest.mark.parametrize("limit", [RateLimit(100, per="task"), RateLimit("5/s", per="task", window=MINUTE),
                                   RateLimit(5, per="task", window=-MINUTE), RateLimit(0, per="task", window=MINUTE)])  # fmt: skip
def test_a_rate_that_cannot_be_read_is_refused_with_both_forms(limit: RateLimit) -> None:
    with pytest.raises(ConfigurationError, match=r"write a number and a time, as in '10/minute'.* window=timedelta"):
        Queue("chat", limits=[limit, ConcurrencyLimit(1, per="task")])


async def test_schedules_batches_and_settings_take_timedeltas(make_lane: Any) -> None:
    lane: Sidelane = make_lane(retention=timedelta(days=2))

    @lane.task
    async def note() -> int:
        return 7

    lane.schedule("notes", note.call(), every=timedelta(hours=1))
    async with harness(lane) as t:
        assert lane.settings.retention == 172_800
        (record,) = await lane.schedules.list()
        assert record.schedule.every == 3600
        batch = await lane.submit_many([note.call()], retention=timedelta(days=3))
        assert (await batch.record()).spec.retention == 259_200
        await t.drain()
        assert await batch.results(MINUTE) == [7]


@pytest.mark.parametrize("make", [lambda: Fixed(-MINUTE), lambda: CancelAfter(timedelta(0)), lambda: CancelAfter("5"),  # type: ignore[arg-type]
                                  lambda: RetryLater(-MINUTE), lambda: Delays((MINUTE, -MINUTE))])  # fmt: skip
def test_a_duration_out_of_range_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match="seconds"):
        make()


def test_a_text_is_no_duration(lane: Sidelane) -> None:
    async def note() -> None: ...

    with pytest.raises(TaskDeclarationError, match="timeout='60': this is a number of seconds above 0"):
        lane.task(timeout="60")(note)  # type: ignore[call-overload]
    with pytest.raises(TaskDeclarationError, match=r"timeout=.*-60.*: this is a number of seconds above 0"):
        lane.task(timeout=-MINUTE)(note)
