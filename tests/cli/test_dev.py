"""`sidelane dev`: the API and a worker in one terminal."""

import os
import re
import signal
import socket
import urllib.error
import urllib.request

import pytest

from sidelane.cli.commands.dev import PrefixedOutput, process_names
from sidelane.model.job import State
from sidelane.model.worker import WORKER
from tests.cli.command import Command
from tests.cli.project import MAIN, CliProcess, Project, has_exited, wait_until
from tests.cli.store_driver import StoreDriver

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


JOB_ROUTES = """
from sidelane.web import Jobs

app.include_router(Jobs(lane, user=None, guessable=True).router, prefix="/jobs")
"""


def address(dev: CliProcess) -> str:
    """Wait until the API's address is printed, and return it."""
    dev.wait_for("http://127.0.0.1:")
    found = ADDRESS.search(dev.output)
    assert found is not None
    return found.group()


def code_version(url: str) -> str:
    """Return the version of the code that the API runs, or "none"."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - a server of this test
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return "none"


@pytest.mark.long
@pytest.mark.system
def test_the_api_and_worker_restart_when_the_code_changes(project: Project, driver: StoreDriver) -> None:
    dev = project.start("dev", "main:app", "--port", "0")
    url = address(dev)
    assert code_version(url) == "1"  # the socket is open before the API is ready, so the request waits
    dev.wait_for("is ready for jobs")
    driver.submit("one")
    wait_until(lambda: driver.record("one").state is State.SUCCEEDED, "the job's end")
    dev.wait_for("job one (answer) attempt 1 started")
    dev.wait_for("job one (answer) attempt 1 succeeded (ran ")
    (worker,) = [each for each in driver.workers() if each.kind == WORKER]
    project.write("main.py", MAIN.replace("return 1", "return 2"))
    dev.wait_for("main.py changed: restarting")
    wait_until(lambda: code_version(url) == "2", "the new code")
    dev.wait_for("is ready for jobs", times=2)
    wait_until(lambda: [w for w in driver.workers() if w.kind == WORKER and w.pid != worker.pid], "another worker")
    assert re.search(r"^api +│ .*GET /", dev.output, re.MULTILINE)
    assert re.search(r"^worker │ .* INFO ", dev.output, re.MULTILINE)
    others = [w.pid for w in driver.workers()]
    dev.signal(signal.SIGINT)
    assert dev.exit_code() == 0
    assert "stopped" in dev.output
    assert all(has_exited(pid) for pid in others)
    assert driver.workers() == []
    assert code_version(url) == "none"


@pytest.mark.long
@pytest.mark.system
def test_open_streams_end_without_a_traceback_when_the_code_changes(project: Project, driver: StoreDriver) -> None:
    project.write("main.py", MAIN + JOB_ROUTES)
    dev = project.start("dev", "main:app", "--port", "0", "--lane", "shop.lane:lane")
    url = address(dev)
    dev.wait_for("is ready for jobs")
    driver.submit("one", task="hold", arguments='{"gate":"open"}')
    with urllib.request.urlopen(f"{url}/jobs/one/events", timeout=30) as stream:  # noqa: S310 - a server of this test
        assert stream.readline().startswith(b"retry: ")
        project.write("shop/extra.py", "")
        assert b"event: end" not in stream.read()
    dev.wait_for("the API is ready", times=2)
    project.write("open", "")
    dev.signal(signal.SIGINT)
    assert dev.exit_code() == 0
    assert "Traceback" not in dev.output
    assert "CancelledError" not in dev.output


@pytest.mark.system
@pytest.mark.long
def test_broken_code_is_reported_and_restarted_when_fixed(project: Project) -> None:
    project.write("main.py", "this is no python\n")
    dev = project.start("dev", "main:app", "--port", "0")
    url = address(dev)
    dev.wait_for("SyntaxError")
    dev.wait_for("api exited (exit status 3)")
    with pytest.raises(urllib.error.HTTPError, match="503") as unavailable:
        urllib.request.urlopen(url, timeout=20)  # noqa: S310 - our own server
    assert "See the terminal" in unavailable.value.read().decode()
    dev.wait_for("worker exited (exit status 3)")
    project.write("main.py", MAIN)
    wait_until(lambda: code_version(url) == "1", "the API")
    dev.wait_for("is ready for jobs")
    dev.signal(signal.SIGTERM)
    assert dev.exit_code() == 0


@pytest.mark.long
@pytest.mark.system
def test_a_running_job_is_released_and_resumed_when_the_code_changes(project: Project, driver: StoreDriver) -> None:
    dev = project.start("dev", "main:app", "--port", "0", "--lane", "shop.lane:lane")
    dev.wait_for("is ready for jobs")
    driver.submit("one", task="hold", arguments='{"gate":"open"}')
    wait_until(lambda: driver.record("one").state is State.RUNNING, "the job's start")
    project.write("shop/extra.py", "")
    dev.wait_for("is ready for jobs", times=2)
    project.write("open", "")
    record = wait_until(lambda: (found := driver.record("one")).state.finished and found, "the job's end")
    assert record
    assert (record.state, record.attempt, record.failures, record.worker_losses) == (State.SUCCEEDED, 2, 0, 0)
    dev.signal(signal.SIGINT)
    assert dev.exit_code() == 0


def test_a_port_in_use_is_reported_in_one_paragraph(sidelane: Command, project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = sidelane("dev", "main:app", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 3
    assert "choose another port" in result.stderr
    assert f"(PID {os.getpid()}) uses it" in result.stderr


def test_lines_are_prefixed_with_the_process_name(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = PrefixedOutput(["api", "worker"])
    terminal.print("api", "hello")
    terminal.print("worker", "hello")
    assert capsys.readouterr().out == "api    │ hello\nworker │ hello\n"


def test_processes_are_numbered_if_there_are_several() -> None:
    assert process_names("w", 1) == ["w"]
    assert process_names("w", 3) == ["w-1", "w-2", "w-3"]
