"""`sidelane jobs logs`, and JSON logs of real worker processes."""

import json
import logging
import re
from typing import Any
from urllib.request import urlopen

import pytest

from sidelane.model.event import LOG, NewEvent
from sidelane.model.job import Failure
from sidelane.model.outcome import Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.processes.json_logs import log_document
from tests.cli.command import Command
from tests.cli.project import Project, wait_until
from tests.cli.store_driver import StoreDriver

BROKEN = Failure(problem=Problem(status=500), error="it broke")

TASKS = """
import logging
from collections.abc import AsyncIterator

from shop.lane import lane

logger = logging.getLogger("shop.tasks")


@lane.task(queue="chat", keep_logs=True)
async def answer(question: str) -> AsyncIterator[str]:
    logger.info("asked\\n%s", question, extra={"length": len(question)})
    yield "Because."


@lane.task(queue="chat", keep_logs=True)
def in_thread(question: str) -> None:
    logger.warning("in a thread")


@lane.task(queue="chat", keep_logs=True, process=True)
def in_process(question: str) -> None:
    try:
        raise ValueError(question)
    except ValueError:
        logger.exception("in a process")


@lane.task(queue="chat")
async def fail(question: str) -> None:
    raise ValueError(question)
"""

SETTINGS = """
[tool.sidelane]
lease_duration = 2.0
log_format = "json"
release = "1.2"
"""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def entry(message: str, attempt: int = 1, **attributes: Any) -> NewEvent:
    """Return a kept record."""
    fields = {"name": "shop.tasks", "levelno": logging.INFO, "levelname": "INFO", "created": 1_767_268_800.0625}
    record = logging.makeLogRecord({**fields, "msg": message, "attempt": attempt, "job": "one", **attributes})
    return NewEvent(LOG, json.dumps(log_document(record)))


def two_attempts(driver: StoreDriver) -> None:
    lease = driver.claim(driver.submit("one"))
    lines = (
        entry("first\nline", size=3),
        entry("it failed", levelname="ERROR", traceback="Traceback: line 7\nValueError"),
    )
    driver.finish(lease, Retried(BROKEN), *lines)
    driver.finish(driver.claim("one"), Succeeded("1"), NewEvent("token", '{"text":"x"}'), entry("second", 2))


def test_the_records_of_all_attempts_are_printed_with_their_fields(driver: StoreDriver, sidelane: Command) -> None:
    two_attempts(driver)
    result = sidelane("jobs", "logs", "one")
    assert result.exit_code == 0
    assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", result.stdout).splitlines() == [
        "attempt 1",
        "TIME INFO     shop.tasks: first",
        "    line size=3",
        "TIME ERROR    shop.tasks: it failed",
        "    Traceback: line 7",
        "    ValueError",
        "attempt 2",
        "TIME INFO     shop.tasks: second",
    ]
    assert result.stderr == ""


def test_no_text_of_a_record_looks_like_another_record(driver: StoreDriver, sidelane: Command) -> None:
    attack = "x\nattempt 2\r\n\x1b[2J"
    lease = driver.claim(driver.submit("one"))
    driver.finish(lease, Succeeded("1"), entry(attack, name=attack, levelname=attack, note=attack, traceback=attack))
    output = sidelane("jobs", "logs", "one").stdout
    assert "\x1b" not in output
    assert all(line.startswith(("attempt 1", "    ", "2026-01-01 ")) for line in output.splitlines())


def test_one_attempt_can_be_chosen(driver: StoreDriver, sidelane: Command) -> None:
    two_attempts(driver)
    output = sidelane("jobs", "logs", "one", "--attempt", "2").stdout
    assert "second" in output
    assert "first" not in output


def test_json_is_one_record_a_line(driver: StoreDriver, sidelane: Command) -> None:
    two_attempts(driver)
    records = [json.loads(line) for line in sidelane("jobs", "logs", "one", "--json").stdout.splitlines()]
    assert [(each["attempt"], each["message"]) for each in records] == [
        (1, "first\nline"),
        (1, "it failed"),
        (2, "second"),
    ]


