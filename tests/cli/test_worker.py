"""`sidelane worker`: start, queues, signals and exit."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sidelane.cli.options import slots_by_queue, worker_arguments
from sidelane.model.job import JobRecord, State
from sidelane.model.worker import WorkerInfo
from sidelane.tasks.internal_queues import without_internal
from tests.cli.command import Command
from tests.cli.project import TASKS, Project, has_exited, wait_until
from tests.cli.store_driver import StoreDriver

LANE = "shop.lane:lane"

EXTERNAL = """
from sidelane import Call, Message, Sqs

UNREACHABLE = {"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:1"}
analyse = lane.external_task("analyse", input=str, result=str, send_to=Sqs("jobs"), replies_from=Sqs("results", **UNREACHABLE))


@lane.consumer(Sqs("requests", **UNREACHABLE))
def requests(message: Message) -> Call[str]:
    return answer.call(message.body)
"""


def named(driver: StoreDriver, name: str) -> Callable[[], list[WorkerInfo]]:
    """Return a function that finds live workers by name, in a store that may not exist yet."""
    path = Path(driver.url.removeprefix("sqlite:///"))
    return lambda: [worker for worker in driver.workers() if worker.name.startswith(name)] if path.exists() else []


def test_queues_are_named_with_or_without_slots() -> None:
    assert slots_by_queue(None) is None
    assert slots_by_queue("feedback,email") == {"feedback": None, "email": None}
    assert slots_by_queue("chat=200, gpu=1") == {"chat": 200, "gpu": 1}


@pytest.mark.parametrize("text", ["", "chat=", "chat=0", "chat=x", "chat,,gpu", "chat,chat", "=3"])
def test_invalid_queues_are_a_usage_error(sidelane: Command, text: str) -> None:
    result = sidelane("worker", LANE, "--queues", text)
    assert result.exit_code == 2
    assert "--queues" in result.stderr


def test_an_invalid_log_level_is_a_usage_error(sidelane: Command) -> None:
    assert sidelane("worker", LANE, "--log-level", "LOUD").exit_code == 2


@pytest.mark.system
def test_an_undeclared_queue_exits_with_3(project: Project) -> None:
    worker = project.start("worker", LANE, "--queues", "chat,feedback")
    assert worker.exit_code() == 3
    assert "There is no queue 'feedback'; this lane declares chat, gpu, default." in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.system
@pytest.mark.parametrize(("queues", "first"), [("chat,gpu", "chat"), ("gpu,chat", "gpu")])
def test_a_strict_worker_takes_queues_in_order(driver: StoreDriver, project: Project, queues: str, first: str) -> None:
    for number in range(4):
        for queue in ("chat", "gpu"):
            driver.submit(f"{queue}-{number}", queue=queue)
    worker = project.start("worker", LANE, "--queues", queues, "--strict", "--concurrency", "1")
    ids = [f"{queue}-{number}" for number in range(4) for queue in ("chat", "gpu")]
    records = wait_until(lambda: all_ended(driver, ids), "the end of all jobs")
    order = [record.spec.queue for record in sorted(records, key=lambda record: record.started or 0.0)]
    assert order[:4] == [first] * 4
    worker.wait_for("strict order")


def all_ended(driver: StoreDriver, ids: list[str]) -> list[JobRecord]:
    """Return the jobs if all have ended, else nothing."""
    records = [driver.record(job_id) for job_id in ids]
    return records if all(record.state.finished for record in records) else []


def test_options_are_passed_on_to_worker_processes() -> None:
    assert worker_arguments("INFO", "chat,gpu=1", 3, strict=True) == [
        "--log-level", "INFO", "--queues", "chat,gpu=1", "--concurrency", "3", "--strict",
    ]  # fmt: skip
    assert worker_arguments("INFO", None, None) == ["--log-level", "INFO"]


@pytest.mark.system
@pytest.mark.parametrize("command", [("worker", LANE), ("api", "shop.main:app")])
def test_a_metrics_port_without_its_driver_names_the_extra(
    sidelane: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str, str]
) -> None:
    for name in [each for each in sys.modules if each.startswith("sidelane.exporters")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    result = sidelane(*command, "--metrics-port", "9100")
    assert result.exit_code == 3
    assert "install sidelane[metrics]" in result.stderr


def test_an_unusable_store_exits_with_3(project: Project) -> None:
    project.write("sidelane.db", "This is not a database.")
    worker = project.start("worker", LANE)
    assert worker.exit_code() == 3
    assert "sidelane.db" in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.row("R10")
@pytest.mark.system
def test_a_worker_logs_its_setup_and_takes_only_its_queues(project: Project, driver: StoreDriver) -> None:
    project.write("shop/tasks.py", TASKS + EXTERNAL)
    worker = project.start("worker", LANE, "--queues", "chat=7,gpu=1", "--name", "w1")
    worker.wait_for("is ready")
    assert driver.url in worker.output
    assert re.search(r"consumers: +requests \(SQS queue requests\)", worker.output)
    assert re.search("replies: +SQS queue results", worker.output)
    assert "chat (7 at once), gpu (1 at once)" in worker.output
    assert "analyse, answer, hang, hold" in worker.output
    assert " INFO  w1  " in worker.output
    (found,) = wait_until(named(driver, "w1"), "the worker in the store")
    assert found.pid == worker.pid
    assert found.slots == 8
    assert without_internal(found.queues) == {"chat": 7, "gpu": 1}
    driver.submit("one")
    wait_until(lambda: driver.record("one").state is State.SUCCEEDED, "the job's end")


@pytest.mark.system
def test_sigterm_drains_the_worker(project: Project, driver: StoreDriver) -> None:
    worker = project.start("worker", LANE)
    worker.wait_for("is ready")
    driver.submit("one", task="hold", arguments='{"gate":"open"}')
    wait_until(lambda: driver.record("one").state is State.RUNNING, "the job's start")
    worker.signal(signal.SIGTERM)
    worker.wait_for("draining; send again to release running jobs immediately")
    driver.submit("late", task="hold", arguments='{"gate":"open"}')
    project.write("open", "")
    assert worker.exit_code() == 0
    assert driver.record("one").state is State.SUCCEEDED
    assert driver.record("late").state is State.QUEUED
    assert driver.workers() == []


@pytest.mark.system
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]],
    ids=["term", "int", "quit"],
)
def test_a_second_signal_releases_all_jobs_without_using_a_retry(
    project: Project, driver: StoreDriver, signals: list[signal.Signals]
) -> None:
    worker = project.start("worker", LANE)
    worker.wait_for("is ready")
    driver.submit("patient", task="hold", arguments='{"gate":"never"}')
    driver.submit("stubborn", task="hang", queue="default", arguments='{"seconds":600}')  # its thread cannot be stopped
    for job in ("patient", "stubborn"):
        wait_until(lambda job=job: driver.record(job).state is State.RUNNING, "the job's start")  # type: ignore[misc]
    for count, number in enumerate(signals, 1):
        worker.signal(number)
        worker.wait_for(number.name, count)
    assert worker.exit_code() == 0
    for job in ("patient", "stubborn"):
        record = driver.record(job)
        assert (record.state, record.attempt, record.failures, record.worker_losses) == (State.QUEUED, 1, 0, 0)


@pytest.mark.system
def test_a_killed_worker_process_is_restarted(project: Project, driver: StoreDriver) -> None:
    parent = project.start("worker", LANE, "--name", "w", "--processes", "2")
    (first,) = wait_until(named(driver, "w-1@"), "the first process")
    (second,) = wait_until(named(driver, "w-2@"), "the second process")
    assert len({parent.pid, first.pid, second.pid}) == 3
    os.kill(first.pid, signal.SIGKILL)
    others = [worker.pid for worker in wait_until(named(driver, "w-3@"), "another process")]
    assert "w-1@" in parent.output
    assert "died (signal SIGKILL)" in parent.output
    parent.signal(signal.SIGTERM)
    assert parent.exit_code() == 0
    assert all(has_exited(pid) for pid in (second.pid, *others))


@pytest.mark.system
def test_misconfigured_worker_processes_exit_at_once_with_3(project: Project) -> None:
    parent = project.start("worker", LANE, "--queues", "feedback", "--processes", "2")
    assert parent.exit_code() == 3
    assert "There is no queue 'feedback'" in parent.output
    assert "started again" not in parent.output


@pytest.mark.long
@pytest.mark.system
def test_worker_processes_stop_when_their_parent_is_killed(project: Project, driver: StoreDriver) -> None:
    parent = project.start("worker", LANE, "--name", "w", "--processes", "2")
    children = [wait_until(named(driver, name), name)[0].pid for name in ("w-1@", "w-2@")]
    parent.signal(signal.SIGKILL)
    parent.exit_code()
    wait_until(lambda: all(map(has_exited, children)), "the end of the processes")
