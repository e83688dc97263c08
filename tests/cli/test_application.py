"""What holds for every command: help, version, errors, settings."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

import sidelane
from sidelane.cli.main import application
from tests.cli.command import Command
from tests.cli.project import Project

BLOCKED = """
import sys

sys.modules[{package!r}] = None
from sidelane.cli import main

main()
"""


def test_the_version_is_the_packages(sidelane: Command) -> None:
    assert sidelane("--version").out == f"sidelane {version()}\n"


def version() -> str:
    return sidelane.__version__


def test_help_names_every_command_and_the_exit_codes(sidelane: Command) -> None:
    said = sidelane("--help")
    assert said.code == 0
    for name in (
        "dev",
        "worker",
        "jobs",
        "dead",
        "queues",
        "limits",
        "schedules",
        "batches",
        "workers",
        "config",
        "check",
    ):
        assert f" {name} " in said.out
    assert "4 no such job, queue, schedule or batch" in " ".join(said.out.split())
    assert " api " not in said.out


def names(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give every command and group, by the words that call it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from names(inner, (*path, name))


@pytest.mark.parametrize("command", list(names(get_command(application))), ids=" ".join)
def test_every_command_has_a_help_of_its_own(sidelane: Command, command: tuple[str, ...]) -> None:
    said = sidelane(*command, "--help")
    assert said.code == 0
    assert "Usage:" in said.out


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_packages_the_command_names_the_extra(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(package=package)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "pip install 'sidelane[cli]'" in done.stderr
    assert package in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_setting_that_cannot_be_is_named_with_where_it_came_from(sidelane: Command) -> None:
    said = sidelane("config", env={"SIDELANE_LEASE_DURATION": "soon"})
    assert said.code == 3
    assert "SIDELANE_LEASE_DURATION" in said.err
    assert "Traceback" not in said.err


def test_debug_adds_the_traceback(sidelane: Command) -> None:
    said = sidelane("--debug", "config", env={"SIDELANE_LEASE_DURATION": "soon"})
    assert said.code == 3
    assert "Traceback" in said.err
    assert "Traceback" in sidelane("config", env={"SIDELANE_LEASE_DURATION": "soon", "SIDELANE_DEBUG": "1"}).err


def test_config_shows_each_setting_and_where_it_came_from(sidelane: Command) -> None:
    said = sidelane("config", env={"SIDELANE_SHUTDOWN_TIMEOUT": "5"})
    assert said.code == 0
    document = sidelane("config", "--json", env={"SIDELANE_SHUTDOWN_TIMEOUT": "5"}).json
    assert document["shutdown_timeout"] == {
        "value": 5.0,
        "from": "SIDELANE_SHUTDOWN_TIMEOUT (environment)",
        "default": 30.0,
        "description": document["shutdown_timeout"]["description"],
        "variable": "SIDELANE_SHUTDOWN_TIMEOUT",
    }
    assert "pyproject.toml" in document["lease_duration"]["from"]
    assert document["retention"]["from"] == "default"
    for name in document:
        assert name in said.out


def test_config_never_shows_a_secret(sidelane: Command) -> None:
    env = {"SIDELANE_SECRET": "tellnobody", "SIDELANE_STORE": "redis://shop:tellnobody@localhost:6379/0"}
    for arguments in (["config"], ["config", "--json"]):
        said = sidelane(*arguments, env=env)
        assert said.code == 0
        assert "tellnobody" not in said.out + said.err
        assert "********" in said.out
        assert "redis://shop:" in said.out


def test_a_store_that_cannot_be_opened_is_one_paragraph(sidelane: Command, project: Project) -> None:
    project.write("sidelane.db", "This is a letter, and no database.")
    said = sidelane("jobs", "list")
    assert said.code == 3
    assert "sidelane.db" in said.err
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1
