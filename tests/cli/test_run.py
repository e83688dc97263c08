"""`sidelane run`: a program under a parent process."""

import subprocess
import sys

import pytest

from tests.cli.command import Command
from tests.system.processes import ROOT


@pytest.mark.system
def test_python_is_that_of_the_environment_of_sidelane() -> None:
    code = "import sys, time; print(sys.prefix, flush=True); time.sleep(60)"
    command = [sys.executable, "-P", "-m", "sidelane.cli", "run", "--name", "p", "--", "python", "-c", code]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == sys.prefix
        process.terminate()
        assert process.wait(20) == 0


def test_program_that_is_not_found_is_named(sidelane: Command) -> None:
    result = sidelane("run", "--", "no-such-program")
    assert result.exit_code == 3
    assert "'no-such-program' was not found" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--ready-http", "127.0.0.1:80", "http://"),
        ("--ready-tcp", "6379", "HOST:PORT"),
        ("--ready-delay", "soon", "duration"),
    ],
)
def test_malformed_check_is_refused_with_its_form(sidelane: Command, option: str, value: str, hint: str) -> None:
    result = sidelane("run", option, value, "--", "python")
    assert result.exit_code == 2
    assert hint in " ".join(result.stderr.split())


def test_two_checks_are_refused(sidelane: Command) -> None:
    result = sidelane("run", "--ready-delay", "1", "--ready-log", "ready", "--", "python")
    assert result.exit_code == 2
    assert "Name one check" in result.stderr
