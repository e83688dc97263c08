"""Every command: help, version, errors, settings."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

import sidelane
from sidelane.cli.main import COMMANDS, build_application
from tests.cli.command import Command
from tests.cli.project import Project

BLOCKED = """
import sys

sys.modules[{package!r}] = None
from sidelane.cli import main

main()
"""


def test_version_is_that_of_the_package(sidelane: Command) -> None:
    assert sidelane("--version").stdout == f"sidelane {version()}\n"


def version() -> str:
    return sidelane.__version__


def test_help_lists_every_command_and_the_exit_codes(sidelane: Command) -> None:
    result = sidelane("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f" {name} " in result.stdout
    assert "4 no such job, queue, schedule, limit, batch or group" in " ".join(result.stdout.split())


def names(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command and group."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from names(inner, (*path, name))


@pytest.mark.parametrize("command", list(names(get_command(build_application(COMMANDS)))), ids=" ".join)
def test_every_command_has_help(sidelane: Command, command: tuple[str, ...]) -> None:
    result = sidelane(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_package_names_the_extra(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(package=package)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "pip install 'sidelane[cli]'" in done.stderr
    assert package in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_invalid_setting_is_named_with_its_source(sidelane: Command) -> None:
    result = sidelane("config", env={"SIDELANE_LEASE_DURATION": "soon"})
    assert result.exit_code == 3
    assert "SIDELANE_LEASE_DURATION" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_adds_the_traceback(sidelane: Command) -> None:
    result = sidelane("--debug", "config", env={"SIDELANE_LEASE_DURATION": "soon"})
    assert result.exit_code == 3
    assert "Traceback" in result.stderr
    assert "Traceback" in sidelane("config", env={"SIDELANE_LEASE_DURATION": "soon", "SIDELANE_DEBUG": "1"}).stderr


def test_config_shows_each_setting_and_its_source(sidelane: Command) -> None:
    result = sidelane("config", env={"SIDELANE_SHUTDOWN_TIMEOUT": "5"})
    assert result.exit_code == 0
    document = sidelane("config", "--json", env={"SIDELANE_SHUTDOWN_TIMEOUT": "5"}).json
    assert document["shutdown_timeout"] == {
        "value": 5.0,
        "from": "SIDELANE_SHUTDOWN_TIMEOUT (environment)",
        "default": None,
        "description": document["shutdown_timeout"]["description"],
        "variable": "SIDELANE_SHUTDOWN_TIMEOUT",
    }
    assert "pyproject.toml" in document["lease_duration"]["from"]
    assert document["retention"]["from"] == "default"
    for name in document:
        assert name in result.stdout


def test_config_warns_of_a_variable_that_is_nearly_a_setting(sidelane: Command) -> None:
    result = sidelane(
        "config", env={"SIDELANE_STOR": "x", "SIDELANE_DEBUG": "1", "SIDELANE_WEBHOOK_SECRET_BE": "whsec"}
    )
    assert result.exit_code == 0
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("! ")]
    assert "SIDELANE_STOR has no effect" in warning
    assert "did you mean SIDELANE_STORE?" in warning


def test_config_never_shows_a_secret(sidelane: Command) -> None:
    env = {
        "SIDELANE_SECRET": "hidden-value of thirty-two bytes",
        "SIDELANE_STORE": "redis://shop:hidden-value@localhost:6379/0",
        "SIDELANE_ALERT_URL": "https://hooks.slack.com/services/hidden-value",
    }
    for arguments in (["config"], ["config", "--json"]):
        result = sidelane(*arguments, env=env)
        assert result.exit_code == 0
        assert "hidden-value" not in result.stdout + result.stderr
        assert "********" in result.stdout
        assert "redis://shop:" in result.stdout


def test_an_unusable_store_is_reported_in_one_paragraph(sidelane: Command, project: Project) -> None:
    project.write("sidelane.db", "This is not a database.")
    result = sidelane("jobs", "list")
    assert result.exit_code == 3
    assert "sidelane.db" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
