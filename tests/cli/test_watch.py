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
from tests.cli.store_driver import StoreDriver

TOKENS = (NewEvent("token", '{"text":"Because "}'), NewEvent("token", '{"text":"it is."}'))

FAILURE = Failure(problem=Problem(status=502, detail="The model is busy."), error="APIError: 429")


def test_tokens_go_to_stdout_and_everything_else_to_stderr(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    driver.emit(lease, NewEvent("progress", '{"percent":50,"message":"thinking"}'), NewEvent("sources", '{"count":2}'))
    driver.finish(lease, Succeeded('"Because it is."'))
    result = sidelane("jobs", "watch", "one")
    assert result.exit_code == 0
    assert result.stdout == "Because it is.\n"
    assert "50 %  thinking" in result.stderr
    assert 'sources {"count": 2}' in result.stderr
    assert "succeeded" in result.stderr


def test_streamed_text_is_not_printed_again_as_the_result(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    driver.finish(lease, Succeeded('"Because it is."'), *TOKENS)
    assert sidelane("jobs", "watch", "one").stdout == "Because it is.\n"


def test_the_result_of_a_truncated_log_is_printed_whole(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one", max_log_size=30))
    driver.finish(lease, Succeeded('"Because it is."'), *TOKENS)
    result = sidelane("jobs", "watch", "one")
    assert result.stdout == "Because \nBecause it is.\n"
    assert "the log is full" in result.stderr


def test_a_failed_job_exits_with_1_and_prints_its_problem(driver: StoreDriver, sidelane: Command) -> None:
    driver.finish(driver.claim(driver.submit("one")), Failed(FAILURE))
    result = sidelane("jobs", "watch", "one")
    assert result.exit_code == 1
    assert "failed after 0.0 s: APIError: 429\n  clients see: 502 The model is busy.\n" in result.stderr
    assert result.stdout == ""


def test_a_cancelled_job_exits_with_5(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    sidelane("jobs", "cancel", "one")
    assert sidelane("jobs", "watch", "one").exit_code == 5


def test_a_new_attempt_is_announced(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    driver.finish(lease, Retried(FAILURE), TOKENS[0])
    lease = driver.claim("one")
    driver.finish(lease, Succeeded('"Because it is."'), NewEvent("attempt", '{"attempt":2}'), *TOKENS)
    result = sidelane("jobs", "watch", "one")
    assert result.stdout == "Because \nBecause it is.\n"
    assert "attempt 2" in result.stderr


def test_json_output_is_one_event_per_line(driver: StoreDriver, sidelane: Command) -> None:
    driver.finish(driver.claim(driver.submit("one")), Succeeded('"Because it is."'), *TOKENS)
    lines = [json.loads(line) for line in sidelane("jobs", "watch", "one", "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["job", "token", "token", "end"]
    assert [line["number"] for line in lines] == [None, 1, 2, 3]
    assert lines[0]["data"]["id"] == "one"
    assert lines[-1]["data"] == {"id": "one", "state": "succeeded", "result": "Because it is."}


def test_watch_warns_if_no_worker_can_run_the_job(driver: StoreDriver, project: Project) -> None:
    driver.submit("one", queue="mail")
    watching = project.start("jobs", "watch", "one")
    watching.wait_for("no worker is alive")
    watching.signal(signal.SIGINT)
    assert watching.exit_code() == 130


@pytest.mark.system
def test_events_are_printed_as_they_arrive(driver: StoreDriver, project: Project) -> None:
    lease = driver.claim(driver.submit("one"))
    watching = project.start("jobs", "watch", "one")
    driver.emit(lease, TOKENS[0])
    watching.wait_for("Because")
    assert "succeeded" not in watching.output
    driver.finish(lease, Succeeded('"Because."'))
    assert watching.exit_code() == 0
    assert driver.record("one").state is State.SUCCEEDED
