"""Times of schedules: cron and intervals, clock changes, and missed runs."""

import itertools
import math
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.model.job import DAY, JobSpec
from sidelane.model.schedule import MAX_LATENESS, MAX_LOOKAHEAD, CatchUp, Schedule, ScheduleRecord

NOW = 1_798_761_600.0  # 2027-01-01 00:00 UTC

CRONS = ["* * * * *", "*/7 * * * *", "0 6 * * *", "30 2 * * *", "0 0 1 * *", "15 12 * * MON-FRI", "*/20 30 3 * * *"]
ZONES = ["UTC", "Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]
INTERVALS = [0.001, 0.1, 1 / 3, 1.0, 7.0, 60.0, 3600.0, 90_000.0]

times = st.floats(NOW, NOW + 400 * DAY)
timings = st.one_of(
    st.builds(
        lambda cron, timezone: {"cron": cron, "timezone": timezone}, st.sampled_from(CRONS), st.sampled_from(ZONES)
    ),
    st.builds(lambda every: {"every": every}, st.sampled_from(INTERVALS)),
)


def schedule(**fields: Any) -> Schedule:
    return Schedule(**{"name": "stocks", "spec": JobSpec(id="scheduled", task="refresh"), **fields})


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def on_the_wall(firings: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(each, ZoneInfo(zone)).strftime("%d. %H:%M%z") for each in firings]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "give either cron"),
        ({"cron": "* * * * *", "every": 5.0}, "give either cron"),
        ({"cron": "0 25 * * *"}, r"cron='0 25 \* \* \*' cannot be read: Bad hour"),
        ({"cron": "6 * *"}, "cannot be read: Wrong number of fields"),
        ({"cron": 6}, "this is a string such as"),
        ({"cron": "0 0 30 2 *"}, "cannot be read: Bad day-of-month"),
        ({"cron": "0 0 */31 * MON#5"}, "never matches a time"),
        ({"cron": "0 6 * * *", "timezone": "Asia/Soul"}, "timezone='Asia/Soul' is not known here"),
        ({"cron": "0 6 * * *", "timezone": "../etc"}, "is not known here"),
        ({"cron": "0 6 * * *", "timezone": "Asia"}, "is not known here"),
        ({"cron": "0 6 * * *", "timezone": ZoneInfo("Asia/Seoul")}, "is not known here"),
        ({"every": 0}, "every=0: this is a number of seconds"),
        ({"every": -1.0}, "at least 0.001"),
        ({"every": float("nan")}, "every=nan"),
        ({"every": float("inf")}, "every=inf"),
        ({"every": "5"}, "every='5'"),
        ({"every": 5.0, "catch_up": "twice"}, "catch_up='twice': this is 'skip', 'once' or 'all'"),
        ({"every": 5.0, "name": "a b"}, "'a b' is not a valid name"),
        ({"every": 5.0, "name": 7}, "7 is not a valid name"),
        ({"every": 5.0, "aliases": ("ok", "")}, "'' is not a valid name"),
    ],
)
def test_the_error_of_an_invalid_schedule_names_schedule_and_task(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        schedule(**fields).check()
    assert f"Schedule {fields.get('name', 'stocks')!r} of task 'refresh'" in str(raised.value)


def test_without_cronsim_cron_raises_and_seconds_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(MissingExtra, match=r"Schedule 'stocks' of task 'refresh': .* install sidelane\[cron\]"):
        schedule(cron="0 6 * * *").check()
    schedule(every=5.0).check()


def test_a_time_of_day_is_in_the_time_zone() -> None:
    seoul = schedule(cron="0 6 * * *", timezone="Asia/Seoul")
    assert on_the_wall([seoul.next(NOW)], "Asia/Seoul") == ["02. 06:00+0900"]
    assert seoul.next(at("2027-01-02T05:59:59", "Asia/Seoul")) == at("2027-01-02T06:00", "Asia/Seoul")
    assert seoul.next(at("2027-01-02T06:00", "Asia/Seoul")) == at("2027-01-03T06:00", "Asia/Seoul")


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 30 2 * * *"])
@pytest.mark.parametrize(
    ("zone", "spring", "autumn"),
    [("Europe/Berlin", "2027-03-28", "2027-10-31"), ("America/New_York", "2027-03-14", "2027-11-07")],
)
def test_a_daily_time_matches_once_a_day_when_clocks_change(cron: str, zone: str, spring: str, autumn: str) -> None:
    daily = schedule(cron=cron, timezone=zone, catch_up="all")
    for change in (spring, autumn):
        day = datetime.fromisoformat(change)
        begin, end = (at((day + timedelta(days=days)).isoformat(), zone) for days in (-2, 3))
        days = [each[:3] for each in on_the_wall(daily.due(begin, end), zone)]
        assert days == [f"{(day + timedelta(days=days)).day:02}." for days in range(-2, 3)]


def test_a_time_in_the_gap_of_spring_moves_to_its_end_once() -> None:
    berlin = schedule(cron="0,30 2,3 * * *", timezone="Europe/Berlin", catch_up="all")
    begin = at("2027-03-28T00:00", "Europe/Berlin")
    assert on_the_wall(berlin.due(begin, begin + 0.9 * DAY), "Europe/Berlin") == ["28. 03:00+0200", "28. 03:30+0200"]
    for cron in ("30 2 * * *", "15 30 2 * * *"):
        assert schedule(cron=cron, timezone="Europe/Berlin").next(begin) == at("2027-03-28T03:00", "Europe/Berlin")


def test_a_time_that_autumn_repeats_counts_the_first_time_only() -> None:
    berlin = schedule(cron="10,30 2 * * *", timezone="Europe/Berlin", catch_up="all")
    begin = at("2027-10-31T00:00", "Europe/Berlin")
    assert on_the_wall(berlin.due(begin, begin + 0.9 * DAY), "Europe/Berlin") == ["31. 02:10+0200", "31. 02:30+0200"]
    second_time = at("2027-10-31T02:10", "Europe/Berlin") + 3600 + 5  # 02:10 again
    assert on_the_wall([berlin.next(second_time)], "Europe/Berlin") == ["01. 02:10+0100"]


def test_every_15_minutes_stays_regular_when_clocks_change() -> None:
    for change in ("2027-03-28T00:00", "2027-10-31T00:00"):
        quarters = schedule(cron="*/15 * * * *", timezone="Europe/Berlin", catch_up="all")
        begin = at(change, "Europe/Berlin")
        firings = quarters.due(begin, begin + 6 * 3600)
        assert {later - earlier for earlier, later in itertools.pairwise(firings)} == {900.0}
        assert len(firings) == 24


@pytest.mark.parametrize(("cron", "seconds"), [("5 * * * *", 3600.0), ("0 5 * * * *", 3600.0)])
def test_an_expression_without_an_hour_follows_elapsed_time(cron: str, seconds: float) -> None:
    hourly = schedule(cron=cron, timezone="Europe/Berlin", catch_up="all")
    begin = at("2027-10-31T00:05", "Europe/Berlin")
    fired = hourly.due(begin - 1, begin + 6 * 3600 - 1)
    assert len({firing // 3600 for firing in fired}) == 6  # the wall clock shows one of them twice
    assert min(later - earlier for earlier, later in itertools.pairwise(fired)) == seconds


@given(st.sampled_from(INTERVALS), times)
def test_intervals_count_from_1970_without_gaps(every: float, after: float) -> None:
    coming = schedule(every=every).next(after)
    assert after < coming <= after + every + 0.002
    assert abs(coming / every - round(coming / every)) * every < 0.001


@given(timings, times)
def test_next_is_the_first_run_after_a_time(timing: dict[str, Any], after: float) -> None:
    each = schedule(**timing)
    coming = each.next(after)
    assert coming > after
    assert each.next(min((after + coming) / 2, math.nextafter(coming, after))) == coming
    assert each.next(coming) > coming


@given(timings, times, st.floats(0, 3 * DAY))
def test_once_finds_the_last_of_many_missed_runs(timing: dict[str, Any], last: float, span: float) -> None:
    each = schedule(**timing)
    now = last + min(span, 500 * (each.next(last) - last))
    every_one = schedule(**timing, catch_up="all").due(last, now, most=1_000_000)
    assert each.due(last, now) == every_one[-1:]


def test_the_last_of_years_of_missed_runs_is_found_quickly() -> None:
    """One per second for three years: iterating over all would take a quarter of an hour."""
    now = NOW + 1000 * DAY + 0.5
    assert schedule(cron="* * * * * *").due(NOW, now) == [now - 0.5]
    # 86,400 runs on one day, long ago
    assert schedule(cron="* * * 1 1 *").due(NOW - 700 * DAY, NOW + 100 * DAY) == [NOW + DAY - 1]


@pytest.mark.parametrize(
    ("catch_up", "late", "made_up_for"),
    [
        ("once", 0.0, [3]),
        ("once", 3000.0, [3]),
        ("all", 3000.0, [1, 2, 3]),
        ("skip", MAX_LATENESS, [3]),
        ("skip", MAX_LATENESS + 1, []),
    ],
)
def test_catch_up_decides_which_missed_runs_are_submitted(
    catch_up: CatchUp, late: float, made_up_for: list[int]
) -> None:
    hourly = schedule(every=3600.0, catch_up=catch_up)
    assert hourly.due(NOW, NOW + 3 * 3600 + late) == [NOW + hour * 3600 for hour in made_up_for]


def record(last: float, due: float | None = 0.0, *, enabled: bool = True, **fields: Any) -> ScheduleRecord:
    return ScheduleRecord(schedule=schedule(**fields), enabled=enabled, last=last, next=due)


def test_a_new_schedule_gets_its_next_run_and_submits_nothing() -> None:
    step = record(NOW + 5, every=60.0).step(NOW + 5, 200)
    assert step is not None
    assert (step.previous, step.at, step.next, step.specs) == (NOW + 5, NOW + 5, NOW + 60, ())
    assert record(NOW + 5, NOW + 60, every=60.0).step(NOW + 59, 200) is None


def test_each_run_submits_a_new_job_and_continues_from_its_own_time() -> None:
    due = record(NOW, NOW + 60, every=60.0)
    first, second = due.step(NOW + 60.2, 200), due.step(NOW + 60.2, 200)
    assert first is not None
    assert second is not None
    assert (first.previous, first.at, first.next) == (NOW, NOW + 60, NOW + 120)
    ids = {spec.id for step in (first, second) for spec in step.specs}
    assert len(ids) == 2
    assert "scheduled" not in ids
    assert {spec.task for spec in first.specs} == {"refresh"}


def test_a_disabled_schedule_takes_no_step() -> None:
    assert record(NOW, None, enabled=False, every=60.0).step(NOW + 600, 200) is None


def test_many_missed_runs_are_submitted_in_chunks() -> None:
    behind = record(NOW, NOW + 1, every=1.0, catch_up="all")
    step = behind.step(NOW + 1000, 200)
    assert step is not None
    assert (len(step.specs), step.at, step.next) == (200, NOW + 200, NOW + 201)


def test_skipped_runs_leave_the_last_run_unchanged() -> None:
    step = record(NOW, NOW + 3600, every=3600.0, catch_up="skip").step(NOW + 5000, 200)
    assert step is not None
    assert (step.at, step.next, step.specs) == (NOW, NOW + 7200, ())
    assert record(NOW, NOW + 7200, every=3600.0, catch_up="skip").step(NOW + 5001, 200) is None


def test_a_clock_that_stepped_back_repeats_no_run() -> None:
    """The run of 12:00 has happened; it is 11:30 again."""
    assert record(NOW, NOW + 3600, every=3600.0).step(NOW - 1800, 200) is None
    assert record(NOW, NOW + 3600, every=3600.0).step(NOW, 200) is None


def test_a_last_run_far_in_the_future_is_reset() -> None:
    ahead = record(NOW + MAX_LOOKAHEAD + 60, NOW + MAX_LOOKAHEAD + 3600, every=3600.0)
    step = ahead.step(NOW, 200)
    assert step is not None
    assert (step.at, step.next, step.specs) == (NOW, NOW + 3600, ())


@given(
    timings,
    st.sampled_from(["skip", "once", "all"]),
    st.lists(st.floats(-3 * 3600, 6 * 3600), min_size=1, max_size=30),
)
def test_each_run_happens_once_and_in_order_whatever_the_clock_does(
    timing: dict[str, Any], catch_up: CatchUp, turns: list[float]
) -> None:
    now = last = NOW
    coming: float | None = 0.0
    firings: list[float] = []
    jobs = 0
    for turn in turns:
        now += turn
        for _ in range(5):
            step = ScheduleRecord(
                schedule=schedule(**timing, catch_up=catch_up), enabled=True, last=last, next=coming
            ).step(now, 20)
            if step is None:
                break
            assert step.previous == last
            last, coming = step.at, step.next
            if step.specs:
                firings.append(step.at)
                jobs += len(step.specs)
        else:
            assert catch_up == "all"  # which may need many chunks; the others are done at once
    assert firings == sorted(set(firings))
    if catch_up == "all" and firings:
        assert jobs == len(schedule(**timing, catch_up="all").due(NOW, firings[-1], most=1_000_000))


def test_utc_needs_no_time_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.model.schedule.ZoneInfo", None)
    assert datetime.fromtimestamp(schedule(cron="0 6 * * *").next(NOW), UTC).hour == 6
