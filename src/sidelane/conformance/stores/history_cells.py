"""Cells of history: minutes that are rolled up into ten minutes, hours and totals, of a bounded number of series."""

import pytest

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    claim_job,
    finish,
    pass_time,
    slot_limit,
    specs,
    start,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.counting import by_series, cells, measured, tally, timeline_of
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.history import (
    HOUR,
    MAX_SERIES,
    MINUTE,
    OTHER,
    STEPS,
    TEN_MINUTES,
    TOP_USERS,
    Count,
    HistoryCell,
    HistoryQuery,
    Series,
    Usage,
    UserUsage,
    merged,
)
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Released, Succeeded
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.stores.clock import NEW_YEAR_2027, ManualClock
from sidelane.stores.contract import Store

DAY = 24 * HOUR


async def sweep_until_done(store: Store) -> None:
    """Sweep until no sweep has more work, and once more."""
    while (await store.sweep(lease=LEASE)).more:
        pass
    await store.sweep(lease=LEASE)


async def submit_at(store: Store, clock: ManualClock, *seconds: float) -> None:
    """Submit one job at each of these times, in seconds since the start of the manual clock."""
    for number, at in enumerate(seconds):
        clock.set(NEW_YEAR_2027 + at)
        await submit(store, *specs(f"j{number}-{at}"))


async def total_of(store: Store, step: int) -> dict[int, int]:
    return merged([each.counts for each in await cells(store, step)])


