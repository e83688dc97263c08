"""Schedules: declared in code, saved in the store; missed runs, clock steps and changes."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sidelane import (
    PREVIOUS_RESULT,
    ConcurrencyLimit,
    ConfigurationError,
    FinishedJob,
    LaneNotOpen,
    Queue,
    Sidelane,
    State,
    Task,
    UnknownSchedule,
)
from sidelane.model.job import DAY, Query
from sidelane.model.schedule import CatchUp, ScheduleRecord, ScheduleTick
from sidelane.testing import harness
from sidelane.testing.harness import Harness
from tests.client.conftest import MakeLane

HOUR = 3600.0


async def fired(t: Harness, task: Task[..., Any, Any]) -> list[str]:
    """Return the submit times of the jobs of a task, in Seoul."""
    return [
        datetime.fromtimestamp(record.submitted, ZoneInfo("Asia/Seoul")).strftime("%d. %H:%M")
        for record in await t.records(task)
    ]


async def the_record(lane: Sidelane, name: str) -> ScheduleRecord:
    (found,) = [record for record in await lane.schedules.list() if record.schedule.name == name]
    return found


@pytest.mark.row("R20")
async def test_a_schedule_submits_its_call_at_its_times_in_its_time_zone(lane: Sidelane) -> None:
    @lane.task
    async def refresh(market: str) -> str:
        return market

    lane.schedule(
        "stocks", refresh.options(user="u", priority=3).call(market="KR"), cron="0 6 * * *", timezone="Asia/Seoul"
    )
    async with harness(lane) as t:  # it is 09:00 in Seoul, on the 1st of January
        await t.advance(20 * HOUR)
        assert await fired(t, refresh) == []
        for _ in range(3):
            await t.advance(1 * HOUR)
        assert await fired(t, refresh) == ["02. 06:00"]
        await t.advance(24 * HOUR)
        assert len(await fired(t, refresh)) == 2
        await t.drain()
        records = await t.records(refresh)
        assert [record.result for record in records] == ['"KR"', '"KR"']
        assert {(record.spec.user, record.spec.priority) for record in records} == {("u", 3)}
        assert [record.spec.labels for record in records] == [{"schedule": "stocks"}] * 2
        assert len(await t.client.find(Query(labels={"schedule": "stocks"}))) == 2
        kept = await the_record(lane, "stocks")
        assert (kept.enabled, kept.job) == (True, records[-1].id)


@pytest.mark.parametrize(("catch_up", "jobs"), [("once", 1), ("all", 72), ("skip", 0)])
async def test_missed_runs_are_submitted_as_catch_up_says(lane: Sidelane, catch_up: CatchUp, jobs: int) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.call(), every=HOUR, catch_up=catch_up)
    async with harness(lane) as t:
        t.clock.advance(3 * DAY + 120)  # while no process has the store open
        await t.advance(0)
        assert len(await t.records(refresh)) == jobs
        await t.advance(0)
        assert len(await t.records(refresh)) == jobs
        await t.advance(HOUR)
        assert len(await t.records(refresh)) == jobs + 1


async def test_jobs_of_a_schedule_have_its_label_and_their_own(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.options(labels={"market": "KR"}).call(), every=HOUR)
    async with harness(lane) as t:
        await t.advance(HOUR)
        (record,) = await t.records(refresh)
        assert record.spec.labels == {"market": "KR", "schedule": "stocks"}


async def test_run_submits_the_named_schedule(lane: Sidelane) -> None:
    @lane.task
    async def refresh(market: str) -> str:
        return market

    for market in ("de", "jp", "kr"):
        lane.schedule(market, refresh.call(market), every=HOUR)
    async with harness(lane) as t:
        job = await lane.schedules.run("jp")
        await t.drain()
        assert await job.result() == "jp"


async def test_a_thousand_missed_runs_are_submitted_in_chunks(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.call(), every=1.0, catch_up="all")
    async with harness(lane) as t:
        sizes: list[int] = []
        fire = t.client.store.fire

        async def counted(firing: ScheduleTick) -> bool:
            sizes.append(len(firing.specs))
            return await fire(firing)

        monkeypatch.setattr(t.client.store, "fire", counted)
        t.clock.advance(1000)  # while no process has the store open
        await t.advance(0)
        assert len({record.id for record in await t.records(refresh)}) == sum(sizes) == 1000
        assert max(sizes) == 200


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        ({}, "give either cron"),
        ({"cron": "0 6 * *"}, "Wrong number of fields"),
        ({"cron": "0 6 * * *", "timezone": "Asia/Soul"}, "timezone='Asia/Soul'"),
        ({"every": 0}, "every=0"),
        ({"every": 5, "catch_up": "never"}, "catch_up='never'"),
        ({"every": 5, "aliases": ["a b"]}, "'a b' is not a valid name"),
    ],
)
def test_an_invalid_schedule_raises_when_it_is_declared(lane: Sidelane, timing: dict[str, Any], words: str) -> None:
    @lane.task
    async def refresh() -> None: ...

    with pytest.raises(ConfigurationError, match=f"Schedule 'stocks' of task 'refresh': .*{words}"):
        lane.schedule("stocks", refresh.call(), **timing)


def test_schedules_cannot_share_a_name_or_alias(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    @lane.task
    async def report() -> None: ...

    lane.schedule("stocks", refresh.call(), every=5, aliases=("prices",))
    for name, aliases in (("stocks", ()), ("prices", ()), ("news", ("stocks",)), ("news", ("prices",))):
        with pytest.raises(
            ConfigurationError, match="of task 'report': the schedule 'stocks' of task 'refresh' is, or was"
        ):
            lane.schedule(name, report.call(), every=5, aliases=aliases)
    lane.schedule("news", report.call(), every=5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda task: task.options(id="one").call(1), "its call has id=…; a schedule submits a new job each time"),
        (lambda task: task.options(run_at=5.0).call(1), "its call has run_at=…"),
        (lambda task: task.call(PREVIOUS_RESULT), "number=PREVIOUS_RESULT is known only when another job has ended"),
        (lambda task: task.call(1), "is per user"),
    ],
)
def test_a_call_that_cannot_be_submitted_repeatedly_raises(
    lane: Sidelane, call: Callable[[Any], Any], words: str
) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per="user")])
    async def refresh(number: int) -> None: ...

    with pytest.raises(ConfigurationError, match=f"Schedule 'stocks' of task 'refresh': .*{words}"):
        lane.schedule("stocks", call(refresh), every=5)


async def test_scheduled_jobs_wait_for_limits_and_ignore_a_full_queue() -> None:
    lane = Sidelane(store="sqlite://:memory:", queues=[Queue("chat", max_queued=1)])

    @lane.task(queue="chat", limits=[ConcurrencyLimit(1, per="task")])
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.call(), every=HOUR, catch_up="all")
    async with harness(lane) as t:
        await t.advance(3 * HOUR)
        specs = [record.spec for record in await t.records(refresh)]
        assert [(spec.max_queued, [limit.on_limit for limit in spec.limits]) for spec in specs] == [
            (None, ["wait"])
        ] * 3
        assert await t.drain() == 3
        assert {record.state for record in await t.records(refresh)} == {State.SUCCEEDED}


async def test_a_scheduled_job_uses_a_dead_letter_task_declared_later(lane: Sidelane) -> None:
    told: list[str] = []

    @lane.task
    async def refresh() -> None:
        raise RuntimeError

    lane.schedule("stocks", refresh.call(), every=HOUR)

    @lane.dead_letter
    async def tell(letter: FinishedJob) -> None:
        told.append(letter.task)

    async with harness(lane) as t:
        await t.advance(HOUR)
        await t.drain()
        assert told == ["refresh"]


async def test_opening_a_lane_saves_its_schedules_without_restarting_them(make_lane: MakeLane) -> None:
    def lane_with(**fields: Any) -> tuple[Sidelane, Task[..., Any, Any]]:
        lane = make_lane()

        @lane.task
        async def refresh(market: str = "KR") -> None: ...

        lane.schedule(**{"name": "stocks", "call": refresh.call(), "every": HOUR, **fields})
        return lane, refresh

    first, _ = lane_with()
    async with first.open():
        before = await the_record(first, "stocks")
    second, refresh = lane_with()
    async with second.open():
        again = await the_record(second, "stocks")
        assert (again.schedule, again.last) == (before.schedule, before.last)
    renamed, _ = lane_with(name="prices", aliases=("stocks",), every=2 * HOUR)
    async with renamed.open():
        (found,) = await renamed.schedules.list()
        assert (found.schedule.name, found.schedule.every, found.last) == ("prices", 2 * HOUR, before.last)
        assert await renamed.client.find(Query(task=refresh.name)) == []


async def test_a_former_name_that_reappears_does_not_run_beside_the_new_one(
    make_lane: MakeLane,
) -> None:
    def lane_with(name: str, *aliases: str) -> Sidelane:
        lane = make_lane()

        @lane.task
        async def refresh() -> None: ...

        lane.schedule(name, refresh.call(), every=HOUR, aliases=aliases)
        return lane

    names: list[str] = []
    for lane in (lane_with("prices", "stocks"), lane_with("stocks"), lane_with("prices", "stocks")):
        async with lane.open():
            names = [record.schedule.name for record in await lane.schedules.list()]
    assert names == ["prices"]


async def test_a_run_of_a_unique_call_is_skipped_while_an_earlier_job_is_unfinished(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.options(unique="stocks").call(), every=HOUR)
    async with harness(lane) as t:
        for _ in range(3):
            await t.advance(HOUR)
        assert len(await t.records(refresh)) == 1
        await t.drain()
        await t.advance(HOUR)
        assert len(await t.records(refresh)) == 2


async def test_a_schedule_can_be_disabled_enabled_run_and_deleted(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> int:
        return 7

    lane.schedule("stocks", refresh.call(), every=HOUR, catch_up="all")
    async with harness(lane) as t:
        await t.advance(60)
        await lane.schedules.disable("stocks")
        await t.advance(5 * HOUR)
        assert await t.records(refresh) == []
        await lane.schedules.enable("stocks")
        await t.advance(60)
        assert await t.records(refresh) == []  # it counts from when it was enabled
        before = await the_record(lane, "stocks")
        job = await lane.schedules.run("stocks")
        await t.drain()
        assert await job.result(0) == 7
        assert (await job.record()).spec.labels == {"schedule": "stocks"}
        assert await the_record(lane, "stocks") == before
        await t.advance(HOUR)
        assert len(await t.records(refresh)) == 2
        await lane.schedules.forget("stocks")
        assert await lane.schedules.list() == ()
        await t.advance(HOUR)
        assert len(await t.records(refresh)) == 2


async def test_the_error_of_an_unknown_schedule_names_it(lane: Sidelane) -> None:
    async with harness(lane):
        for verb in (lane.schedules.enable, lane.schedules.disable, lane.schedules.run, lane.schedules.forget):
            with pytest.raises(UnknownSchedule, match="There is no schedule 'stock'") as raised:
                await verb("stock")
            assert raised.value.status == 404
    with pytest.raises(LaneNotOpen):
        await lane.schedules.list()


async def test_a_clock_that_steps_back_repeats_and_loses_no_run(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.call(), every=HOUR, catch_up="all")
    async with harness(lane) as t:
        await t.advance(2.5 * HOUR)
        await t.advance(-2 * HOUR)
        assert len(await t.records(refresh)) == 2
        await t.advance(2.4 * HOUR)
        assert len(await t.records(refresh)) == 2
        await t.advance(HOUR)
        assert len(await t.records(refresh)) == 3


async def test_a_clock_that_was_days_ahead_does_not_stop_a_schedule(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.call(), every=HOUR)
    async with harness(lane) as t:
        await t.advance(0)
        await t.advance(5 * DAY)
        await t.advance(-5 * DAY)
        before = len(await t.records(refresh))
        for _ in range(3):
            await t.advance(HOUR)
        assert len(await t.records(refresh)) == before + 3


async def test_without_cronsim_a_process_leaves_cron_to_others_and_logs_it_once(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @lane.task
    async def refresh(market: str) -> None: ...

    lane.schedule("daily", refresh.call("KR"), cron="0 6 * * *")
    lane.schedule("hourly", refresh.call("US"), every=HOUR)
    async with harness(lane) as t:
        monkeypatch.setitem(sys.modules, "cronsim", None)
        for _ in range(24):
            await t.advance(HOUR)
        assert {record.spec.labels["schedule"] for record in await t.records(refresh)} == {"hourly"}
        said = [record.message for record in caplog.records if "cronsim" in record.message]
        assert len(said) == 1
        assert "Schedule 'daily' of task 'refresh'" in said[0]
        assert "install sidelane[cron]. Other processes have to run it." in said[0]
