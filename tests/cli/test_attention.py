"""`sidelane attention`: list, watch, mute and unmute findings."""

import json
import re
import signal
from typing import Any

import pytest

from sidelane.client.declarations import DECLARATIONS
from sidelane.model.job import Failure
from sidelane.model.problem import Problem
from sidelane.model.shared_state import ValueChange
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver

FAILURE = Failure(problem=Problem(status=500, title="Internal error"), error="KeyError: 'stock_code'")


@pytest.mark.row("R11")
def test_a_finding_is_listed_with_evidence_since_action_and_key(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    driver.fail("job-1", FAILURE, user="ann")
    result = sidelane("attention", env={"COLUMNS": "80"})
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("!  1  1 dead letter: KeyError: 'stock_code' in answer v1")
    assert re.search(r"since \d\d:\d\d", " ".join(result.stdout.split()))
    assert "→ Review and requeue 1: sidelane dead list --task answer" in result.stdout
    assert re.search(r"key dead-letters:answer:[0-9a-f]{8}", result.stdout)


def test_json_has_every_member_and_the_exit_code_is_the_same(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("job-1", FAILURE)
    result = sidelane("attention", "list", "--json")
    (document,) = result.json
    assert result.exit_code == 1
    assert document.keys() == {
        "key", "severity", "sentence", "evidence", "since", "cause", "action", "muted_until",
    }  # fmt: skip
    assert document["severity"] == "soon"
    assert document["action"].keys() == {"text", "command"}


def test_nothing_needs_a_person(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    result = sidelane("attention")
    assert (result.exit_code, result.stdout) == (0, "✓ Nothing needs you.\n")
    assert sidelane("attention", "--json").json == []


def test_a_cause_is_named_by_its_number(driver: StoreDriver, sidelane: Command) -> None:
    text = json.dumps({"target_waits": {"chat": 0.001}, "user_limits": []})
    driver.submit("job-1")
    driver.call(lambda store: store.set_value(ValueChange(name=DECLARATIONS, text=text, replaces=None)))
    documents: list[Any] = []
    while len(documents) < 2:  # the job must have waited for three seconds
        documents = sidelane("attention", "--json").json
    assert [each["key"] for each in documents] == ["unserved-queue:chat", "target-wait:chat"]
    assert documents[1]["cause"] == documents[0]["key"]
    assert "Cause: 1." in sidelane("attention").stdout


def test_a_muted_finding_is_listed_last_and_does_not_count(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    driver.fail("job-1", FAILURE)
    (document,) = sidelane("attention", "--json").json
    muted = sidelane("attention", "mute", document["key"], "--for", "2h")
    assert (muted.exit_code, muted.stdout) == (0, f"✓ {document['key']}  muted for 2 h\n")
    result = sidelane("attention")
    assert result.exit_code == 0
    assert "muted until " in result.stdout
    assert sidelane("attention", "--json").json[0]["muted_until"] is not None
    assert sidelane("attention", "unmute", document["key"]).exit_code == 0
    assert sidelane("attention").exit_code == 1


def test_an_unknown_key_names_the_known_ones(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("job-1", FAILURE)
    (document,) = sidelane("attention", "--json").json
    result = sidelane("attention", "mute", "dead-letters:other")
    assert result.exit_code == 4
    assert document["key"] in result.stderr
    assert sidelane("attention", "unmute", "dead-letters:other").exit_code == 4


@pytest.mark.parametrize("duration", ["soon", "0s", "400d", "-1h"])
def test_a_bad_duration_gets_a_sentence(driver: StoreDriver, sidelane: Command, duration: str) -> None:
    driver.submit("job-1")
    result = sidelane("attention", "mute", "x", f"--for={duration}")
    assert result.exit_code == 2
    assert "--for" in result.stderr


def test_a_missing_store_gets_a_sentence(project: Project, sidelane: Command) -> None:
    result = sidelane("attention")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "There is no store at" in result.stderr


@pytest.mark.long
def test_watching_prints_each_change(driver: StoreDriver, project: Project) -> None:
    driver.heartbeat()
    watching = project.start("attention", "--watch", "--json")
    watching.wait_for("[]")
    driver.fail("job-1", FAILURE)
    watching.wait_for("dead-letters:answer")
    watching.signal(signal.SIGINT)
    assert watching.exit_code() == 130


def test_text_of_others_cannot_act_on_the_terminal(driver: StoreDriver, sidelane: Command) -> None:
    error = Failure(problem=Problem(status=500, title="Internal error"), error="Bad: \x1b[2J gone")
    driver.fail("job-1", error)
    result = sidelane("attention")
    assert "\x1b[2J" not in result.stdout
    assert "\\x1b[2J" in result.stdout