class HistoryCells(StoreSuite):
    """Which cell has a count, before and after it is rolled up."""

    async def test_a_cell_covers_a_whole_step(self, store: Store, clock: ManualClock) -> None:
        await submit_at(store, clock, 0, 59.999, 60, 599.9, 600, 3599, 3600)
        assert await timeline_of(store, MINUTE, Count.SUBMITTED) == {0: 2, 60: 1, 540: 1, 600: 1, 3540: 1, 3600: 1}
        assert await timeline_of(store, TEN_MINUTES, Count.SUBMITTED) == {0: 4, 600: 1, 3000: 1, 3600: 1}
        assert await timeline_of(store, HOUR, Count.SUBMITTED) == {0: 6, 3600: 1}
        assert await tally(store) == {"SUBMITTED": 7}

    async def test_sweeps_change_no_cell_and_no_total(self, store: Store, clock: ManualClock) -> None:
        for step in range(30):
            await finish(store, await start(store, *specs(f"j{step}"), release=f"r{step % 2}"), Succeeded("1"))
            clock.advance(47)
            before = [await cells(store, each) for each in STEPS], await by_series(store)
            for _ in range(step % 3):
                await store.sweep(lease=LEASE)
            assert ([await cells(store, each) for each in STEPS], await by_series(store)) == before
        assert await tally(store) == {"SUBMITTED": 30, "STARTED": 30, "SUCCEEDED": 30}

    async def test_every_step_has_the_sums_of_its_minutes(self, store: Store, clock: ManualClock) -> None:
        for number in range(40):
            claimed = await start(store, *specs(f"j{number}", queue=f"q{number % 3}"))
            clock.advance(number)
            await finish(store, claimed, Succeeded("1"))
            clock.advance(150)
            if number % 7 == 0:
                await sweep_until_done(store)
        await sweep_until_done(store)
        minutes = await cells(store, MINUTE)
        for step in TEN_MINUTES, HOUR:
            for cell in await cells(store, step):
                parts = [each for each in minutes if each.at // step * step == cell.at and each.series == cell.series]
                assert cell.counts == merged([each.counts for each in parts])
            assert await total_of(store, step) == await total_of(store, MINUTE)
        assert await total_of(store, MINUTE) == merged([each.counts for each in await store.totals()])

    async def test_a_clock_that_steps_back_loses_and_doubles_nothing(self, store: Store, clock: ManualClock) -> None:
        await submit_at(store, clock, 50, 65)
        await sweep_until_done(store)
        await submit_at(store, clock, 30, 70, 125)
        await sweep_until_done(store)
        await submit_at(store, clock, 31, 126, 3700)
        await sweep_until_done(store)
        for step in STEPS:
            assert sum((await timeline_of(store, step, Count.SUBMITTED)).values()) == 8
        assert await tally(store) == {"SUBMITTED": 8}

    async def test_a_range_has_the_cells_that_overlap_it(self, store: Store, clock: ManualClock) -> None:
        await submit_at(store, clock, 0, 60, 120, 180)
        start_of_clock = NEW_YEAR_2027

        async def found(since: float, until: float, step: int = MINUTE) -> list[float]:
            query = HistoryQuery(since=start_of_clock + since, until=start_of_clock + until, step=step, task="t")
            return [each.at - start_of_clock for each in await store.history(query)]

        for _ in range(2):
            assert await found(60, 180) == [60, 120]
            assert await found(90, 181) == [60, 120, 180]
            assert await found(119, 120) == [60]
            assert await found(240, 900) == []
            assert await found(90, 95, HOUR) == [0]
            assert await found(3600, 7200, HOUR) == []
            await sweep_until_done(store)

    async def test_cells_are_found_by_queue_and_task(self, store: Store) -> None:
        await submit(store, *specs("a", "b"), *specs("c", queue="x"), JobSpec(id="d", task="u", queue="x"))
        await claim(store, release="r1")

        async def found(queue: str | None = None, task: str | None = None) -> set[Series]:
            return {cell.series for cell in await cells(store, MINUTE, queue=queue, task=task)}

        default, started = Series("default", "t"), Series("default", "t", "r1")
        assert await found(queue="default") == {default, started}
        assert await found(task="t") == {default, started, Series("x", "t")}
        assert await found(queue="x", task="u") == {Series("x", "u")}
        assert await found(queue="unknown") == await found(task="") == set()

    async def test_cells_are_kept_for_the_time_of_their_step(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await sweep_until_done(store)
        clock.advance(STEPS[MINUTE] - 2 * MINUTE)
        await sweep_until_done(store)
        for step in STEPS:
            assert await timeline_of(store, step, Count.SUBMITTED) == {0: 1}
        clock.advance(3 * MINUTE + TEN_MINUTES)
        await sweep_until_done(store)
        for step in MINUTE, TEN_MINUTES:
            assert await cells(store, step, task="t") == []
        assert await timeline_of(store, HOUR, Count.SUBMITTED) == {0: 1}
        clock.advance(STEPS[HOUR] - STEPS[MINUTE] + HOUR)
        await sweep_until_done(store)
        assert await cells(store, HOUR, task="t") == []
        assert await tally(store) == {"SUBMITTED": 1}

    async def test_nothing_is_lost_without_sweeps_for_a_long_time(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        clock.advance(STEPS[MINUTE] + DAY)
        await submit(store, *specs("b"))
        assert await tally(store) == {"SUBMITTED": 2}
        await sweep_until_done(store)
        assert await tally(store) == {"SUBMITTED": 2}
        assert await timeline_of(store, HOUR, Count.SUBMITTED) == {0: 1, STEPS[MINUTE] + DAY: 1}

    async def test_a_long_range_is_complete(self, store: Store, clock: ManualClock) -> None:
        for number in range(300):
            clock.set(NEW_YEAR_2027 + number * 800)
            await submit(store, *specs(f"j{number}", queue=f"q{number % 5}"))
            if number % 50 == 0:
                await sweep_until_done(store)
        assert await timeline_of(store, MINUTE, Count.SUBMITTED) == {n * 800 // 60 * 60: 1 for n in range(300)}
        assert sum((await timeline_of(store, HOUR, Count.SUBMITTED)).values()) == 300


class HistorySeries(StoreSuite):
    """The number of series is bounded."""

    async def test_a_thousand_task_names_are_counted_as_other(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *(JobSpec(id=f"j{n}", task=f"task-{n}") for n in range(1000)))
        clock.advance(MINUTE)
        await sweep_until_done(store)
        await submit(store, *(JobSpec(id=f"k{n}", task=f"task-{n}") for n in range(1000)))
        found = await by_series(store)
        assert len(found) <= MAX_SERIES + 1
        assert sum(counts["SUBMITTED"] for counts in found.values()) == 2000
        assert found[Series("", OTHER)]["SUBMITTED"] >= 2 * (1000 - MAX_SERIES)
        for step in STEPS:
            assert len({cell.series for cell in await cells(store, step)}) <= MAX_SERIES + 1
            assert sum((await timeline_of(store, step, Count.SUBMITTED)).values()) == 2000

    async def test_jobs_of_other_series_run_and_end(self, store: Store) -> None:
        await submit(store, *(JobSpec(id=f"j{n}", task=f"task-{n}") for n in range(MAX_SERIES + 10)))
        claimed = await claim(store, limit=MAX_SERIES + 10, release="r1")
        for each in claimed:
            await finish(store, each, Succeeded("1"))
        assert await tally(store) == dict.fromkeys(("SUBMITTED", "STARTED", "SUCCEEDED"), MAX_SERIES + 10)

    async def test_series_of_the_last_days_make_place_for_new_ones(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *(JobSpec(id=f"j{n}", task=f"old-{n}") for n in range(MAX_SERIES)))
        await submit(store, JobSpec(id="early", task="new"))
        await sweep_until_done(store)
        assert Series("default", "new") not in await by_series(store)
        clock.advance(STEPS[MINUTE] + HOUR)
        await sweep_until_done(store)
        await submit(store, JobSpec(id="late", task="new"))
        found = await by_series(store)
        assert found[Series("default", "new")] == {"SUBMITTED": 1}
        assert sum(counts["SUBMITTED"] for counts in found.values()) == MAX_SERIES + 2

    async def test_old_series_that_return_are_counted_as_other_beyond_the_maximum(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, *(JobSpec(id=f"old-{n}", task=f"old-{n}") for n in range(MAX_SERIES)))
        await sweep_until_done(store)
        clock.advance(STEPS[MINUTE] + HOUR)
        await submit(store, *(JobSpec(id=f"new-{n}", task=f"new-{n}") for n in range(MAX_SERIES - 2)))
        await sweep_until_done(store)  # which counts the depth of the queue as one more series
        for number in range(3):
            await submit(store, JobSpec(id=f"again-{number}", task=f"old-{number}"))
        found = await by_series(store)
        assert [found[Series("default", f"old-{n}")]["SUBMITTED"] for n in range(3)] == [2, 1, 1]
        assert found[Series("", OTHER)]["SUBMITTED"] == 2

    async def test_totals_of_old_releases_become_those_of_their_task(self, store: Store, clock: ManualClock) -> None:
        for number in range(5):
            await finish(store, await start(store, *specs(f"j{number}"), release=f"r{number}"), Succeeded("1"))
        for day in range(0, STEPS[HOUR] // DAY + 10, 2):
            clock.advance(2 * DAY)
            await start(store, *specs(f"day-{day}"), release="new")
            await store.cancel([f"day-{day}"])
            await sweep_until_done(store)
        found = await by_series(store)
        assert {series.release for series in found} == {"", "new"}
        assert found[Series("default", "t")]["SUCCEEDED"] == 5
        assert (await tally(store))["SUBMITTED"] == 5 + 35

    async def test_the_end_of_a_job_is_counted_although_its_series_was_removed(
        self, store: Store, clock: ManualClock
    ) -> None:
        await submit(store, JobSpec(id="late", task="late", delay=365 * DAY))
        for day in range(0, STEPS[HOUR] // DAY + 10, 2):
            clock.advance(2 * DAY)
            await submit(store, JobSpec(id=f"day-{day}", task="t"))
            await sweep_until_done(store)
        assert Series("default", "late") not in await by_series(store)
        await store.cancel(["late"])
        clock.advance(MINUTE)
        await sweep_until_done(store)
        assert await tally(store) == {"SUBMITTED": 1 + 35, "CANCELLED": 1}

    async def test_names_of_series_are_compared_exactly(self, store: Store) -> None:
        names = [("a", "bc"), ("ab", "c"), ("1:a", "b"), ("a\n", "b"), ("é", "\x1f"), ("a", "bc\x00")]
        await submit(store, *(JobSpec(id=f"j{n}", queue=q, task=t) for n, (q, t) in enumerate(names)))
        assert await by_series(store) == {Series(queue, task): {"SUBMITTED": 1} for queue, task in names}


class TopUsers(StoreSuite):
    """The users with the highest amounts of each hour."""

    async def test_each_user_has_its_submits_refusals_and_run_time(self, store: Store, clock: ManualClock) -> None:
        one = (slot_limit(1, "reject"),)
        await submit(store, *specs("a", user="u", limits=one), *specs("b", "c", user="v"), *specs("d"))
        for _ in range(2):
            await submit_rejected(store, *specs("e", user="u", limits=one))
        claimed = await claim_job(store, "b")
        clock.advance(2.5)
        for _ in range(2):
            await finish(store, claimed, Succeeded("1"))
        for _ in range(2):
            assert await store.top_users(clock(), clock() + 1) == [
                UserUsage(at=NEW_YEAR_2027, user="u", submitted=1, refused=2),
                UserUsage(at=NEW_YEAR_2027, user="v", submitted=2, run_time=2.5),
            ]
            await store.sweep(lease=LEASE)

    async def test_each_user_has_its_tokens_and_its_cost_of_every_attempt(
        self, store: Store, clock: ManualClock
    ) -> None:
        used = Usage(input_tokens=10, output_tokens=3, cost=0.25)
        await submit(store, *specs("a", user="u"))
        for outcome in (Released(0.0), Succeeded("1")):
            claimed = await claim_job(store, "a")
            for _ in range(2):
                await finish(store, claimed, outcome, usage=used)
        await store.sweep(lease=LEASE)
        (found,) = await store.top_users(clock(), clock() + 1)
        assert (found.user, found.tokens, found.cost) == ("u", 26, 0.5)

    async def test_internal_jobs_count_for_no_user(self, store: Store, clock: ManualClock) -> None:
        claimed = await start(store, *specs("a", user="a receiver", queue=f"{INTERNAL_PREFIX}callbacks"))
        clock.advance(1)
        await finish(store, claimed, Succeeded("1"), usage=Usage(cost=1.0))
        assert await store.top_users(clock(), clock() + 1) == []

    async def test_each_hour_has_its_own_amounts(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", user="u"))
        clock.advance(HOUR)
        await submit(store, *specs("b", "c", user="u"))
        await sweep_until_done(store)
        first = UserUsage(at=NEW_YEAR_2027, user="u", submitted=1)
        second = UserUsage(at=NEW_YEAR_2027 + HOUR, user="u", submitted=2)
        assert await store.top_users(NEW_YEAR_2027, clock() + 1) == [first, second]
        assert await store.top_users(NEW_YEAR_2027 + 5, NEW_YEAR_2027 + HOUR) == [first]
        assert await store.top_users(NEW_YEAR_2027 + HOUR, NEW_YEAR_2027 + HOUR + 1) == [second]
        assert await store.top_users(NEW_YEAR_2027 - DAY, NEW_YEAR_2027) == []

    @pytest.mark.parametrize("closed", [True, False])
    async def test_only_the_top_users_of_an_hour_are_returned(
        self, store: Store, clock: ManualClock, closed: bool
    ) -> None:
        for number in range(TOP_USERS + 5):
            await submit(store, *specs(*(f"j{number}-{n}" for n in range(number + 1)), user=f"u{number}"))
        if closed:
            clock.advance(HOUR)
        await sweep_until_done(store)
        found = await store.top_users(NEW_YEAR_2027, NEW_YEAR_2027 + HOUR)
        assert {each.user: each.submitted for each in found} == {f"u{n}": n + 1 for n in range(5, TOP_USERS + 5)}
        assert [each.user for each in found] == sorted(each.user for each in found)

    async def test_the_highest_of_thousands_of_users_is_among_the_top(self, store: Store, clock: ManualClock) -> None:
        for part in range(3):
            many = [JobSpec(id=f"j{part}-{n}", task="t", user=f"u{part}-{n}") for n in range(1000)]
            await submit(store, *many, *specs(*(f"big{part}-{n}" for n in range(5)), user="big"))
            await store.sweep(lease=LEASE)
        found = await store.top_users(clock(), clock() + 1)
        assert len(found) <= TOP_USERS
        assert UserUsage(at=NEW_YEAR_2027, user="big", submitted=15) in found

    async def test_users_of_old_hours_are_removed(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a", user="u"))
        await sweep_until_done(store)
        clock.advance(STEPS[HOUR] + 2 * HOUR)
        await sweep_until_done(store)
        assert await store.top_users(0.0, clock() + HOUR) == []


def maxima(cell: HistoryCell) -> dict[str, int]:
    return {Count(field).name: count for field, count in cell.counts.items() if field >= Count.MAX_READY}


class DepthSamples(StoreSuite):
    """Sweeps sample how many jobs each queue has, and how long the first has waited."""

    async def test_a_minute_has_the_highest_depths_of_its_samples(self, store: Store, clock: ManualClock) -> None:
        one = (slot_limit(1, "wait"),)
        await submit(store, *specs("holder", "blocked", limits=one))
        assert len(await claim(store, lease=60 * LEASE)) == 1
        await submit(store, *specs("a", "b", "c"), JobSpec(id="d", task="t", delay=60), *specs("x", queue="x"))
        clock.advance(5)
        await store.sweep(lease=LEASE)
        await store.cancel(["a", "b", "c"])
        await pass_time(store, clock, 30)
        found = {cell.series: maxima(cell) for cell in await cells(store, MINUTE) if maxima(cell)}
        default = found[Series("default", "")]
        assert default.pop("MAX_HEAD_WAIT_MS") == 5000
        assert default == {"MAX_READY": 3, "MAX_DELAYED": 1, "MAX_WAITING_FOR_LIMIT": 1, "MAX_RUNNING": 1}
        assert found[Series("x", "")]["MAX_READY"] == 1
        assert 25_000 <= found[Series("x", "")]["MAX_HEAD_WAIT_MS"] <= 35_000

    async def test_an_hour_has_the_highest_of_its_minutes(self, store: Store, clock: ManualClock) -> None:
        for number, depth in enumerate((2, 7, 3)):
            jobs = [f"j{number}-{n}" for n in range(depth)]
            await submit(store, *specs(*jobs))
            await pass_time(store, clock, 2.5)
            await store.cancel(jobs)
            clock.advance(MINUTE)
        await sweep_until_done(store)
        assert await timeline_of(store, MINUTE, Count.MAX_READY) == {0: 2, 60: 7, 120: 3}
        assert await timeline_of(store, HOUR, Count.MAX_READY) == {0: 7}

    async def test_sweeps_within_ten_seconds_take_one_sample(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await store.sweep(lease=LEASE)
        await submit(store, *specs("b", "c"))
        clock.advance(9)
        await store.sweep(lease=LEASE)
        assert await timeline_of(store, MINUTE, Count.MAX_READY) == {0: 1}
        clock.advance(1)
        await store.sweep(lease=LEASE)
        assert await timeline_of(store, MINUTE, Count.MAX_READY) == {0: 3}

    async def test_an_empty_queue_has_no_depths(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await store.cancel(["a"])
        await pass_time(store, clock, 30)
        assert not any(map(maxima, await cells(store, MINUTE)))
        assert await measured(store, Count.MAX_READY) == [0]
