"""`sidelane worker`: how it starts, what it takes, how it stops."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sidelane.cli.options import passed_on, slots_by_queue
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import WorkerInfo
from sidelane.tasks.internal_queues import without_internal
from tests.cli.command import Command
from tests.cli.project import TASKS, Project, gone, until
from tests.cli.shelf import Shelf

LANE = "shop.lane:lane"

OUTSIDE = """
from sidelane import Call, Message, Sqs

NOWHERE = {"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:1"}
analyse = lane.external_task("analyse", input=str, result=str, via=Sqs("offers"), reply=Sqs("results", **NOWHERE))


@lane.consumer(Sqs("requests", **NOWHERE))
def requests(message: Message) -> Call[str]:
    return answer.call(message.body)
"""


def named(shelf: Shelf, name: str) -> Callable[[], list[WorkerInfo]]:
    """Look for live workers of a name, in a store that may not be there yet."""
    path = Path(shelf.url.removeprefix("sqlite:///"))
    return lambda: [worker for worker in shelf.workers() if worker.name == name] if path.exists() else []


def test_queues_are_named_with_or_without_slots() -> None:
    assert slots_by_queue(None) is None
    assert slots_by_queue("feedback,email") == {"feedback": None, "email": None}
    assert slots_by_queue("chat=200, gpu=1") == {"chat": 200, "gpu": 1}


@pytest.mark.parametrize("text", ["", "chat=", "chat=0", "chat=x", "chat,,gpu", "chat,chat", "=3"])
def test_queues_that_cannot_be_are_wrong_usage(sidelane: Command, text: str) -> None:
    said = sidelane("worker", LANE, "--queues", text)
    assert said.code == 2
    assert "--queues" in said.err


def test_a_log_level_that_is_none_is_wrong_usage(sidelane: Command) -> None:
    assert sidelane("worker", LANE, "--log-level", "LOUD").code == 2


@pytest.mark.system
def test_a_queue_that_the_lane_does_not_declare_ends_the_worker_with_3(project: Project) -> None:
    worker = project.start("worker", LANE, "--queues", "chat,feedback")
    assert worker.exit_code() == 3
    assert "There is no queue 'feedback'; this lane declares chat, gpu, default." in worker.said
    assert "Traceback" not in worker.said


@pytest.mark.system
@pytest.mark.parametrize(("queues", "first"), [("chat,gpu", "chat"), ("gpu,chat", "gpu")])
def test_a_strict_worker_serves_its_queues_one_before_the_next(
    shelf: Shelf, project: Project, queues: str, first: str
) -> None:
    for number in range(4):
        for queue in ("chat", "gpu"):
            shelf.submit(f"{queue}-{number}", queue=queue)
    worker = project.start("worker", LANE, "--queues", queues, "--strict", "--concurrency", "1")
    ids = [f"{queue}-{number}" for number in range(4) for queue in ("chat", "gpu")]
    records = until(lambda: all_ended(shelf, ids), "the end of all jobs")
    order = [record.spec.queue for record in sorted(records, key=lambda record: record.started or 0.0)]
    assert order[:4] == [first] * 4
    worker.says("strictly one before the next")


def all_ended(shelf: Shelf, ids: list[str]) -> list[JobRecord]:
    """Give the jobs once all have ended."""
    records = [shelf.record(job_id) for job_id in ids]
    return records if all(record.state.finished for record in records) else []


def test_processes_are_told_what_the_command_line_said() -> None:
    assert passed_on("INFO", "chat,gpu=1", 3, strict=True) == [
        "--log-level", "INFO", "--queues", "chat,gpu=1", "--concurrency", "3", "--strict",
    ]  # fmt: skip
    assert passed_on("INFO", None, None) == ["--log-level", "INFO"]


@pytest.mark.system
def test_a_worker_whose_store_cannot_be_opened_ends_with_3(project: Project) -> None:
    project.write("sidelane.db", "This is a letter, and no database.")
    worker = project.start("worker", LANE)
    assert worker.exit_code() == 3
    assert "sidelane.db" in worker.said
    assert "Traceback" not in worker.said


@pytest.mark.system
def test_a_worker_says_what_it_works_on_and_takes_only_its_queues(project: Project, shelf: Shelf) -> None:
    project.write("shop/tasks.py", TASKS + OUTSIDE)
    worker = project.start("worker", LANE, "--queues", "chat=7,gpu=1", "--name", "w1")
    worker.says("is ready")
    assert shelf.url in worker.said
    assert re.search("consumers: +requests of SQS queue requests", worker.said)
    assert re.search("replies: +SQS queue results", worker.said)
    assert "chat (7 at once), gpu (1 at once)" in worker.said
    assert "analyse, answer, hang, hold" in worker.said
    assert " INFO  w1  " in worker.said
    (found,) = until(named(shelf, "w1"), "the worker in the store")
    assert found.pid == worker.pid
    assert found.slots == 8
    assert without_internal(found.queues) == {"chat": 7, "gpu": 1}
    shelf.submit("one")
    until(lambda: shelf.record("one").state is State.SUCCEEDED, "the job's end")


@pytest.mark.system
def test_sigterm_lets_the_running_job_finish(project: Project, shelf: Shelf) -> None:
    worker = project.start("worker", LANE)
    worker.says("is ready")
    shelf.submit("one", task="hold", arguments='{"gate":"open"}')
    until(lambda: shelf.record("one").state is State.RUNNING, "the job's start")
    worker.signal(signal.SIGTERM)
    worker.says("drains")
    shelf.submit("late", task="hold", arguments='{"gate":"open"}')
    project.write("open", "")
    assert worker.exit_code() == 0
    assert shelf.record("one").state is State.SUCCEEDED
    assert shelf.record("late").state is State.QUEUED
    assert shelf.workers() == []


@pytest.mark.system
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]],
    ids=["term", "int", "quit"],
)
def test_a_second_signal_gives_every_job_back_at_once_and_at_no_cost(
    project: Project, shelf: Shelf, signals: list[signal.Signals]
) -> None:
    worker = project.start("worker", LANE)
    worker.says("is ready")
    shelf.submit("patient", task="hold", arguments='{"gate":"never"}')
    shelf.submit("stubborn", task="hang", queue="default", arguments='{"seconds":600}')  # its thread cannot be stopped
    for job in ("patient", "stubborn"):
        until(lambda job=job: shelf.record(job).state is State.RUNNING, "the job's start")  # type: ignore[misc]
    for count, number in enumerate(signals, 1):
        worker.signal(number)
        worker.says(number.name, count)
    assert worker.exit_code() == 0
    for job in ("patient", "stubborn"):
        record = shelf.record(job)
        assert (record.state, record.attempt, record.failures, record.worker_losses) == (State.QUEUED, 1, 0, 0)


@pytest.mark.system
def test_several_processes_run_and_one_that_was_killed_comes_back(project: Project, shelf: Shelf) -> None:
    parent = project.start("worker", LANE, "--name", "w", "--processes", "2")
    (first,) = until(named(shelf, "w-1"), "the first process")
    (second,) = until(named(shelf, "w-2"), "the second process")
    assert len({parent.pid, first.pid, second.pid}) == 3
    os.kill(first.pid, signal.SIGKILL)
    others = until(lambda: [w.pid for w in named(shelf, "w-1")() if w.pid != first.pid], "another first process")
    assert "worker w-1 died (signal SIGKILL)" in parent.said
    parent.signal(signal.SIGTERM)
    assert parent.exit_code() == 0
    assert all(gone(pid) for pid in (second.pid, *others))


@pytest.mark.system
def test_several_processes_that_cannot_work_end_at_once_with_3(project: Project) -> None:
    parent = project.start("worker", LANE, "--queues", "feedback", "--processes", "2")
    assert parent.exit_code() == 3
    assert "There is no queue 'feedback'" in parent.said
    assert "started again" not in parent.said


@pytest.mark.system
def test_processes_stop_when_their_parent_was_killed(project: Project, shelf: Shelf) -> None:
    parent = project.start("worker", LANE, "--name", "w", "--processes", "2")
    children = [until(named(shelf, name), name)[0].pid for name in ("w-1", "w-2")]
    parent.signal(signal.SIGKILL)
    parent.exit_code()
    until(lambda: all(map(gone, children)), "the end of the processes")
