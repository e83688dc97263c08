"""`sidelane dead`: list, show, requeue and purge dead letters."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sidelane.model.job import Failure, FollowUp, JobSpec, State, Tombstone
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver

BUSY = Failure(
    problem=Problem(status=502, detail="The model is busy."),
    error="APIError: 429 over quota",
    traceback="Traceback: line 7\nAPIError: 429 over quota",
)
BROKEN = Failure(
    problem=Problem(status=500, title="Task failed"), error="KeyError: 'voice'", traceback="Traceback: line 9"
)


def ids(sidelane: Command, *arguments: str) -> list[str]:
    return [job["id"] for job in sidelane("dead", "--json", *arguments).json]


def test_dead_letters_are_listed_newest_first(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("first", BUSY)
    driver.fail("second", BROKEN)
    driver.finish(driver.claim(driver.submit("well")), Succeeded("1"))
    driver.finish(driver.claim(driver.submit("again")), Retried(BUSY, 60.0))
    result = sidelane("dead")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["second", "first"]
    assert sidelane("dead", "list").stdout == result.stdout


def test_the_list_shows_the_internal_error_of_each(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("first", BUSY)
    driver.fail("second", BROKEN)
    result = sidelane("dead")
    assert "APIError: 429 over quota" in result.stdout
    assert "KeyError: 'voice'" in result.stdout


def test_a_job_that_expired_after_a_failure_shows_the_expiry(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("late", deadline=1.5)
    driver.finish(driver.claim("late"), Retried(BUSY, 0.0))
    time.sleep(1.5)  # the store's clock counts
    driver.call(lambda store: store.sweep(lease=60.0))
    result = sidelane("dead")
    assert "504" in result.stdout
    assert "over quota" not in result.stdout


def test_the_list_can_be_filtered_by_every_option(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY, user="ann", labels={"team": "red"})
    driver.fail("two", BROKEN, task="analyse", queue="gpu")
    filters = [
        (["--user", "ann"], ["one"]),
        (["--label", "team=red"], ["one"]),
        (["--label", "team=blue"], []),
        (["--task", "analyse"], ["two"]),
        (["--queue", "gpu"], ["two"]),
        (["--error", "OVER quota"], ["one"]),
        (["--error", "model is busy"], ["one"]),
        (["--error", "keyerror"], ["two"]),
        (["--error", "502"], ["one"]),
        (["--since", "1h"], ["two", "one"]),
        (["--since", "2099-01-01"], []),
        (["--until", "2099-01-01"], ["two", "one"]),
        (["--until", "1h"], []),
        (["--limit", "1"], ["two"]),
    ]
    for arguments, expected in filters:
        assert ids(sidelane, *arguments) == expected, arguments


def test_filters_search_beyond_the_first_page(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("old", BROKEN)
    fail_many(driver, 230)
    assert ids(sidelane, "--error", "voice", "--limit", "1") == ["old"]
    assert len(ids(sidelane, "--limit", "215")) == 215


def test_an_invalid_time_is_a_usage_error(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    result = sidelane("dead", "--since", "yesterday-ish")
    assert result.exit_code == 2
    assert "yesterday-ish" in result.stderr


def test_an_empty_list_names_the_store(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("dead")
    assert (result.exit_code, result.stdout) == (0, "")
    assert driver.url in result.stderr


def test_show_prints_each_failure_with_attempt_time_error_and_traceback(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    driver.finish(driver.claim("one"), Retried(BROKEN))
    driver.finish(driver.claim("one"), Failed(BUSY))
    result = sidelane("dead", "show", "one")
    assert result.exit_code == 0
    year = str(time.localtime().tm_year)
    for attempt, failure in ((1, BROKEN), (2, BUSY)):
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"  attempt {attempt} ")]
        assert failure.error in line
        assert f"({year}-" in line
    assert "line 7" in result.stdout
    assert "line 9" in result.stdout
    history = sidelane("dead", "show", "one", "--json").json["history"]
    assert [(failure["attempt"], failure["error"]) for failure in history] == [(1, BROKEN.error), (2, BUSY.error)]


def test_show_warns_if_a_job_is_not_a_dead_letter(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert "not a dead letter: the job is queued" in sidelane("dead", "show", "one").stderr
    assert sidelane("dead", "show", "nothing").exit_code == 4


def test_requeue_resets_the_retry_budget(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    assert sidelane("dead", "requeue", "one").stdout == "✓ one  requeued\n"
    record = driver.record("one")
    assert (record.state, record.failures) == (State.QUEUED, 0)


def test_requeue_leaves_other_jobs_unchanged(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("dead", BUSY)
    driver.finish(driver.claim(driver.submit("well")), Succeeded("1"))
    result = sidelane("dead", "requeue", "well", "dead", "nothing", "--json")
    assert result.exit_code == 4
    assert [(answer["id"], answer["done"]) for answer in result.json] == [
        ("well", False),
        ("dead", True),
        ("nothing", False),
    ]
    assert "the job has succeeded" in result.json[0]["message"]
    assert driver.record("well").state is State.SUCCEEDED


def test_a_rejected_requeue_prints_the_reason(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("old", BUSY, unique="report")
    driver.submit("new", unique="report")
    result = sidelane("dead", "requeue", "old")
    assert result.exit_code == 1
    assert "not requeued" in result.stderr
    assert "new" in result.stderr


@pytest.mark.row("R11")
def test_requeue_all_applies_the_filters_across_pages(driver: StoreDriver, sidelane: Command) -> None:
    fail_many(driver, 230)
    driver.fail("other", BROKEN)
    result = sidelane("dead", "requeue", "--all", "--error", "quota", "--yes")
    assert result.exit_code == 0
    assert result.stdout == "✓ 230 dead letters requeued\n"
    assert ids(sidelane) == ["other"]


def test_a_rejected_requeue_does_not_stop_requeue_all(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    driver.fail("old", BUSY, unique="report")
    driver.submit("new", unique="report")
    driver.fail("two", BUSY)
    result = sidelane("dead", "requeue", "--all", "--yes", "--json")
    assert result.exit_code == 1
    assert (result.json["done"], result.json["failed"]) == (2, 1)
    assert [note["id"] for note in result.json["notes"]] == ["old"]


def test_all_requires_yes_without_a_terminal(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    for verb in ("requeue", "purge"):
        result = sidelane("dead", verb, "--all")
        assert result.exit_code == 2
        assert "1 dead letter" in result.stderr
        assert "--yes" in result.stderr
    assert ids(sidelane) == ["one"]


@pytest.mark.system
@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, []), ("n\n", 1, ["one"])])
def test_all_asks_for_confirmation_on_a_terminal(
    driver: StoreDriver, sidelane: Command, project: Project, answer: str, code: int, left: list[str]
) -> None:
    driver.fail("one", BUSY)
    purging = project.start_on_terminal("dead", "purge", "--all")
    purging.wait_for("Permanently delete 1 dead letter? [y/N]")
    purging.type(answer)
    assert purging.exit_code() == code
    assert ids(sidelane) == left


def test_ids_and_all_are_mutually_exclusive(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    for arguments in ([], ["one", "--all"], ["one", "--task", "message"], ["--task", "message"]):
        assert sidelane("dead", "requeue", *arguments, "--yes").exit_code == 2, arguments
    assert ids(sidelane) == ["one"]


def test_requeue_with_new_arguments(driver: StoreDriver, sidelane: Command, project: Project) -> None:
    driver.fail("one", BUSY)
    driver.fail("two", BUSY)
    assert sidelane("dead", "requeue", "one", "--input", '{"question": "How?"}').exit_code == 0
    assert json.loads(driver.record("one").spec.arguments) == {"question": "How?"}
    file = project.write("input.json", '{"question": "Grüße"}')
    assert sidelane("dead", "requeue", "two", "--input", f"@{file}").exit_code == 0
    assert json.loads(driver.record("two").spec.arguments) == {"question": "Grüße"}


def test_new_arguments_must_be_a_json_object_for_one_job(
    driver: StoreDriver, sidelane: Command, tmp_path: Path
) -> None:
    driver.fail("one", BUSY)
    driver.fail("two", BUSY)
    for arguments in (
        ["one", "two", "--input", "{}"],
        ["--all", "--yes", "--input", "{}"],
        ["one", "--input", "[1]"],
        ["one", "--input", "{"],
        ["one", "--input", '{"question": NaN}'],
        ["one", "--input", f"@{tmp_path / 'nothing.json'}"],
    ):
        assert sidelane("dead", "requeue", *arguments).exit_code == 2, arguments
    assert ids(sidelane) == ["two", "one"]


@pytest.mark.usefixtures("modules")
def test_new_arguments_are_checked_against_the_task_if_the_lane_is_given(
    driver: StoreDriver, sidelane: Command
) -> None:
    driver.fail("one", BUSY)
    result = sidelane("dead", "requeue", "one", "--input", '{"qestion": "How?"}', "--lane", "shop.lane:lane")
    assert result.exit_code == 1
    assert "does not fit task 'answer': question: Field required" in result.stderr
    assert ids(sidelane) == ["one"]
    assert (
        sidelane("dead", "requeue", "one", "--input", '{"question": "How?"}', "--lane", "shop.lane:lane").exit_code == 0
    )
    assert json.loads(driver.record("one").spec.arguments) == {"question": "How?"}


@pytest.mark.usefixtures("modules")
def test_new_arguments_may_omit_placeholders(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY, arguments="{}", placeholders={"question": "result"})
    assert sidelane("dead", "requeue", "one", "--input", "{}", "--lane", "shop.lane:lane").exit_code == 0


@pytest.mark.usefixtures("modules")
def test_arguments_of_an_unknown_task_cannot_be_checked(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY, task="sing")
    result = sidelane("dead", "requeue", "one", "--input", "{}", "--lane", "shop.lane:lane")
    assert result.exit_code == 1
    assert "no task 'sing'" in result.stderr
    assert ids(sidelane) == ["one"]


def test_purge_deletes_dead_letters_with_their_logs(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    driver.fail("two", BUSY)
    assert sidelane("dead", "purge", "one", "--yes").stdout == "✓ one  purged\n"
    assert isinstance(driver.call(lambda store: store.get(["one"]))[0], Tombstone)
    assert sidelane("dead", "purge", "one", "--yes").exit_code == 4
    assert sidelane("dead", "purge", "--all", "--yes").stdout == "✓ 1 dead letter purged\n"
    assert ids(sidelane) == []


def test_purge_by_id_requires_confirmation_too(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", BUSY)
    assert sidelane("dead", "purge", "one").exit_code == 2
    assert ids(sidelane) == ["one"]


def test_purge_keeps_a_job_with_unfinished_follow_ups(driver: StoreDriver, sidelane: Command) -> None:
    follow_up = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="notify", queue="mail"))
    driver.fail("one", BUSY, follow_ups=(follow_up,))
    result = sidelane("dead", "purge", "one", "--yes")
    assert result.exit_code == 1
    assert "a job that it started is still unfinished" in result.stderr
    assert ids(sidelane) == ["one"]


def test_many_errors_are_summarized(driver: StoreDriver, sidelane: Command) -> None:
    follow_up = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="notify", queue="mail"))
    fail_many(driver, 25, follow_ups=(follow_up,))
    result = sidelane("dead", "purge", "--all", "--yes")
    assert result.exit_code == 1
    assert result.stdout == "✓ 0 dead letters purged, 25 refused\n"
    assert result.stderr.count("not purged: ") == 20
    assert "5 more were not purged" in result.stderr


def fail_many(driver: StoreDriver, count: int, **fields: Any) -> None:
    """Create `count` dead letters."""
    specs = [JobSpec(id=f"many-{number}", task="answer", queue="chat", **fields) for number in range(count)]
    driver.fail_all(specs, BUSY)


def test_causes_are_grouped_by_release_most_jobs_first(driver: StoreDriver, sidelane: Command) -> None:
    for number in range(3):
        driver.fail(f"busy-{number}", BUSY)
    driver.fail("broken", BROKEN)
    busy, broken = sidelane("dead", "--group", "--json").json
    assert (busy["jobs"], busy["error"], busy["task"]) == (3, "APIError: 429 over quota", "answer")
    assert (broken["jobs"], broken["newest"]) == (1, "broken")
    result = sidelane("dead", "list", "--group", env={"COLUMNS": "80"})
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [[busy["key"], "3"], [broken["key"], "1"]]
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert ids(sidelane, "--cause", busy["key"]) == ["busy-2", "busy-1", "busy-0"]
    assert ids(sidelane, "--cause", busy["key"], "--limit", "1") == ["busy-2"]
    assert "No matching dead letter" in sidelane("dead", "--cause", "gone").stderr
    assert "No matching dead letter" in sidelane("dead", "--group", "--task", "gone").stderr
