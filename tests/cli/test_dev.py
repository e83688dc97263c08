"""`sidelane dev`: the API and a worker in one terminal."""

import re
import signal
import socket
import urllib.error
import urllib.request

import pytest

from sidelane.cli.output.prefixed import PrefixedOutput
from sidelane.model.job import State
from tests.cli.command import Command
from tests.cli.project import MAIN, Project, Started, gone, until
from tests.cli.shelf import Shelf

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def address(dev: Started) -> str:
    """Wait for the API's address."""
    dev.says("http://127.0.0.1:")
    found = ADDRESS.search(dev.said)
    assert found is not None
    return found.group()


def edition(url: str) -> str:
    """Ask the API which edition of the code it is."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - a server of this test
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return "none"


@pytest.mark.system
def test_the_api_and_a_worker_run_and_start_again_when_the_code_changes(project: Project, shelf: Shelf) -> None:
    dev = project.start("dev", "main:app", "--port", "0")
    url = address(dev)
    assert edition(url) == "1"  # the socket is open before the API is: it waits
    dev.says("is ready for jobs")
    shelf.submit("one")
    until(lambda: shelf.record("one").state is State.SUCCEEDED, "the job's end")
    (worker,) = shelf.workers()
    project.write("main.py", MAIN.replace("return 1", "return 2"))
    dev.says("main.py changed")
    until(lambda: edition(url) == "2", "the new edition")
    dev.says("is ready for jobs", times=2)
    until(lambda: [w for w in shelf.workers() if w.pid != worker.pid], "another worker")
    assert re.search(r"^api +│ .*GET /", dev.said, re.MULTILINE)
    assert re.search(r"^worker │ .* INFO ", dev.said, re.MULTILINE)
    others = [w.pid for w in shelf.workers()]
    dev.signal(signal.SIGINT)
    assert dev.exit_code() == 0
    assert "stopped" in dev.said
    assert all(gone(pid) for pid in others)
    assert shelf.workers() == []
    assert edition(url) == "none"


@pytest.mark.system
def test_code_that_breaks_is_told_and_started_again_when_it_is_mended(project: Project) -> None:
    project.write("main.py", "this is no python\n")
    dev = project.start("dev", "main:app", "--port", "0")
    url = address(dev)
    dev.says("SyntaxError")
    dev.says("api ended (exit status 3)")
    dev.says("worker ended (exit status 3)")
    project.write("main.py", MAIN)
    until(lambda: edition(url) == "1", "the API")
    dev.says("is ready for jobs")
    dev.signal(signal.SIGTERM)
    assert dev.exit_code() == 0


@pytest.mark.system
def test_a_job_that_runs_while_the_code_changes_is_given_back_and_goes_on(project: Project, shelf: Shelf) -> None:
    dev = project.start("dev", "main:app", "--port", "0", "--lane", "shop.lane:lane")
    dev.says("is ready for jobs")
    shelf.submit("one", task="hold", arguments='{"gate":"open"}')
    until(lambda: shelf.record("one").state is State.RUNNING, "the job's start")
    project.write("shop/extra.py", "")
    dev.says("is ready for jobs", times=2)
    project.write("open", "")
    record = until(lambda: (found := shelf.record("one")).state.finished and found, "the job's end")
    assert record
    assert (record.state, record.attempt, record.failures, record.worker_losses) == (State.SUCCEEDED, 2, 0, 0)
    dev.signal(signal.SIGINT)
    assert dev.exit_code() == 0


def test_a_port_that_is_taken_is_one_paragraph(sidelane: Command, project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = sidelane("dev", "main:app", "--port", str(taken.getsockname()[1]))
    assert said.code == 3
    assert "--port" in said.err


def test_lines_stand_behind_the_name_of_their_process(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = PrefixedOutput(["api", "worker"])
    terminal.say("api", "hello")
    terminal.say("worker", "hello")
    assert capsys.readouterr().out == "api    │ hello\nworker │ hello\n"
