"""The commands `up`, `status`, `logs`, `scale`, `restart` and `down` as processes, on a description."""

import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.project import CliProcess
from tests.ops.service import WAIT, Service, wait_until

pytestmark = pytest.mark.system

DESCRIPTION = f"""
[command.model]
run = ["{sys.executable}", "-c", "print('model starts', flush=True); {WAIT}"]

[command.chat]
run = ["{sys.executable}", "-c", "{WAIT}"]
depends_on = ["model"]
"""

Run = Callable[..., CliProcess]


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Run:
    """Runs a command to its end, in the folder of a project with the description."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "sidelane.toml").write_text(DESCRIPTION)
    count = iter(range(1000))

    def start(*arguments: str, wait: bool = True) -> CliProcess:
        process = CliProcess(arguments, tmp_path, tmp_path / f"output-{next(count)}")
        if wait:
            process.exit_code()
        return process

    return start


@pytest.mark.long
def test_whole_life_of_a_service(run: Run, service: Service) -> None:
    up = run("up")
    assert up.exit_code() == 0
    assert up.output.index("✓ model is ready") < up.output.index("✓ chat is ready")
    status = run("status", "--json")
    assert status.exit_code() == 0
    assert json.loads(status.output)["healthy"]
    assert "model │ model starts" in run("logs", "model").output
    assert run("scale", "chat=2").exit_code() == 0
    assert run("restart", "chat").exit_code() == 0
    assert "chat is already running" in run("up").output
    down = run("down")
    assert down.exit_code() == 0
    assert down.output.index("chat has stopped") < down.output.index("model has stopped")
    assert service.left() == []
    assert run("status").exit_code() == 4


@pytest.mark.long
def test_unknown_group_and_missing_supervisor_have_exit_code_4(run: Run) -> None:
    assert run("scale", "chat=2").exit_code() == 4
    assert run("up", "model").exit_code() == 0
    unknown = run("scale", "modle=2")
    assert unknown.exit_code() == 4
    assert "Did you mean 'model'? The groups are chat, model." in " ".join(unknown.output.split())


@pytest.mark.parametrize("text", ["chat", "chat=", "chat=-1", "chat=many", "=2", "chat=1000"])
def test_scale_refuses_what_is_no_number(run: Run, text: str) -> None:
    refused = run("scale", text)
    assert refused.exit_code() == 2
    assert "write NAME=N" in refused.output


@pytest.mark.long
def test_two_up_at_once_start_one_supervisor(run: Run, service: Service) -> None:
    both = [run("up", wait=False), run("up", wait=False)]
    codes = sorted(each.exit_code() for each in both)
    assert codes in ([0, 0], [0, 1]), "the second refuses, or comes when the first is done"
    if codes == [0, 1]:
        (refused,) = (each for each in both if each.exit_code())
        assert "is at work in" in refused.output
    assert run("status").exit_code() == 0


@pytest.mark.long
def test_follow_shows_new_lines_until_interrupted(run: Run, service: Service) -> None:
    assert run("up", "model").exit_code() == 0
    logs = run("logs", "--follow", "-n", "0", wait=False)
    wait_until(lambda: "model starts" in service.log("model"), "the first start")
    wait_until(lambda: Path(f"/proc/{logs.pid}/stat").read_text().split()[2] == "S", "that it waits for lines")
    with service.state.log("model").open("a") as file:
        wait_until(
            lambda: (print("one more line", file=file, flush=True), "one more line" in logs.output)[1], "the line"
        )
    logs.signal(signal.SIGINT)
    assert logs.exit_code() == 130


@pytest.mark.long
def test_foreground_prints_logs_with_prefixes_and_stops_by_a_signal(run: Run, service: Service) -> None:
    up = run("up", "--foreground", wait=False)
    up.wait_for("all groups are ready")
    up.wait_for("model │ model starts")
    assert not service.state.log("model").read_text()
    up.signal(signal.SIGTERM)
    assert up.exit_code() == 0
    assert "chat has stopped" in up.output
    assert service.left() == []


@pytest.mark.long
def test_foreground_ends_if_a_group_ends(run: Run, service: Service, tmp_path: Path) -> None:
    broken = f'[command.broken]\nrun = ["{sys.executable}", "-c", "raise SystemExit(3)"]\nready = {{ log = "never" }}\n'
    (tmp_path / "sidelane.toml").write_text(DESCRIPTION + broken)
    up = run("up", "--foreground")
    assert up.exit_code() == 1
    assert "broken failed: it cannot start" in up.output
    assert service.left() == []


def test_taken_port_is_one_paragraph(run: Run, tmp_path: Path, service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (tmp_path / "sidelane.toml").write_text(DESCRIPTION + f'[api.general]\napp = "main:app"\nport = {port}\n')
        refused = run("up")
    assert refused.exit_code() == 3
    assert f"general: Cannot listen on 127.0.0.1, port {port}" in " ".join(refused.output.split())
    assert "Nothing was started" in refused.output


def test_unusable_state_directory_is_one_paragraph(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run("up", "--state-dir", "file/state")
    assert refused.exit_code() == 3
    assert "cannot be used" in refused.output
    assert "Traceback" not in refused.output
