"""Schedules: each tick counts once, whatever process fires it (rule 13)."""

from dataclasses import replace

import pytest

from sidelane.conformance.stores.actions import (
    HINT_TIMEOUT,
    INVALID_SPECS,
    LEASE,
    claim,
    ids,
    record,
    slot_limit,
    specs,
    states,
    submit,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.errors import JobRefused
from sidelane.model.job import JobSpec, Query, State
from sidelane.model.schedule import Schedule, ScheduleRecord, ScheduleTick
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, queue_topic

HOURLY = Schedule(name="stocks", spec=JobSpec(id="", task="refresh"), every=3600.0)


async def scheduled(store: Store, name: str = "stocks") -> ScheduleRecord:
    """Return a schedule that must exist."""
    (found,) = [each for each in (await store.list_schedules()).records if each.schedule.name == name]
    return found


async def names(store: Store) -> list[str]:
    return [each.schedule.name for each in (await store.list_schedules()).records]


def tick(previous: float, at: float, *job_ids: str, name: str = "stocks") -> ScheduleTick:
    return ScheduleTick(name=name, previous=previous, at=at, next=at + 3600, specs=tuple(specs(*job_ids)))


class ScheduleDefinitions(StoreSuite):
    """Adding, changing and deleting schedules."""

    async def test_a_new_schedule_begins_now_and_its_next_tick_is_not_computed_yet(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.upsert_schedule(HOURLY)
        clock.advance(5)
        table = await store.list_schedules()
        assert table.now == clock()
        assert table.records == (ScheduleRecord(schedule=HOURLY, enabled=True, last=clock() - 5, next=0.0),)

    async def test_a_schedule_keeps_every_field_of_its_definition(self, store: Store) -> None:
        spec = JobSpec(
            id="", task="answer", version=2, arguments='{"q": "\u00fc"}', queue="x", user="u", priority=3,
            labels={"a": "b"}, limits=(slot_limit(1, "wait"),), placeholders={"a": "b"}, retention=5.0,
        )  # fmt: skip
        schedule = Schedule(
            name="daily.news", spec=spec, cron="0 6 * * *", timezone="Asia/Seoul", catch_up="all", aliases=("news", "n")
        )
        await store.upsert_schedule(schedule)
        assert (await scheduled(store, "daily.news")).schedule == schedule

    async def test_an_invalid_schedule_or_one_with_an_invalid_job_is_refused(self, store: Store) -> None:
        invalid = [replace(HOURLY, name="\ud800"), *(replace(HOURLY, spec=spec) for spec in INVALID_SPECS)]
        for schedule in invalid:
            with pytest.raises(JobRefused) as refused:
                await store.upsert_schedule(schedule)
            assert refused.value.problem().status == 422
        assert await names(store) == []

    async def test_schedules_are_listed_by_name(self, store: Store) -> None:
        for name in "cab":
            await store.upsert_schedule(replace(HOURLY, name=name))
        assert await names(store) == ["a", "b", "c"]

    async def test_upserting_the_same_schedule_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        assert await store.fire(tick(clock(), clock() + 1, "a"))
        before = await scheduled(store)
        clock.advance(5)
        await store.upsert_schedule(HOURLY)
        assert await scheduled(store) == before

    async def test_a_changed_schedule_keeps_its_last_tick_and_computes_the_next_again(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.upsert_schedule(HOURLY)
        await store.fire(tick(clock(), clock() + 1, "a"))
        clock.advance(5)
        changed = replace(HOURLY, every=60.0)
        await store.upsert_schedule(changed)
        found = await scheduled(store)
        assert (found.schedule, found.last, found.next, found.job) == (changed, clock() - 4, 0.0, "a")
        assert found.enabled

    async def test_a_changed_schedule_stays_disabled(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        await store.set_schedule_enabled("stocks", False)
        changed = replace(HOURLY, every=60.0)
        await store.upsert_schedule(changed)
        found = await scheduled(store)
        assert (found.schedule, found.enabled, found.next, found.last) == (changed, False, None, clock())

    @pytest.mark.parametrize("enabled", [True, False])
    async def test_a_renamed_schedule_is_found_by_its_alias(
        self, store: Store, clock: ManualClock, enabled: bool
    ) -> None:
        await store.upsert_schedule(HOURLY)
        await store.fire(tick(clock(), clock() + 1, "a"))
        await store.set_schedule_enabled("stocks", enabled)
        clock.advance(100)
        await store.upsert_schedule(replace(HOURLY, name="shares", aliases=("older", "stocks")))
        assert await names(store) == ["shares"]
        found = await scheduled(store, "shares")
        assert (found.enabled, found.last, found.job) == (enabled, clock() - 99, "a")
        assert not await store.fire(tick(found.last, clock(), "b"))
        assert await store.fire(tick(found.last, clock(), "b", name="shares")) == enabled

    async def test_a_deleted_schedule_begins_anew_when_added_again(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        assert await store.delete_schedule("stocks")
        assert not await store.delete_schedule("stocks")
        assert await names(store) == []
        clock.advance(50)
        await store.upsert_schedule(HOURLY)
        assert await scheduled(store) == ScheduleRecord(schedule=HOURLY, enabled=True, last=clock(), next=0.0)


class ScheduleTicks(StoreSuite):
    """Firing schedules."""

    async def test_a_tick_submits_its_jobs_and_advances_the_schedule(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        start = clock()
        clock.advance(10)
        assert await store.fire(tick(start, start + 7, "a", "b"))
        found = await scheduled(store)
        assert (found.last, found.next, found.job, found.enabled) == (start + 7, start + 3607, "b", True)
        assert ids(await claim(store)) == ["a", "b"]
        assert (await record(store, "a")).submitted == clock()

    async def test_a_tick_that_fired_does_not_fire_again(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        step = tick(clock(), clock() + 1, "a")
        assert await store.fire(step)
        for again in step, tick(step.previous, clock() + 1, "b"), tick(clock() - 9, clock() + 2, "c"):
            assert not await store.fire(again)
        assert await store.get(["b", "c"]) == [None, None]
        assert (await scheduled(store)).job == "a"
        assert await store.fire(tick(step.at, clock() + 9, "d"))

    async def test_a_tick_without_jobs_only_advances_the_schedule(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        await store.fire(tick(clock(), clock() + 1, "a"))
        assert await store.fire(tick(clock() + 1, clock() + 2))
        found = await scheduled(store)
        assert (found.last, found.job) == (clock() + 2, "a")
        assert await store.fire(ScheduleTick(name="stocks", previous=clock() + 2, at=clock() + 2, next=clock() + 60))
        found = await scheduled(store)
        assert (found.last, found.next) == (clock() + 2, clock() + 60)

    async def test_a_time_with_many_digits_is_compared_exactly(self, store: Store, clock: ManualClock) -> None:
        clock.set(1_798_761_600.123457)
        await store.upsert_schedule(HOURLY)
        for number in range(20):
            last = (await scheduled(store)).last
            assert await store.fire(tick(last, last + 0.1 + number / 7, f"j{number}"))
        assert len(await store.list_jobs(Query())) == 20

    async def test_an_unknown_or_disabled_schedule_does_not_fire(self, store: Store, clock: ManualClock) -> None:
        assert not await store.fire(tick(clock(), clock(), "a"))
        await store.upsert_schedule(HOURLY)
        await store.set_schedule_enabled("stocks", False)
        assert not await store.fire(tick(clock(), clock(), "a"))
        assert await store.get(["a"]) == [None]

    async def test_an_enabled_schedule_begins_at_that_time(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        start = clock()
        assert await store.set_schedule_enabled("stocks", False)
        found = await scheduled(store)
        assert (found.enabled, found.next, found.last) == (False, None, start)
        clock.advance(9000)
        for _ in range(2):
            assert await store.set_schedule_enabled("stocks")
            found = await scheduled(store)
            assert (found.enabled, found.next, found.last) == (True, 0.0, start + 9000)
        assert not await store.fire(tick(start, clock(), "a"))
        assert await store.fire(tick(start + 9000, clock(), "a"))

    async def test_enabling_an_enabled_schedule_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        await store.fire(tick(clock(), clock() + 1, "a"))
        before = await scheduled(store)
        clock.advance(5)
        assert await store.set_schedule_enabled("stocks")
        assert await scheduled(store) == before
        assert not await store.set_schedule_enabled("nothing")
        assert not await store.set_schedule_enabled("nothing", False)

    async def test_a_tick_notifies_the_queue_of_its_job(self, store: Store, clock: ManualClock) -> None:
        await store.upsert_schedule(HOURLY)
        async with store.watch(queue_topic("default")) as wakeups:
            await store.fire(tick(clock(), clock() + 1, "a"))
            assert await wakeups.wait(HINT_TIMEOUT)

    async def test_an_existing_job_is_not_submitted_again(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a"))
        await store.upsert_schedule(HOURLY)
        assert await store.fire(tick(clock(), clock() + 1, "a"))
        assert ids(await claim(store)) == ["a"]

    async def test_many_missed_ticks_are_caught_up_in_one_step(self, store: Store, clock: ManualClock) -> None:
        many = [f"j{n}" for n in range(450)]
        await store.upsert_schedule(HOURLY)
        assert await store.fire(tick(clock(), clock() + 1, *many))
        assert set(await states(store, *many)) == {State.QUEUED}
        assert (await scheduled(store)).job == "j449"

    async def test_a_sweep_returns_when_the_next_schedule_fires(self, store: Store, clock: ManualClock) -> None:
        assert (await store.sweep(lease=LEASE)).next_firing is None
        for name in "ab":
            await store.upsert_schedule(replace(HOURLY, name=name))
        next_tick = (await store.sweep(lease=LEASE)).next_firing
        assert next_tick is not None
        assert next_tick <= 0
        start = clock()
        await store.fire(ScheduleTick(name="a", previous=start, at=start, next=start + 90))
        await store.fire(ScheduleTick(name="b", previous=start, at=start, next=start + 60))
        clock.advance(20)
        assert (await store.sweep(lease=LEASE)).next_firing == pytest.approx(40)
        await store.set_schedule_enabled("b", False)
        assert (await store.sweep(lease=LEASE)).next_firing == pytest.approx(70)
        clock.advance(80)
        assert (await store.sweep(lease=LEASE)).next_firing == pytest.approx(-10)
        await store.delete_schedule("a")
        assert (await store.sweep(lease=LEASE)).next_firing is None
