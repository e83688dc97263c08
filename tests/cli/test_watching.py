"""`sidelane jobs watch`."""

import json
import signal

import pytest

from sidelane.model.event import NewEvent
from sidelane.model.job import Failure, State
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.shelf import Shelf

TOKENS = (NewEvent("token", '{"text":"Because "}'), NewEvent("token", '{"text":"it is."}'))

FAILURE = Failure(problem=Problem(status=502, detail="The model is busy."), error="APIError")


def test_tokens_go_to_stdout_and_everything_else_to_stderr(shelf: Shelf, sidelane: Command) -> None:
    lease = shelf.claim(shelf.submit("one"))
    shelf.emit(lease, NewEvent("progress", '{"percent":50,"message":"thinking"}'), NewEvent("sources", '{"count":2}'))
    shelf.finish(lease, Succeeded('"Because it is."'))
    said = sidelane("jobs", "watch", "one")
    assert said.code == 0
    assert said.out == "Because it is.\n"
    assert "50 %  thinking" in said.err
    assert 'sources {"count": 2}' in said.err
    assert "succeeded" in said.err


def test_what_was_streamed_is_not_printed_again_as_the_result(shelf: Shelf, sidelane: Command) -> None:
    lease = shelf.claim(shelf.submit("one"))
    shelf.finish(lease, Succeeded('"Because it is."'), *TOKENS)
    assert sidelane("jobs", "watch", "one").out == "Because it is.\n"


def test_a_failed_job_ends_the_watch_with_1_and_its_problem(shelf: Shelf, sidelane: Command) -> None:
    shelf.finish(shelf.claim(shelf.submit("one")), Failed(FAILURE))
    said = sidelane("jobs", "watch", "one")
    assert said.code == 1
    assert "502 The model is busy." in said.err
    assert said.out == ""


def test_a_cancelled_job_ends_the_watch_with_5(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    sidelane("jobs", "cancel", "one")
    assert sidelane("jobs", "watch", "one").code == 5


def test_a_watch_says_when_an_attempt_starts_over(shelf: Shelf, sidelane: Command) -> None:
    lease = shelf.claim(shelf.submit("one"))
    shelf.finish(lease, Retried(FAILURE), TOKENS[0])
    lease = shelf.claim("one")
    shelf.finish(lease, Succeeded('"Because it is."'), NewEvent("attempt", '{"attempt":2}'), *TOKENS)
    said = sidelane("jobs", "watch", "one")
    assert said.out == "Because \nBecause it is.\n"
    assert "attempt 2" in said.err


def test_as_json_a_watch_is_one_event_a_line(shelf: Shelf, sidelane: Command) -> None:
    shelf.finish(shelf.claim(shelf.submit("one")), Succeeded('"Because it is."'), *TOKENS)
    lines = [json.loads(line) for line in sidelane("jobs", "watch", "one", "--json").out.splitlines()]
    assert [line["event"] for line in lines] == ["job", "token", "token", "end"]
    assert [line["number"] for line in lines] == [None, 1, 2, 3]
    assert lines[0]["data"]["id"] == "one"
    assert lines[-1]["data"] == {"id": "one", "state": "succeeded", "result": "Because it is."}


def test_a_watch_says_that_nobody_serves_the_job(shelf: Shelf, project: Project) -> None:
    shelf.submit("one", queue="mail")
    watching = project.start("jobs", "watch", "one")
    watching.says("no worker is alive")
    watching.signal(signal.SIGINT)
    assert watching.exit_code() == 130


@pytest.mark.system
def test_events_are_seen_as_they_come(shelf: Shelf, project: Project) -> None:
    lease = shelf.claim(shelf.submit("one"))
    watching = project.start("jobs", "watch", "one")
    shelf.emit(lease, TOKENS[0])
    watching.says("Because")
    assert "succeeded" not in watching.said
    shelf.finish(lease, Succeeded('"Because."'))
    assert watching.exit_code() == 0
    assert shelf.record("one").state is State.SUCCEEDED
