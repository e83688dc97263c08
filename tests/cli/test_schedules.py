"""`sidelane schedules`: list, enable, disable, run and forget what fires by itself."""

import json
import time
from dataclasses import replace

from sidelane.model.job import JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.schedule import Schedule, ScheduleTick
from sidelane.stores.contract import Store
from tests.cli.command import Command
from tests.cli.shelf import Shelf

SPEC = JobSpec(id="", task="refresh", queue="chat", arguments='{"market":"KR"}')
STOCKS = Schedule(name="stocks", spec=SPEC, cron="0 6 * * *", timezone="Asia/Seoul", catch_up="skip")
PULSE = Schedule(name="pulse", spec=SPEC, every=300.0)


def keep(shelf: Shelf, *schedules: Schedule) -> None:
    async def keep_all(store: Store) -> None:
        for schedule in schedules:
            await store.upsert_schedule(schedule)

    shelf.call(keep_all)


def fire(shelf: Shelf, schedule: Schedule, job_id: str, *, coming: float) -> None:
    """Have a schedule fire now, and the next time in so many seconds."""
    (record,) = shelf.call(lambda store: store.list_schedules()).records
    now = time.time()
    spec = JobSpec(id=job_id, task=schedule.spec.task)
    firing = ScheduleTick(name=schedule.name, previous=record.last, at=now, next=now + coming, specs=(spec,))
    assert shelf.call(lambda store: store.fire(firing))


def test_a_schedule_is_told_by_when_it_fires_and_what_it_submits(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, STOCKS, PULSE)
    said = sidelane("schedules")
    assert said.code == 0
    pulse, stocks = said.out.splitlines()[1:]
    assert "every 5 min" in pulse
    assert "0 6 * * *  Asia/Seoul" in stocks
    assert "At 06:00 every day" in stocks
    assert "refresh" in stocks
    assert "skipped" in stocks
    assert "never" in stocks


def test_the_next_firing_is_worked_out_where_nobody_has_done_so(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, STOCKS)
    (record,) = shelf.call(lambda store: store.list_schedules()).records
    assert not record.next
    (document,) = sidelane("schedules", "--json").json
    assert document["next"].endswith("T21:00:00.000Z")
    assert document["last"] is None
    assert document["enabled"] is True


def test_the_last_firing_is_told_with_its_job(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, PULSE)
    fire(shelf, PULSE, "fired", coming=120.0)
    said = sidelane("schedules")
    assert "fired" in said.out
    assert "just now" in said.out
    assert "in 2 min" in said.out or "in 1 min" in said.out
    (document,) = sidelane("schedules", "--json").json
    assert document["job"] == "fired"
    assert document["last"] is not None


def test_a_firing_that_nobody_sees_to_is_pointed_out(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, PULSE)
    fire(shelf, PULSE, "fired", coming=-120.0)
    said = sidelane("schedules")
    assert "overdue, 2 min ago" in said.out
    assert "waits for a process that has the store open" in said.err


def test_a_disabled_schedule_has_no_next_firing_until_it_is_enabled(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, PULSE)
    assert sidelane("schedules", "disable", "pulse").out == "✓ pulse  disabled\n"
    assert "disabled" in sidelane("schedules").out
    (document,) = sidelane("schedules", "--json").json
    assert (document["enabled"], document["next"]) == (False, None)
    assert sidelane("schedules", "enable", "pulse").out == "✓ pulse  enabled\n"
    (document,) = sidelane("schedules", "--json").json
    assert document["enabled"]
    assert document["next"] is not None


def test_run_submits_its_job_now_and_prints_the_id(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, PULSE)
    said = sidelane("schedules", "run", "pulse")
    assert said.code == 0
    record = shelf.record(said.out.strip())
    assert (record.spec.task, record.spec.arguments, record.state) == ("refresh", SPEC.arguments, State.QUEUED)
    (after,) = shelf.call(lambda store: store.list_schedules()).records
    assert after.job is None
    assert sidelane("schedules", "run", "pulse", "--json").json["task"] == "refresh"


def test_a_run_says_when_the_last_job_is_still_there(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, Schedule(name="pulse", spec=replace(SPEC, unique="pulse"), every=300.0))
    first = sidelane("schedules", "run", "pulse")
    second = sidelane("schedules", "run", "pulse")
    assert second.out == first.out
    assert "nothing was submitted" in second.err
    assert first.err == ""


def test_a_run_that_is_refused_says_why(shelf: Shelf, sidelane: Command) -> None:
    limit = Limit(name="refresh", key="all", most=1)
    keep(shelf, Schedule(name="pulse", spec=replace(SPEC, limits=(limit,)), every=300.0))
    assert sidelane("schedules", "run", "pulse").code == 0
    said = sidelane("schedules", "run", "pulse")
    assert said.code == 1
    assert "'refresh' is reached" in said.err


def test_a_forgotten_schedule_is_gone(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, PULSE, STOCKS)
    assert sidelane("schedules", "forget", "pulse").out == "✓ pulse  forgotten\n"
    assert [schedule["name"] for schedule in sidelane("schedules", "--json").json] == ["stocks"]


def test_an_unknown_schedule_has_the_exit_code_of_what_is_not_there(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, PULSE)
    for verb in ("enable", "disable", "run", "forget"):
        said = sidelane("schedules", verb, "plse")
        assert said.code == 4, verb
        assert "no such schedule" in said.err or "no schedule 'plse'" in said.err
    said = sidelane("schedules", "disable", "plse", "pulse", "--json")
    assert said.code == 4
    assert [(answer["name"], answer["done"]) for answer in json.loads(said.out)] == [("plse", False), ("pulse", True)]


def test_where_there_is_no_schedule_it_says_where_it_looked(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("schedules")
    assert (said.code, said.out) == (0, "")
    assert shelf.url in said.err


def test_a_list_fits_a_narrow_terminal(shelf: Shelf, sidelane: Command) -> None:
    keep(shelf, STOCKS, PULSE)
    narrow = sidelane("schedules", env={"COLUMNS": "80"})
    assert max(len(line) for line in narrow.out.splitlines()) <= 80
    assert "0 6 * * *  Asia/Seoul" in narrow.out
    assert "NEXT" in narrow.out
