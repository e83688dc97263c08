"""Which jobs a command means: by states and views, by shortened ids, or all that match filters."""

import pytest

from sidelane.admin.job_ids import PAGE_SIZE
from sidelane.model.job import Failure, JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Failed, Retried
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver

FAILURE = Failure(problem=Problem(status=502, detail="The model is busy."), error="APIError: 429")

FIRST, SECOND = "01a201284267874d818ba834ade77e48", "01a201284267d57ff21ff7ddc225a902"


@pytest.fixture
def views(driver: StoreDriver) -> StoreDriver:
    """A store with a job in each of several states and views, whose id is the view."""
    limit = Limit(name="answer", key="ann", max=1, on_limit="wait")
    driver.claim(driver.submit("running", limits=(limit,)))
    driver.submit("waiting-for-limit", limits=(limit,))
    driver.try_claim("waiting-for-limit")
    driver.submit("scheduled", delay=600.0)
    driver.finish(driver.claim(driver.submit("retrying")), Retried(FAILURE, 600.0))
    driver.submit("queued")
    driver.fail("failed", FAILURE)
    return driver


def listed(sidelane: Command, *arguments: str) -> set[str]:
    return {job["id"] for job in sidelane("jobs", "--json", *arguments).json}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["retrying"], {"retrying"}),
        (["waiting-for-limit"], {"waiting-for-limit"}),
        (["waiting for limit", "scheduled"], {"waiting-for-limit", "scheduled"}),
        (["queued"], {"queued", "scheduled", "retrying", "waiting-for-limit"}),
        (["running", "retrying"], {"running", "retrying"}),
        (["failed"], {"failed"}),
        (["cancelling"], set()),
    ],
)
def test_a_state_option_takes_every_view_that_lists_show(
    views: StoreDriver, sidelane: Command, states: list[str], expected: set[str]
) -> None:
    options = [option for state in states for option in ("--state", state)]
    assert listed(sidelane, *options) == expected


def test_an_unknown_state_is_refused_with_those_that_exist(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "--state", "stuck")
    assert result.exit_code == 2
    assert "waiting-for-limit" in result.stderr


def test_views_are_found_among_more_jobs_than_one_page(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("scheduled", delay=600.0)
    specs = [JobSpec(id=f"job-{number}", task="answer", queue="chat") for number in range(PAGE_SIZE + 1)]
    driver.call(lambda store: store.submit(specs))
    assert listed(sidelane, "--state", "scheduled", "--limit", "1") == {"scheduled"}


def test_an_id_can_be_shortened_to_a_unique_prefix(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit(FIRST)
    driver.finish(driver.claim(driver.submit(SECOND)), Failed(FAILURE))
    assert sidelane("jobs", "show", FIRST[:13], "--json").json["id"] == FIRST
    assert sidelane("dead", "show", SECOND[:13], "--json").json["id"] == SECOND
    assert sidelane("jobs", "cancel", FIRST[:13]).stdout == f"✓ {FIRST}  cancelled\n"
    assert sidelane("jobs", "watch", FIRST[:13]).exit_code == 5
    assert sidelane("dead", "requeue", SECOND[:13]).stdout == f"✓ {SECOND}  requeued\n"
    assert sidelane("callbacks", "show", SECOND[:13], "--json").json == []


def test_an_ambiguous_prefix_lists_the_jobs_and_changes_none(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit(FIRST)
    driver.submit(SECOND)
    result = sidelane("jobs", "cancel", FIRST[:12])
    assert result.exit_code == 1
    assert f"{FIRST}  queued  answer" in result.stderr
    assert f"{SECOND}  queued  answer" in result.stderr
    assert driver.record(FIRST).state is State.QUEUED


def test_a_whole_id_that_begins_another_one_is_that_job(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("order-1")
    driver.submit("order-12")
    assert sidelane("jobs", "show", "order-1", "--json").json["id"] == "order-1"


def test_a_prefix_below_six_characters_is_an_id(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit(FIRST)
    assert sidelane("jobs", "show", FIRST[:5]).exit_code == 4


def test_all_matching_jobs_are_cancelled_after_a_confirmation(views: StoreDriver, project: Project) -> None:
    asking = project.start_on_terminal("jobs", "cancel", "--all", "--state", "queued", "--task", "answer")
    asking.wait_for("Cancel 4 jobs (task answer; state queued)?")
    views.submit("later")
    asking.type("y\n")
    assert asking.exit_code() == 0
    assert "4 jobs cancelled" in asking.output
    assert views.record("retrying").state is State.CANCELLED
    assert views.record("running").state is State.RUNNING
    assert views.record("later").state is State.QUEUED  # it was not counted in the question


def test_yes_cancels_all_matching_jobs_without_a_question(views: StoreDriver, sidelane: Command) -> None:
    assert sidelane("jobs", "cancel", "--all", "--user", "nobody", "--yes").stderr.startswith("No matching job")
    assert "--yes" in sidelane("jobs", "cancel", "--all").stderr
    views.submit("one", task="sidelane.callback", queue="sidelane.callbacks")
    result = sidelane("jobs", "cancel", "--all", "--yes")
    assert result.stdout == "✓ 5 jobs cancelled or asked to stop\n"
    assert views.record("failed").state is State.FAILED
    assert views.record("one").state is State.QUEUED  # internal jobs only by their own names
    again = sidelane("jobs", "cancel", "--all", "--yes", "--json").json
    assert (again["action"], again["captured"], again["done"], again["state"]) == ("cancel", 1, 1, "done")


def test_finished_jobs_that_match_are_requeued_and_purged(views: StoreDriver, sidelane: Command) -> None:
    views.fail("old", FAILURE, user="ann")
    views.fail("older", FAILURE, user="bob")
    requeued = sidelane("jobs", "requeue", "--all", "--user", "ann", "--yes", "--reason", "fixed")
    assert requeued.stdout == "✓ 1 job requeued\n"
    assert views.record("old").state is State.QUEUED
    assert sidelane("jobs", "purge", "--all", "--user", "bob", "--yes").stdout == "✓ 1 job purged\n"
    assert sidelane("jobs", "show", "older").exit_code == 4
    line = sidelane("audit", "--json", "--action", "bulk.requeue").json[0]
    assert (line["target"], line["reason"], line["done"]) == ("1 jobs: user ann", "fixed", True)


def test_every_change_by_a_command_leaves_an_audit_line(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    sidelane("queues", "pause", "chat", "--reason", "moves", "--for", "2h")
    sidelane("queues", "resume", "chat")
    sidelane("jobs", "cancel", "one")
    sidelane("jobs", "requeue", "one")
    sidelane("jobs", "cancel", "unknown")
    lines = sidelane("audit", "--json").json
    assert [(line["action"], line["target"], line["done"]) for line in reversed(lines)] == [
        ("queue.pause", "chat", True),
        ("queue.resume", "chat", True),
        ("job.cancel", "one", True),
        ("job.requeue", "one", True),
        ("job.cancel", "unknown", False),
    ]
    assert lines[-1]["reason"] == "moves"
    assert "@" in lines[0]["by"]
    assert "moves" in sidelane("audit", "--action", "queue.pause").stdout


@pytest.mark.parametrize("arguments", [[], ["one", "--all"], ["one", "--task", "answer"], ["--task", "answer"]])
def test_cancel_takes_either_ids_or_all(driver: StoreDriver, sidelane: Command, arguments: list[str]) -> None:
    driver.submit("one")
    assert sidelane("jobs", "cancel", *arguments).exit_code == 2
    assert driver.record("one").state is State.QUEUED
