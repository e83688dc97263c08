"""`sidelane queues`: list, pause, resume and drain."""

import re
import signal
from dataclasses import replace

import pytest

from sidelane.model.job import Failure, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import WORKER, StoreDriver

FAILURE = Failure(attempt=1, at=0.0, problem=Problem(status=500), error="KeyError: 'x'")
LIMIT = Limit(name="answer", key="ann", max=1, on_limit="wait")


def test_the_group_without_a_command_accepts_list_options(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert sidelane("queues").stdout.split()[:12] == sidelane("queues", "list").stdout.split()[:12]
    assert [queue["name"] for queue in sidelane("queues", "--json").json] == ["chat"]
    assert "queues [OPTIONS] COMMAND" in sidelane("queues", "--help").stdout


@pytest.mark.row("R11")
def test_a_queue_shows_queued_and_running_jobs(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("running", limits=(LIMIT,)))
    driver.submit("waiting", limits=(LIMIT,))
    driver.try_claim("waiting")
    driver.submit("ready")
    driver.submit("later", delay=600.0)
    driver.heartbeat()
    (queue, _) = sidelane("queues", "list", "--json").json
    counts = {name: queue[name] for name in ("ready", "waiting_for_limit", "delayed", "running")}
    assert counts == {"ready": 1, "waiting_for_limit": 1, "delayed": 1, "running": 1}
    assert queue["oldest"] >= 0
    assert queue["rate"] > 0
    assert queue["workers"] == ["w1"]


def test_a_queue_without_jobs_is_listed_if_it_has_a_worker(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    assert [queue["name"] for queue in sidelane("queues", "--json").json] == ["chat", "gpu"]
    assert sidelane("queues", "pause", "gpu").exit_code == 0


def test_the_list_warns_about_queues_without_a_worker(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", queue="mail")
    result = sidelane("queues")
    assert "none" in result.stdout
    assert "1 job waits in queue 'mail', which no live worker takes" in result.stderr


@pytest.mark.row("R11")
def test_one_queue_is_shown_with_its_users_in_line(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("running", user="ann", limits=(LIMIT,)))
    driver.submit("held", user="ann", limits=(LIMIT,))
    driver.try_claim("held")
    driver.submit("ready", user="bo")
    driver.heartbeat()
    document = sidelane("queues", "show", "chat", "--json").json
    assert (document["slots"], document["held_by"], document["misses_target"]) == (200, ["answer"], False)
    counts = {user["user"]: (user["waiting"], user["held"], user["running"]) for user in document["users"]}
    assert counts == {"ann": (1, 1, 1), "bo": (1, 0, 0)}
    shown = sidelane("queues", "show", "chat", env={"COLUMNS": "80"}).stdout
    assert "held by  answer" in shown
    assert re.search(r"ann +1 +1 +1 +1", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_unknown_queue_cannot_be_shown(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("queues", "show", "chta")
    assert result.exit_code == 4
    assert "no such queue" in result.stderr


def test_no_job_of_a_paused_queue_can_be_claimed(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert sidelane("queues", "pause", "chat").stdout == "✓ chat  paused\n"
    assert "paused" in sidelane("queues").stdout
    assert "sidelane queues resume chat" in sidelane("queues").stderr
    assert driver.try_claim("one") == ()
    assert sidelane("queues", "pause", "chat").stdout == "✓ chat  already paused\n"
    assert sidelane("queues", "resume", "chat").stdout == "✓ chat  resumed; 1 job queued\n"
    assert [claimed.record.id for claimed in driver.try_claim("one")] == ["one"]
    assert sidelane("queues", "resume", "chat").stdout == "✓ chat  not paused\n"


def test_an_unknown_queue_does_not_stop_the_others_from_being_paused(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("queues", "pause", "chta", "chat", "--json")
    assert result.exit_code == 4
    assert [(answer["name"], answer["done"]) for answer in result.json] == [("chta", False), ("chat", True)]
    assert "known queues: chat" in result.json[0]["message"]
    assert [(queue["name"], queue["paused"]) for queue in sidelane("queues", "--json").json] == [("chat", True)]


def test_drain_of_an_idle_queue_ends_at_once(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert sidelane("queues", "drain", "chat").stdout == "✓ chat  drained: no job is running; the queue stays paused\n"
    assert sidelane("queues", "--json").json[0]["paused"]


def test_drain_reports_running_jobs_after_the_timeout(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("one"))
    result = sidelane("queues", "drain", "chat", "--timeout", "0")
    assert result.exit_code == 1
    assert "still running: 1 of chat" in result.stderr
    assert "not drained: 1 job still running; the queue stays paused" in result.stderr
    assert sidelane("queues", "--json").json[0]["paused"]


@pytest.mark.system
def test_drain_waits_for_running_jobs(driver: StoreDriver, project: Project) -> None:
    first, second = driver.claim(driver.submit("one")), driver.claim(driver.submit("two"))
    draining = project.start("queues", "drain", "chat")
    draining.wait_for("still running: 2 of chat")
    driver.finish(first, Succeeded("1"))
    draining.wait_for("still running: 1 of chat")
    driver.finish(second, Succeeded("1"))
    draining.wait_for("✓ chat  drained")
    assert draining.exit_code() == 0


@pytest.mark.system
def test_an_interrupted_drain_leaves_the_queue_paused(driver: StoreDriver, project: Project) -> None:
    driver.claim(driver.submit("one"))
    draining = project.start_on_terminal("queues", "drain", "chat")
    draining.wait_for("still running: 1 of chat")
    draining.signal(signal.SIGINT)
    assert draining.exit_code() == 130
    assert "still paused: chat" in draining.output
    assert driver.record("one").state is State.RUNNING
    assert [(queue.name, queue.paused) for queue in driver.call(lambda store: store.stats())] == [("chat", True)]


def test_the_list_fits_a_narrow_terminal(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", queue="a-queue-whose-name-is-as-long-as-names-of-queues-may-ever-become")
    driver.heartbeat(replace(WORKER, queues={"chat": 1}))
    narrow = sidelane("queues", env={"COLUMNS": "80"})
    assert max(len(line) for line in narrow.stdout.splitlines()) <= 80


def test_the_history_of_queues_is_shown_with_a_chart(driver: StoreDriver, sidelane: Command) -> None:
    driver.finish(driver.claim(driver.submit("one")), Succeeded("1"))
    driver.fail("two", FAILURE)
    driver.submit("three")
    result = sidelane("queues", "--since", "1h", env={"COLUMNS": "80"})
    (headers, line) = result.stdout.splitlines()
    assert headers.split()[:4] == ["NAME", "STARTS", "STARTED", "FAILED"]
    assert re.fullmatch(r"chat +·*█·* +2 +50\.0 % .*", line)
    document = sidelane("queues", "--since", "1h", "--json").json
    (chat,) = document["queues"]
    assert (chat["name"], chat["submitted"], chat["started"], chat["failed"]) == ("chat", 3, 2, 1)
    assert sum(point["started"] for point in chat["points"]) == 2
    assert chat["wait"]["count"] == 2


def test_a_store_without_history_is_told(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    result = sidelane("queues", "--since", "24h")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("Nothing has happened since ")
    assert sidelane("queues", "--since", "24h", "--json").json["queues"] == []


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("yesterday", "write how long ago, e.g. 2h, or a time"),
        ("61d", "history is kept for 60 days"),
        ("2999-01-01", "is in the future"),
        ("", "write how long ago"),
    ],
)
@pytest.mark.parametrize("command", ["queues", "tasks"])
def test_a_wrong_begin_of_a_history_gets_a_sentence(
    sidelane: Command, driver: StoreDriver, command: str, since: str, message: str
) -> None:
    result = sidelane(command, "--since", since)
    assert result.exit_code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())
