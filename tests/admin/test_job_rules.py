"""Findings about jobs, from facts."""

import shlex

import pytest

from sidelane.model.history import Count
from sidelane.model.job import JobSpec, Lease
from sidelane.model.schedule import Schedule, ScheduleRecord
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK
from tests.admin.facts import NOW, cell, failed, find, only, queue, running, runs

STOCK = "KeyError: 'stock_code'"


def test_dead_letters_are_grouped_by_cause_and_release() -> None:
    records = [failed(f"job-{n}", STOCK, release="2f91c0d", ago=100.0 + n, user=f"u{n % 3}") for n in range(12)]
    found = only(failed=records, day=[cell({}, release="2f91c0d"), cell({}, release="8ac11e0")])
    assert str(found.sentence) == f"12 dead letters of one cause: {STOCK} in answer v2, only on release 2f91c0d"
    assert found.since == NOW - 111
    assert "Users: 3." in found.evidence_text
    assert str(found.action.text) == "Review and requeue 12"
    assert (
        found.action.command
        == "sidelane dead list --task answer --error 'KeyError: '\"'\"'stock_code'\"'\"'' --since 1d"
    )


def test_a_cause_on_two_releases_is_two_findings() -> None:
    new, old = find(
        failed=[failed("a", STOCK, release="2f91c0d"), failed("b", STOCK, release="8ac11e0"), failed("c", STOCK)],
    )[:2]
    assert "only on" not in str(new.sentence) + str(old.sentence)
    assert "2 more of this cause ran on other releases." in new.evidence_text


def test_numbers_in_errors_do_not_split_a_group() -> None:
    records = [failed(f"job-{n}", f"TimeoutError: no answer of 10.0.0.{n} in {n} s") for n in range(5)]
    found = only(failed=records)
    assert str(found.sentence).startswith("5 dead letters of one cause: TimeoutError: no answer of 10.0.0.")
    assert "--error 'TimeoutError: no answer of'" in found.action.command


def test_the_command_for_a_long_error_finds_its_jobs() -> None:
    error = f"ValueError: {'much too long ' * 20}"
    found = only(failed=[failed("a", error)])
    assert "…" in str(found.sentence)
    searched = shlex.split(found.action.command)[6]
    assert searched.startswith("ValueError: much")
    assert searched in error


def test_the_key_of_a_group_stays_the_same_when_more_jobs_fail() -> None:
    first = only(failed=[failed("a", STOCK)])
    assert only(failed=[failed("a", STOCK), failed("b", STOCK)]).key == first.key


def test_old_dead_letters_are_no_finding() -> None:
    assert find(failed=[failed("a", STOCK, ago=90_000.0)]) == []


