"""`sidelane queues`: list, pause, resume and drain."""

import signal
from dataclasses import replace

import pytest

from sidelane.model.job import State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Succeeded
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.shelf import WORKER, Shelf

LIMIT = Limit(name="answer", key="ann", most=1, on_limit="wait")


def test_the_bare_name_lists_with_the_options_of_a_list(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert sidelane("queues").out.split()[:12] == sidelane("queues", "list").out.split()[:12]
    assert [queue["name"] for queue in sidelane("queues", "--json").json] == ["chat"]
    assert "queues [OPTIONS] COMMAND" in sidelane("queues", "--help").out


def test_a_queue_is_told_by_what_waits_why_and_what_runs(shelf: Shelf, sidelane: Command) -> None:
    shelf.claim(shelf.submit("running", limits=(LIMIT,)))
    shelf.submit("parked", limits=(LIMIT,))
    shelf.ask_for("parked")
    shelf.submit("ready")
    shelf.submit("later", delay=600.0)
    shelf.beat()
    (queue, _) = sidelane("queues", "list", "--json").json
    counts = {name: queue[name] for name in ("ready", "waiting_for_limit", "delayed", "running")}
    assert counts == {"ready": 1, "waiting_for_limit": 1, "delayed": 1, "running": 1}
    assert queue["oldest"] >= 0
    assert queue["rate"] > 0
    assert queue["workers"] == ["w1"]


def test_a_queue_that_only_a_worker_knows_is_listed_too(shelf: Shelf, sidelane: Command) -> None:
    shelf.beat()
    assert [queue["name"] for queue in sidelane("queues", "--json").json] == ["chat", "gpu"]
    assert sidelane("queues", "pause", "gpu").code == 0


def test_jobs_that_nobody_takes_are_pointed_out(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one", queue="mail")
    said = sidelane("queues")
    assert "none" in said.out
    assert "1 job waits in queue 'mail', which no worker takes" in said.err


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert sidelane("queues", "pause", "chat").out == "✓ chat  paused\n"
    assert "paused" in sidelane("queues").out
    assert "sidelane queues resume chat" in sidelane("queues").err
    assert shelf.ask_for("one") == ()
    assert sidelane("queues", "pause", "chat").out == "✓ chat  was paused already\n"
    assert sidelane("queues", "resume", "chat").out == "✓ chat  resumed; 1 job waits\n"
    assert [claimed.record.id for claimed in shelf.ask_for("one")] == ["one"]
    assert sidelane("queues", "resume", "chat").out == "✓ chat  was not paused\n"


def test_a_queue_the_store_has_never_seen_is_an_error_and_keeps_no_other_from_being_paused(
    shelf: Shelf, sidelane: Command
) -> None:
    shelf.submit("one")
    said = sidelane("queues", "pause", "chta", "chat", "--json")
    assert said.code == 4
    assert [(answer["name"], answer["done"]) for answer in said.json] == [("chta", False), ("chat", True)]
    assert "it knows chat" in said.json[0]["answer"]
    assert [(queue["name"], queue["paused"]) for queue in sidelane("queues", "--json").json] == [("chat", True)]


def test_drain_of_a_queue_where_nothing_runs_is_done_at_once(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert sidelane("queues", "drain", "chat").out == "✓ chat  drained: nothing runs, and it stays paused\n"
    assert sidelane("queues", "--json").json[0]["paused"]


def test_drain_says_what_still_runs_after_its_time(shelf: Shelf, sidelane: Command) -> None:
    shelf.claim(shelf.submit("one"))
    said = sidelane("queues", "drain", "chat", "--timeout", "0")
    assert said.code == 1
    assert "still running: 1 of chat" in said.err
    assert "not drained: 1 job still runs; it stays paused" in said.err
    assert sidelane("queues", "--json").json[0]["paused"]


@pytest.mark.system
def test_drain_waits_for_the_jobs_that_run(shelf: Shelf, project: Project) -> None:
    first, second = shelf.claim(shelf.submit("one")), shelf.claim(shelf.submit("two"))
    draining = project.start("queues", "drain", "chat")
    draining.says("still running: 2 of chat")
    shelf.finish(first, Succeeded("1"))
    draining.says("still running: 1 of chat")
    shelf.finish(second, Succeeded("1"))
    draining.says("✓ chat  drained")
    assert draining.exit_code() == 0


@pytest.mark.system
def test_an_interrupted_drain_leaves_the_queue_paused_and_says_so(shelf: Shelf, project: Project) -> None:
    shelf.claim(shelf.submit("one"))
    draining = project.terminal("queues", "drain", "chat")
    draining.says("still running: 1 of chat")
    draining.signal(signal.SIGINT)
    assert draining.exit_code() == 130
    assert "still paused: chat" in draining.said
    assert shelf.record("one").state is State.RUNNING
    assert [(queue.name, queue.paused) for queue in shelf.call(lambda store: store.stats())] == [("chat", True)]


def test_a_list_fits_a_narrow_terminal(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one", queue="a-queue-whose-name-is-as-long-as-names-of-queues-may-ever-become")
    shelf.beat(replace(WORKER, queues={"chat": 1}))
    narrow = sidelane("queues", env={"COLUMNS": "80"})
    assert max(len(line) for line in narrow.out.splitlines()) <= 80
