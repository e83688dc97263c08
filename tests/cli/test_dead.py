"""`sidelane dead`: list, show, requeue and purge the jobs that failed for good."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidelane.model.job import Failure, FollowUp, JobSpec, State, Tombstone
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.shelf import Shelf

BUSY = Failure(
    problem=Problem(status=502, detail="The model is busy."),
    error="APIError: 429 over quota",
    traceback="Traceback: line 7\nAPIError: 429 over quota",
)
MUTE = Failure(
    problem=Problem(status=500, title="Task failed"), error="KeyError: 'voice'", traceback="Traceback: line 9"
)


@pytest.fixture
def modules() -> Iterator[None]:
    """Forget the project's modules after a test that loads its lane."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "shop":
            del sys.modules[name]
    sys.path[:] = path


def ids(sidelane: Command, *arguments: str) -> list[str]:
    return [job["id"] for job in sidelane("dead", "--json", *arguments).json]


def test_dead_letters_are_the_jobs_that_failed_for_good_the_newest_first(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("first", BUSY)
    shelf.fail("second", MUTE)
    shelf.finish(shelf.claim(shelf.submit("well")), Succeeded("1"))
    shelf.finish(shelf.claim(shelf.submit("again")), Retried(BUSY, 60.0))
    said = sidelane("dead")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == ["second", "first"]
    assert sidelane("dead", "list").out == said.out


def test_a_list_says_what_each_failed_of_in_the_words_for_operators(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("first", BUSY)
    shelf.fail("second", MUTE)
    said = sidelane("dead")
    assert "APIError: 429 over quota" in said.out
    assert "KeyError: 'voice'" in said.out


def test_a_job_that_ended_of_something_else_than_its_last_failure_says_that(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("late", deadline=1.5)
    shelf.finish(shelf.claim("late"), Retried(BUSY, 0.0))
    time.sleep(1.5)  # the store's clock counts
    shelf.call(lambda store: store.sweep(lease=60.0))
    said = sidelane("dead")
    assert "504" in said.out
    assert "over quota" not in said.out


def test_a_list_is_filtered_by_everything_a_dead_letter_is_found_by(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY, user="ann", labels={"team": "red"})
    shelf.fail("two", MUTE, task="analyse", queue="gpu")
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


def test_what_is_filtered_here_is_found_however_many_stand_before_it(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("old", MUTE)
    fail_many(shelf, 230)
    assert ids(sidelane, "--error", "voice", "--limit", "1") == ["old"]
    assert len(ids(sidelane, "--limit", "215")) == 215


def test_a_time_that_is_none_is_wrong_usage(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    said = sidelane("dead", "--since", "yesterday-ish")
    assert said.code == 2
    assert "yesterday-ish" in said.err


def test_an_empty_list_says_where_it_looked(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("dead")
    assert (said.code, said.out) == (0, "")
    assert shelf.url in said.err


def test_show_tells_each_failure_with_attempt_time_error_and_traceback(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    shelf.finish(shelf.claim("one"), Retried(MUTE))
    shelf.finish(shelf.claim("one"), Failed(BUSY))
    said = sidelane("dead", "show", "one")
    assert said.code == 0
    year = str(time.localtime().tm_year)
    for attempt, failure in ((1, MUTE), (2, BUSY)):
        (line,) = [line for line in said.out.splitlines() if f"attempt {attempt}" in line]
        assert failure.error in line
        assert f"({year}-" in line
    assert "line 7" in said.out
    assert "line 9" in said.out
    history = sidelane("dead", "show", "one", "--json").json["history"]
    assert [(failure["attempt"], failure["error"]) for failure in history] == [(1, MUTE.error), (2, BUSY.error)]


def test_show_says_when_a_job_is_no_dead_letter(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert "it is no dead letter: it is queued" in sidelane("dead", "show", "one").err
    assert sidelane("dead", "show", "nothing").code == 4


def test_requeue_brings_a_dead_letter_back_with_fresh_budgets(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    assert sidelane("dead", "requeue", "one").out == "✓ one  requeued\n"
    record = shelf.record("one")
    assert (record.state, record.failures) == (State.QUEUED, 0)


def test_requeue_leaves_alone_what_is_no_dead_letter(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("dead", BUSY)
    shelf.finish(shelf.claim(shelf.submit("well")), Succeeded("1"))
    said = sidelane("dead", "requeue", "well", "dead", "nothing", "--json")
    assert said.code == 4
    assert [(answer["id"], answer["done"]) for answer in said.json] == [
        ("well", False),
        ("dead", True),
        ("nothing", False),
    ]
    assert "it has succeeded" in said.json[0]["answer"]
    assert shelf.record("well").state is State.SUCCEEDED


def test_a_requeue_that_the_store_refuses_says_why(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("old", BUSY, unique="report")
    shelf.submit("new", unique="report")
    said = sidelane("dead", "requeue", "old")
    assert said.code == 1
    assert "not requeued" in said.err
    assert "new" in said.err


def test_all_that_the_filters_leave_are_requeued_in_pieces(shelf: Shelf, sidelane: Command) -> None:
    fail_many(shelf, 230)
    shelf.fail("other", MUTE)
    said = sidelane("dead", "requeue", "--all", "--error", "quota", "--yes")
    assert said.code == 0
    assert said.out == "✓ 230 dead letters requeued\n"
    assert ids(sidelane) == ["other"]


def test_refusals_do_not_keep_the_rest_of_all_from_being_requeued(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    shelf.fail("old", BUSY, unique="report")
    shelf.submit("new", unique="report")
    shelf.fail("two", BUSY)
    said = sidelane("dead", "requeue", "--all", "--yes", "--json")
    assert said.code == 1
    assert said.json["requeued"] == 2
    assert [refused["id"] for refused in said.json["refused"]] == ["old"]


def test_all_needs_somebody_to_agree(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    for verb in ("requeue", "purge"):
        said = sidelane("dead", verb, "--all")
        assert said.code == 2
        assert "1 dead letter" in said.err
        assert "--yes" in said.err
    assert ids(sidelane) == ["one"]


@pytest.mark.system
@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, []), ("n\n", 1, ["one"])])
def test_on_a_terminal_all_is_asked_about_first(
    shelf: Shelf, sidelane: Command, project: Project, answer: str, code: int, left: list[str]
) -> None:
    shelf.fail("one", BUSY)
    purging = project.terminal("dead", "purge", "--all")
    purging.says("Forget 1 dead letter for good? [y/N]")
    purging.types(answer)
    assert purging.exit_code() == code
    assert ids(sidelane) == left


def test_ids_and_all_exclude_each_other(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    for arguments in ([], ["one", "--all"], ["one", "--task", "answer"], ["--task", "answer"]):
        assert sidelane("dead", "requeue", *arguments, "--yes").code == 2, arguments
    assert ids(sidelane) == ["one"]


def test_requeue_with_other_arguments(shelf: Shelf, sidelane: Command, project: Project) -> None:
    shelf.fail("one", BUSY)
    shelf.fail("two", BUSY)
    assert sidelane("dead", "requeue", "one", "--input", '{"question": "How?"}').code == 0
    assert json.loads(shelf.record("one").spec.arguments) == {"question": "How?"}
    file = project.write("input.json", '{"question": "Grüße"}')
    assert sidelane("dead", "requeue", "two", "--input", f"@{file}").code == 0
    assert json.loads(shelf.record("two").spec.arguments) == {"question": "Grüße"}


def test_other_arguments_are_for_one_job_and_a_json_object(shelf: Shelf, sidelane: Command, tmp_path: Path) -> None:
    shelf.fail("one", BUSY)
    shelf.fail("two", BUSY)
    for arguments in (
        ["one", "two", "--input", "{}"],
        ["--all", "--yes", "--input", "{}"],
        ["one", "--input", "[1]"],
        ["one", "--input", "{"],
        ["one", "--input", '{"question": NaN}'],
        ["one", "--input", f"@{tmp_path / 'nothing.json'}"],
    ):
        assert sidelane("dead", "requeue", *arguments).code == 2, arguments
    assert ids(sidelane) == ["two", "one"]


@pytest.mark.usefixtures("modules")
def test_with_the_lane_other_arguments_are_checked_against_the_task(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    said = sidelane("dead", "requeue", "one", "--input", '{"qestion": "How?"}', "--lane", "shop.lane:lane")
    assert said.code == 1
    assert "does not fit task 'answer': question: Field required" in said.err
    assert ids(sidelane) == ["one"]
    assert sidelane("dead", "requeue", "one", "--input", '{"question": "How?"}', "--lane", "shop.lane:lane").code == 0
    assert json.loads(shelf.record("one").spec.arguments) == {"question": "How?"}


@pytest.mark.usefixtures("modules")
def test_what_is_filled_in_at_the_start_may_be_left_out_of_other_arguments(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY, arguments="{}", placeholders={"question": "result"})
    assert sidelane("dead", "requeue", "one", "--input", "{}", "--lane", "shop.lane:lane").code == 0


@pytest.mark.usefixtures("modules")
def test_a_task_that_the_lane_does_not_have_cannot_be_checked(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY, task="sing")
    said = sidelane("dead", "requeue", "one", "--input", "{}", "--lane", "shop.lane:lane")
    assert said.code == 1
    assert "no task 'sing'" in said.err
    assert ids(sidelane) == ["one"]


def test_purge_forgets_dead_letters_with_their_logs(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    shelf.fail("two", BUSY)
    assert sidelane("dead", "purge", "one", "--yes").out == "✓ one  forgotten\n"
    assert isinstance(shelf.call(lambda store: store.get(["one"]))[0], Tombstone)
    assert sidelane("dead", "purge", "one", "--yes").code == 4
    assert sidelane("dead", "purge", "--all", "--yes").out == "✓ 1 dead letter forgotten\n"
    assert ids(sidelane) == []


def test_purge_asks_about_named_dead_letters_too(shelf: Shelf, sidelane: Command) -> None:
    shelf.fail("one", BUSY)
    assert sidelane("dead", "purge", "one").code == 2
    assert ids(sidelane) == ["one"]


def test_purge_keeps_what_its_follow_ups_still_need(shelf: Shelf, sidelane: Command) -> None:
    tell = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="tell", queue="mail"))
    shelf.fail("one", BUSY, follow_ups=(tell,))
    said = sidelane("dead", "purge", "one", "--yes")
    assert said.code == 1
    assert "a job that came of it has not ended" in said.err
    assert ids(sidelane) == ["one"]


def test_many_refusals_are_told_as_a_number(shelf: Shelf, sidelane: Command) -> None:
    tell = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="tell", queue="mail"))
    fail_many(shelf, 25, follow_ups=(tell,))
    said = sidelane("dead", "purge", "--all", "--yes")
    assert said.code == 1
    assert said.out == "✓ 0 dead letters forgotten\n"
    assert said.err.count("not forgotten: ") == 20
    assert "5 more were not forgotten" in said.err


def fail_many(shelf: Shelf, count: int, **fields: Any) -> None:
    """Put so many dead letters in the store."""
    specs = [JobSpec(id=f"many-{number}", task="answer", queue="chat", **fields) for number in range(count)]
    shelf.fail_all(specs, BUSY)