def test_a_thousand_causes_are_twenty_findings() -> None:
    names = [f"Error{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
    assert len(find(failed=[failed(name, f"{name}: gone") for name in names])) == 20


def test_a_poison_job_is_named_with_its_losses() -> None:
    found = only(running=[running("01a2", started=NOW - 9, worker_losses=2, isolated=True)])
    assert str(found.sentence) == "Job 01a2 (answer) has cost 2 workers"
    assert "runs isolated now; 1 start is left to it" in found.evidence_text
    assert found.action.command == "sidelane jobs cancel 01a2"
    assert find(running=[running("01a2", started=NOW - 9, worker_losses=1)]) == []


def test_isolated_jobs_that_wait_are_found() -> None:
    found = only(queues=[queue(ready=2, isolated=2)])
    assert str(found.sentence) == "2 jobs of queue chat have cost several workers"


def test_an_attempt_that_is_silent_for_far_longer_than_usual_is_found() -> None:
    day = [cell(runs(30.0, 50, first_event=2.0, events=5000))]
    record = running("c01d", started=NOW - 400, last_event=NOW - 372.0)
    found = only(running=[record, running("fine", started=NOW - 400, last_event=NOW - 5)], day=day)
    assert str(found.sentence).startswith(
        "Job c01d (answer) has sent nothing for 6 min 12 s; 99 % send something within "
    )
    assert found.since == NOW - 372
    assert found.action.command == "sidelane jobs cancel c01d"
    assert (found.action.page, found.action.does, found.action.target) == ("jobs/c01d/cancel", "job.cancel", "c01d")


def test_events_of_an_earlier_attempt_do_not_count() -> None:
    day = [cell(runs(30.0, 50, first_event=2.0, events=5000))]
    assert find(running=[running("new", started=NOW - 20, last_event=NOW - 3000)], day=day) == []


def test_a_task_that_never_sends_is_compared_with_its_whole_run() -> None:
    day = [cell(runs(240.0, 50))]
    assert find(running=[running("long", started=NOW - 500)], day=day) == []
    found = only(running=[running("stuck", started=NOW - 1000)], day=day)
    assert "99 % end within" in str(found.sentence)


def test_a_task_that_sends_once_and_then_works_for_long_is_not_silent() -> None:
    day = [cell(runs(300.0, 50, first_event=0.5, events=50))]
    assert find(running=[running("works", started=NOW - 290, last_event=NOW - 289)], day=day) == []


@pytest.mark.parametrize("day", [[], [cell(runs(5.0, 19))], [cell(runs(5000.0, 50))]], ids=["new", "few", "unbounded"])
def test_without_knowing_what_is_usual_no_attempt_is_silent(day: list[object]) -> None:
    assert find(running=[running("any", started=NOW - 7200)], day=day) == []


def test_external_workers_need_not_send_events() -> None:
    record = running("outside", started=NOW - 7200, external_lease=Lease("outside", 1, "n"))
    assert find(running=[record], day=[cell(runs(5.0, 50))]) == []


def test_several_silent_attempts_of_a_task_are_one_finding() -> None:
    day = [cell(runs(5.0, 50))]
    found = only(running=[running(f"job-{n}", started=NOW - 600 - n) for n in range(30)], day=day)
    assert str(found.sentence).startswith("30 jobs of answer have sent nothing for up to 10 min 29 s")
    assert found.action.command == "sidelane jobs cancel job-29"


def test_callbacks_that_fail_and_back_up_are_found() -> None:
    tries = cell({Count.RETRIED: 11, Count.FAILED: 1, Count.SUCCEEDED: 2}, queue=CALLBACK_QUEUE, task=CALLBACK_TASK)
    waiting = queue(CALLBACK_QUEUE, ready=120, delayed=11, oldest=150.0)
    behind, failing = find(recent=[tries], queues=[waiting])[::-1]
    assert str(failing.sentence) == "Callbacks fail: 12 of 14 tries in 5 min"
    assert str(behind.sentence) == "120 callbacks are due and wait for a worker, the oldest for 2 min 30 s"
    mostly = cell({Count.RETRIED: 4, Count.SUCCEEDED: 200}, queue=CALLBACK_QUEUE, task=CALLBACK_TASK)
    assert find(recent=[mostly]) == []


def test_callbacks_that_failed_for_good_are_grouped_by_receiver() -> None:
    records = [failed(f"cb-{n}", "NotDelivered: 503", task=CALLBACK_TASK, user="be.example.com:443") for n in range(8)]
    found = only(failed_callbacks=records)
    assert str(found.sentence) == "8 callbacks to be.example.com:443 failed for good in the last 24 h"
    assert found.action.command == "sidelane dead requeue --all --task sidelane.callback --user be.example.com:443"


def test_a_schedule_that_missed_its_time_is_found_unless_it_is_disabled() -> None:
    schedule = Schedule(name="nightly-report", spec=JobSpec(id="t", task="report"), every=3600.0)
    missed = ScheduleRecord(schedule=schedule, enabled=True, last=NOW - 4320, next=NOW - 720)
    found = only(schedules=[missed])
    assert str(found.sentence) == "Schedule nightly-report has not run: its last time passed 12 min ago"
    assert (found.since, found.action.command) == (NOW - 720, "sidelane schedules run nightly-report")
    assert (found.action.page, found.action.does) == ("schedules/nightly-report/run", "schedule.run")
    disabled = ScheduleRecord(schedule=schedule, enabled=False, last=NOW - 4320, next=None)
    due = ScheduleRecord(schedule=schedule, enabled=True, last=NOW - 3600, next=NOW - 20)
    assert find(schedules=[disabled, due]) == []