def test_following_a_job_that_has_ended_prints_everything_and_ends(driver: StoreDriver, sidelane: Command) -> None:
    two_attempts(driver)
    output = sidelane("jobs", "logs", "one", "--follow", "--json").stdout
    assert len(output.splitlines()) == 3


def test_a_job_without_records_says_how_to_keep_them(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "logs", "one")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "Job one has no log records.",
        "A task declared with @lane.task(keep_logs=True) keeps them.",
    ]
    assert "no log records of attempt 3" in sidelane("jobs", "logs", "one", "--attempt", "3").stderr


def test_an_unknown_job_is_an_error(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "logs", "two")
    assert result.exit_code != 0
    assert "two" in result.stderr


def test_watch_and_show_leave_records_out(driver: StoreDriver, sidelane: Command) -> None:
    two_attempts(driver)
    watched = [json.loads(line)["event"] for line in sidelane("jobs", "watch", "one", "--json").stdout.splitlines()]
    assert watched == ["job", "token", "end"]
    assert "second" not in sidelane("jobs", "show", "one").stdout


@pytest.mark.system
def test_a_worker_logs_json_with_the_job_for_tasks_of_every_kind(
    driver: StoreDriver, project: Project, sidelane: Command
) -> None:
    project.write("shop/tasks.py", TASKS)
    project.write("pyproject.toml", SETTINGS)
    tasks = "answer", "in_thread", "in_process", "fail"
    for task in tasks:
        driver.submit(task, task=task, trace=TRACE)
    worker = project.start("worker", "shop.lane:lane", "--name", "w1")
    wait_until(lambda: all(driver.record(task).ended for task in tasks), "the end of all jobs")
    worker.end()
    lines = [json.loads(line) for line in worker.output.splitlines()]
    assert all((line["worker"], line["release"]) == ("w1", "1.2") for line in lines)
    assert {line["logger"] for line in lines if "job" not in line} >= {"sidelane.worker.worker"}
    own = {line["job"]: line for line in lines if "job" in line}
    assert own.keys() == set(tasks)
    for task, line in own.items():
        assert (line["attempt"], line["task"], line["queue"]) == (1, task, "chat")
        assert (line["trace_id"], line["span_id"]) == (TRACE[3:35], TRACE[36:52])
    assert (own["answer"]["message"], own["answer"]["length"]) == ("asked\nWhy?", 4)
    assert own["in_process"]["exception"].endswith("ValueError: Why?")
    assert own["fail"]["message"].startswith("job fail (fail) attempt 1 failed for good")
    assert own["fail"]["exception"].endswith("ValueError: Why?\n")
    kept = sidelane("jobs", "logs", "in_process", "--json").json
    assert {**own["in_process"], **kept} == own["in_process"]


@pytest.mark.system
@pytest.mark.long
def test_the_parent_of_a_group_and_an_api_process_log_json(project: Project) -> None:
    project.write("pyproject.toml", SETTINGS)
    api = project.start("api", "main:app", "--port", "0")
    api.wait_for("all processes are ready")
    port = json.loads(api.output.splitlines()[0])["message"].rpartition(":")[2]
    with urlopen(f"http://127.0.0.1:{port}/"):
        api.wait_for("GET / HTTP")
    api.end()
    lines = [json.loads(line) for line in api.output.splitlines()]
    own = {line["logger"]: line["worker"] for line in lines}
    assert own["sidelane.processes.group_main"] == "api"
    assert own["sidelane.web.server"] == own["uvicorn.access"]
    assert own["uvicorn.access"].startswith("api-1")


def test_an_unknown_format_is_an_error(project: Project, sidelane: Command) -> None:
    result = sidelane("worker", "shop.lane:lane", env={"SIDELANE_LOG_FORMAT": "xml"})
    assert result.exit_code == 3
    assert "log_format (SIDELANE_LOG_FORMAT (environment))" in result.stderr
