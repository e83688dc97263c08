"""`sidelane schedules`: list, enable, disable, run and forget."""

import json
import time
from dataclasses import replace

from sidelane.model.job import JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.schedule import Schedule, ScheduleTick
from sidelane.stores.contract import Store
from tests.cli.command import Command
from tests.cli.store_driver import StoreDriver

SPEC = JobSpec(id="", task="refresh", queue="chat", arguments='{"market":"KR"}')
STOCKS = Schedule(name="stocks", spec=SPEC, cron="0 6 * * *", timezone="Asia/Seoul", catch_up="skip")
PULSE = Schedule(name="pulse", spec=SPEC, every=300.0)


def keep(driver: StoreDriver, *schedules: Schedule) -> None:
    async def keep_all(store: Store) -> None:
        for schedule in schedules:
            await store.upsert_schedule(schedule)

    driver.call(keep_all)


def fire(driver: StoreDriver, schedule: Schedule, job_id: str, *, coming: float) -> None:
    """Submit a schedule's job now; the next run is in `coming` seconds."""
    (record,) = driver.call(lambda store: store.list_schedules()).records
    now = time.time()
    spec = JobSpec(id=job_id, task=schedule.spec.task)
    firing = ScheduleTick(name=schedule.name, previous=record.last, at=now, next=now + coming, specs=(spec,))
    assert driver.call(lambda store: store.fire(firing))


def test_the_list_shows_when_each_schedule_runs_and_what_it_submits(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, STOCKS, PULSE)
    result = sidelane("schedules")
    assert result.exit_code == 0
    pulse, stocks = result.stdout.splitlines()[1:]
    assert "every 5 min" in pulse
    assert "0 6 * * *  Asia/Seoul" in stocks
    assert "every day at 06:00" in stocks
    assert "refresh" in stocks
    assert "skipped" in stocks
    assert "never" in stocks


def test_the_next_run_is_computed_if_the_store_does_not_have_it(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, STOCKS)
    (record,) = driver.call(lambda store: store.list_schedules()).records
    assert not record.next
    (document,) = sidelane("schedules", "--json").json
    assert document["next"].endswith("T21:00:00.000Z")
    assert document["last"] is None
    assert document["enabled"] is True


def test_the_last_run_is_shown_with_its_job(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, PULSE)
    fire(driver, PULSE, "fired", coming=120.0)
    result = sidelane("schedules")
    assert "fired" in result.stdout
    assert "just now" in result.stdout
    assert "in 2 min" in result.stdout or "in 1 min" in result.stdout
    (document,) = sidelane("schedules", "--json").json
    assert document["job"] == "fired"
    assert document["last"] is not None


def test_an_overdue_run_is_reported(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, PULSE)
    fire(driver, PULSE, "fired", coming=-120.0)
    result = sidelane("schedules")
    assert "overdue, 2 min ago" in result.stdout
    assert "need a process that has the store open" in result.stderr


def test_a_disabled_schedule_has_no_next_run(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, PULSE)
    assert sidelane("schedules", "disable", "pulse").stdout == "✓ pulse  disabled\n"
    assert "disabled" in sidelane("schedules").stdout
    (document,) = sidelane("schedules", "--json").json
    assert (document["enabled"], document["next"]) == (False, None)
    assert sidelane("schedules", "enable", "pulse").stdout == "✓ pulse  enabled\n"
    (document,) = sidelane("schedules", "--json").json
    assert document["enabled"]
    assert document["next"] is not None


def test_run_submits_the_job_now_and_prints_its_id(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, PULSE)
    result = sidelane("schedules", "run", "pulse")
    assert result.exit_code == 0
    record = driver.record(result.stdout.strip())
    assert (record.spec.task, record.spec.arguments, record.state) == ("refresh", SPEC.arguments, State.QUEUED)
    (after,) = driver.call(lambda store: store.list_schedules()).records
    assert after.job is None
    assert sidelane("schedules", "run", "pulse", "--json").json["task"] == "refresh"


def test_run_warns_if_the_last_job_is_unfinished(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, Schedule(name="pulse", spec=replace(SPEC, unique="pulse"), every=300.0))
    first = sidelane("schedules", "run", "pulse")
    second = sidelane("schedules", "run", "pulse")
    assert second.stdout == first.stdout
    assert "nothing was submitted" in second.stderr
    assert first.stderr == ""


def test_a_rejected_run_prints_the_reason(driver: StoreDriver, sidelane: Command) -> None:
    limit = Limit(name="refresh", key="all", max=1)
    keep(driver, Schedule(name="pulse", spec=replace(SPEC, limits=(limit,)), every=300.0))
    assert sidelane("schedules", "run", "pulse").exit_code == 0
    result = sidelane("schedules", "run", "pulse")
    assert result.exit_code == 1
    assert "'refresh' is reached" in result.stderr


def test_a_forgotten_schedule_is_deleted(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, PULSE, STOCKS)
    assert sidelane("schedules", "forget", "pulse").stdout == "✓ pulse  forgotten\n"
    assert [schedule["name"] for schedule in sidelane("schedules", "--json").json] == ["stocks"]


def test_an_unknown_schedule_exits_with_4(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, PULSE)
    for verb in ("enable", "disable", "run", "forget"):
        result = sidelane("schedules", verb, "plse")
        assert result.exit_code == 4, verb
        assert "no such schedule" in result.stderr or "no schedule 'plse'" in result.stderr
    result = sidelane("schedules", "disable", "plse", "pulse", "--json")
    assert result.exit_code == 4
    assert [(answer["name"], answer["done"]) for answer in json.loads(result.stdout)] == [
        ("plse", False),
        ("pulse", True),
    ]


def test_an_empty_list_names_the_store(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("schedules")
    assert (result.exit_code, result.stdout) == (0, "")
    assert driver.url in result.stderr


def test_the_list_fits_a_narrow_terminal(driver: StoreDriver, sidelane: Command) -> None:
    keep(driver, STOCKS, PULSE)
    narrow = sidelane("schedules", env={"COLUMNS": "80"})
    assert max(len(line) for line in narrow.stdout.splitlines()) <= 80
    assert "0 6 * * *  Asia/Seoul" in narrow.stdout
    assert "NEXT" in narrow.stdout
