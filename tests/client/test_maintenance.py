"""Maintenance: runs of schedules are on time and happen once; outages are survived."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from sidelane import Sidelane, StoreUnavailable
from sidelane.client.maintenance import PeriodicEnqueuer
from sidelane.model.job import DAY, Query
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleRecord, ScheduleTick
from sidelane.model.worker import SweepResult
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from sidelane.testing import harness
from tests.client.conftest import MakeLane

SOON = 10.0
HOUR = 3600.0
ON_TIME = 0.5
"""Seconds by which the median run may be late here. On an idle machine it is milliseconds."""


async def the_record(lane: Sidelane, name: str) -> ScheduleRecord:
    (found,) = [record for record in await lane.schedules.list() if record.schedule.name == name]
    return found


async def test_runs_are_on_time_and_happen_once_with_several_processes(
    make_lane: MakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three lanes on one file, each with its own connection and maintenance, as three processes would have."""
    every, seen = 0.5, 6
    # if maintenance did not watch the time of the next run, each would wait for a sweep: 2 s
    lanes = [make_lane(lease_duration=8.0) for _ in range(3)]
    firings: list[ScheduleTick] = []

    def noted(store: Store) -> Store:
        fire = store.fire

        async def note(firing: ScheduleTick) -> bool:
            taken = await fire(firing)
            if taken and firing.specs:
                firings.append(firing)
            return taken

        monkeypatch.setattr(store, "fire", note)
        return store

    async def opened(url: str) -> Store:
        return noted(await open_store(url))

    monkeypatch.setattr("sidelane.app.open_store", opened)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for lane in lanes:

            async def refresh() -> None: ...

            lane.schedule("often", lane.task(refresh).call(), every=every, catch_up="all")
            await stack.enter_async_context(lane.open())
        while len(jobs := await lanes[0].client.find(Query(limit=100))) < seen:
            await asyncio.sleep(0.05)
    times = sorted(firing.at - every * back for firing in firings for back in range(len(firing.specs)))
    assert times == [times[0] + every * number for number in range(len(times))]  # none repeated, none missing
    assert {job.id for job in jobs} <= {spec.id for firing in firings for spec in firing.specs}
    late = sorted(job.submitted - at for job, at in zip(jobs[::-1], times, strict=False))
    assert late[0] >= 0
    assert late[len(late) // 2] < ON_TIME


async def test_schedules_due_at_one_time_run_together(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way = most = 0

    @lane.task
    async def refresh(number: int) -> None: ...

    for number in range(30):
        lane.schedule(f"s{number}", refresh.call(number), every=HOUR)
    async with harness(lane) as t:
        store, fire = t.client.store, t.client.store.fire

        async def counted(firing: ScheduleTick) -> bool:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            fired = await fire(firing)
            under_way -= 1
            return fired

        monkeypatch.setattr(store, "fire", counted)
        await t.advance(HOUR)
        assert len(await t.records(refresh)) == most == 30


async def test_missed_runs_of_a_large_call_are_submitted_in_chunks(
    lane: Sidelane, caplog: pytest.LogCaptureFixture
) -> None:
    @lane.task
    async def index(text: str) -> None: ...

    lane.schedule("texts", index.call("x" * 600_000), every=1.0, catch_up="all")
    async with harness(lane) as t:
        with caplog.at_level("INFO", "sidelane.client.maintenance"):
            await t.advance(5)
        assert len(caplog.records) >= 5
        assert {record.message for record in caplog.records} == {"schedule texts ran; jobs submitted: 1"}


async def test_fire_returns_the_time_to_the_next_run(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    for name, every in (("a", HOUR), ("b", 0.5), ("c", DAY)):
        lane.schedule(name, refresh.call(), every=every)
    async with harness(lane) as t:
        left = await PeriodicEnqueuer(t.client.store, t.client.telemetry).fire()
        assert left is not None
        assert left <= 0.5


async def test_an_unreadable_schedule_runs_once_it_is_corrected(lane: Sidelane) -> None:
    @lane.task
    async def refresh() -> None: ...

    broken = Schedule(name="texts", spec=refresh.call().spec(), every=10.0, timezone="No/Where")
    async with harness(lane) as t:
        firings = PeriodicEnqueuer(t.client.store, t.client.telemetry)
        await t.client.store.upsert_schedule(broken)
        assert await firings.fire() is None
        await t.client.store.upsert_schedule(replace(broken, timezone="UTC"))
        assert await firings.fire() is not None


async def test_without_schedules_the_store_is_not_asked_for_them(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, swept = 0, asyncio.Event()
    sweeps = itertools.count(1)

    async with lane.open():
        store = lane.client.store
        sweep = store.sweep

        async def counted(**fields: Any) -> SweepResult:
            if next(sweeps) == 3:
                swept.set()
            return await sweep(**fields)

        async def schedules() -> ScheduleList:
            nonlocal asked
            asked += 1
            return ScheduleList(0.0)

        monkeypatch.setattr(store, "sweep", counted)
        monkeypatch.setattr(store, "list_schedules", schedules)
        await asyncio.wait_for(swept.wait(), SOON)
    assert asked == 0


async def test_maintenance_notices_a_clock_that_stepped_back(lane: Sidelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.client.maintenance.SCHEDULES_INTERVAL", 0.2)

    @lane.task
    async def refresh() -> None: ...

    lane.schedule("stocks", refresh.call(), every=HOUR)
    async with lane.open(), asyncio.timeout(SOON):
        store = lane.client.store
        now = (await store.list_schedules()).now
        mistake = now + 3 * DAY
        while not await store.fire(
            ScheduleTick(name="stocks", previous=(await the_record(lane, "stocks")).last, at=mistake, next=mistake + 60)
        ):
            pass
        while (await the_record(lane, "stocks")).last > now + DAY:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("verb", "trouble"), [("list_schedules", "submit the jobs of schedules"), ("sweep", "sweep the store")]
)
async def test_maintenance_logs_an_outage_once_and_continues_after_it(
    make_lane: MakeLane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, verb: str, trouble: str
) -> None:
    lane = make_lane(lease_duration=0.4)

    @lane.task
    async def refresh() -> None: ...

    lane.schedule("often", refresh.call(), every=0.1)
    async with lane.open(), asyncio.timeout(SOON):
        store = lane.client.store
        tries = itertools.count(1)
        several = asyncio.Event()
        with monkeypatch.context() as patch:

            async def away(**_: Any) -> ScheduleList | SweepResult:
                if next(tries) > 3:
                    several.set()
                raise StoreUnavailable("it is away")

            patch.setattr(store, verb, away)
            await several.wait()
        already = len(await lane.client.find(Query(task="refresh")))
        while len(await lane.client.find(Query(task="refresh"))) <= already or "again" not in caplog.text:
            await asyncio.sleep(0.02)
    said = [record.getMessage() for record in caplog.records if trouble in record.getMessage()]
    assert said == [
        f"this process cannot {trouble}; it keeps trying: it is away",
        f"this process can {trouble} again",
    ]
